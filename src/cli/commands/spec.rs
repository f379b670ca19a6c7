//! What a row of the table of commands says. The parser, the help, the completions and the man page read it.

use crate::cli::args::{Command, Raw, UsageError};
use crate::cli::commands::COMMANDS;
use crate::cli::completions::Shell;
use crate::event::Status;
use crate::manual::CHAPTERS;
use crate::provider;

/// One command.
#[derive(Debug)]
pub struct CommandSpec {
    pub name: &'static str,
    /// What it does, as an instruction, without a full stop; fits into the list of commands.
    pub summary: &'static str,
    pub arguments: &'static [ArgumentSpec],
    /// Further ways to call it, after its name, beside the one that follows from its arguments.
    pub also: &'static [&'static str],
    /// Those of its own, beside the common ones.
    pub options: &'static [OptionSpec],
    /// Paragraphs, with an empty line between two.
    pub description: &'static str,
    pub examples: &'static [&'static str],
    /// Takes its options and arguments out of the words of the command line.
    pub parse: fn(&mut Raw) -> Result<Command, UsageError>,
}

/// A word after the command.
#[derive(Debug)]
pub struct ArgumentSpec {
    pub value: Value,
    pub count: Count,
    /// Completes "needs ...", where it is missing.
    pub missing: &'static str,
}

/// How often an argument is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    Once,
    AtMostOnce,
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

/// What an option or an argument takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    Action,
    Address,
    Count,
    DeliveryId,
    Duration,
    EventId,
    EventType,
    File,
    /// Of an event that is done.
    FinalStatus,
    LogLevel,
    Provider,
    Shell,
    Source,
    Status,
    Topic,
    Unit,
    Url,
}

/// The start of a row: a command without arguments, options and description.
pub const fn command(
    name: &'static str,
    summary: &'static str,
    parse: fn(&mut Raw) -> Result<Command, UsageError>,
) -> CommandSpec {
    CommandSpec { name, summary, arguments: &[], also: &[], options: &[], description: "", examples: &[], parse }
}

/// An option with a value.
pub const fn option(long: &'static str, value: Value, help: &'static str) -> OptionSpec {
    OptionSpec { long, short: None, value: Some(value), help }
}

/// An option without a value.
pub const fn switch(long: &'static str, help: &'static str) -> OptionSpec {
    OptionSpec { long, short: None, value: None, help }
}

pub const fn once(value: Value, missing: &'static str) -> ArgumentSpec {
    ArgumentSpec { value, count: Count::Once, missing }
}

pub const fn optional(value: Value) -> ArgumentSpec {
    ArgumentSpec { value, count: Count::AtMostOnce, missing: "" }
}

pub const fn several(value: Value, missing: &'static str) -> ArgumentSpec {
    ArgumentSpec { value, count: Count::Several, missing }
}

impl OptionSpec {
    /// `-h, --help` or `--limit N`
    pub fn usage(&self) -> String {
        let short = self.short.map_or(String::new(), |short| format!("-{short}, "));
        let value = self.value.map_or(String::new(), |value| format!(" {}", value.name()));
        format!("{short}--{}{value}", self.long)
    }
}

impl ArgumentSpec {
    fn usage(&self) -> String {
        let name = self.value.name();
        match self.count {
            Count::Once => name.to_owned(),
            Count::AtMostOnce => format!("[{name}]"),
            Count::Several => format!("{name}..."),
        }
    }
}

impl CommandSpec {
    pub const fn arguments(self, arguments: &'static [ArgumentSpec]) -> CommandSpec {
        CommandSpec { arguments, ..self }
    }

    pub const fn also(self, also: &'static [&'static str]) -> CommandSpec {
        CommandSpec { also, ..self }
    }

    pub const fn options(self, options: &'static [OptionSpec]) -> CommandSpec {
        CommandSpec { options, ..self }
    }

    pub const fn description(self, description: &'static str) -> CommandSpec {
        CommandSpec { description, ..self }
    }

    pub const fn examples(self, examples: &'static [&'static str]) -> CommandSpec {
        CommandSpec { examples, ..self }
    }

    /// `show ID`
    pub fn usage(&self) -> String {
        let arguments = self.arguments.iter().map(|argument| format!(" {}", argument.usage()));
        self.name.to_owned() + &arguments.collect::<String>()
    }

    /// Every way to call it.
    pub fn usages(&self) -> impl Iterator<Item = String> {
        std::iter::once(self.usage()).chain(self.also.iter().map(|also| format!("{} {also}", self.name)))
    }
}

impl Value {
    /// As it stands in a usage line.
    pub fn name(self) -> &'static str {
        match self {
            Value::Action => "ACTION",
            Value::Address => "ADDRESS",
            Value::Count => "N",
            Value::DeliveryId | Value::EventId => "ID",
            Value::Duration => "DURATION",
            Value::EventType => "TYPE",
            Value::File => "FILE",
            Value::FinalStatus | Value::Status => "STATUS",
            Value::LogLevel => "LEVEL",
            Value::Provider => "PROVIDER",
            Value::Shell => "SHELL",
            Value::Source => "SOURCE",
            Value::Topic => "TOPIC",
            Value::Unit => "UNIT",
            Value::Url => "URL",
        }
    }

    /// All that it can be, where that is known; else none.
    pub fn choices(self) -> Vec<&'static str> {
        match self {
            Value::Status => Status::ALL.map(Status::as_str).to_vec(),
            Value::FinalStatus => [Status::Processed, Status::Error].map(Status::as_str).to_vec(),
            Value::LogLevel => vec!["error", "warn", "info", "debug"],
            Value::Provider => provider::presets().map(|preset| preset.name).collect(),
            Value::Shell => Shell::ALL.map(Shell::as_str).to_vec(),
            Value::Topic => topics(),
            Value::Unit => vec!["service", "socket"],
            _ => Vec::new(),
        }
    }
}

/// A name may be both that of a command and that of a chapter.
fn topics() -> Vec<&'static str> {
    let chapters = CHAPTERS.iter().map(|chapter| chapter.name);
    let chapters = chapters.filter(|name| COMMANDS.iter().all(|command| command.name != *name));
    COMMANDS.iter().map(|command| command.name).chain(chapters).collect()
}
