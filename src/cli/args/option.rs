//! Options and arguments, and the values that they take.

use crate::event::ShownStatus;
use crate::provider;

/// How often an argument is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    Once,
    AtMostOnce,
    AnyNumber,
    Several,
}

/// An option, given at most once.
#[derive(Debug)]
pub struct OptionSpec {
    pub long: &'static str,
    pub short: Option<char>,
    /// `None` for a switch.
    pub value: Option<Value>,
    pub help: &'static str,
}

/// The kind of value of an option or an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    Action,
    Address,
    Number,
    DeliveryId,
    Duration,
    EventId,
    EventType,
    File,
    /// A status in which an event is done.
    FinalStatus,
    LogLevel,
    ManPage,
    Provider,
    Shell,
    Source,
    Status,
    Text,
    Topic,
    Unit,
    Url,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Names that a shell's completions ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    Sources,
    Actions,
}

impl NameKind {
    pub const ALL: [NameKind; 2] = [NameKind::Sources, NameKind::Actions];

    pub fn as_str(self) -> &'static str {
        match self {
            NameKind::Sources => "sources",
            NameKind::Actions => "actions",
        }
    }
}

impl Shell {
    pub const ALL: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

    pub fn as_str(self) -> &'static str {
        match self {
            Shell::Bash => "bash",
            Shell::Zsh => "zsh",
            Shell::Fish => "fish",
        }
    }
}

/// An option with a value.
pub const fn option(long: &'static str, value: Value, help: &'static str) -> OptionSpec {
    OptionSpec { long, short: None, value: Some(value), help }
}

/// An option without a value.
pub const fn switch(long: &'static str, help: &'static str) -> OptionSpec {
    OptionSpec { long, short: None, value: None, help }
}

impl OptionSpec {
    /// `-h, --help` or `--limit N`
    pub fn usage(&self) -> String {
        let short = self.short.map_or(String::new(), |short| format!("-{short}, "));
        let value = self.value.map_or(String::new(), |value| format!(" {}", value.name()));
        format!("{short}--{}{value}", self.long)
    }
}

impl Count {
    /// `ID`, `[ID]` or `ID...`
    pub fn usage(self, value: Value) -> String {
        let name = value.name();
        match self {
            Count::Once => name.to_owned(),
            Count::AtMostOnce => format!("[{name}]"),
            Count::AnyNumber => format!("[{name}...]"),
            Count::Several => format!("{name}..."),
        }
    }
}

impl Value {
    /// As it stands in a usage line.
    pub fn name(self) -> &'static str {
        match self {
            Value::Action => "ACTION",
            Value::Address => "ADDRESS",
            Value::Number => "N",
            Value::DeliveryId | Value::EventId => "ID",
            Value::Duration => "DURATION",
            Value::EventType => "TYPE",
            Value::File => "FILE",
            Value::FinalStatus | Value::Status => "STATUS",
            Value::LogLevel => "LEVEL",
            Value::ManPage => "PAGE",
            Value::Provider => "PROVIDER",
            Value::Shell => "SHELL",
            Value::Source => "SOURCE",
            Value::Text => "TEXT",
            Value::Topic => "TOPIC",
            Value::Unit => "UNIT",
            Value::Url => "URL",
        }
    }

    /// All possible values, where they are known; else none. Those of a topic are in the table of commands.
    pub fn choices(self) -> Vec<&'static str> {
        match self {
            Value::Status => ShownStatus::ALL.map(ShownStatus::as_str).to_vec(),
            Value::FinalStatus => {
                [ShownStatus::Processed, ShownStatus::Cancelled, ShownStatus::Error].map(ShownStatus::as_str).to_vec()
            }
            Value::LogLevel => vec!["error", "warn", "info", "debug"],
            Value::Provider => provider::presets().map(|preset| preset.name).collect(),
            Value::Shell => Shell::ALL.map(Shell::as_str).to_vec(),
            Value::ManPage => vec!["hookbox", "hookbox.toml"],
            Value::Unit => vec!["service", "socket"],
            _ => Vec::new(),
        }
    }
}
