//! Errors of the command line.

use std::fmt::{self, Display};

use crate::suggest::closest;

/// Why the command line is wrong. Its text ends with the command that prints the help.
#[derive(Debug, PartialEq, Eq)]
pub enum UsageError {
    UnknownCommand {
        word: String,
        closest: Option<&'static str>,
    },
    UnknownTopic {
        word: String,
        closest: Option<&'static str>,
    },
    UnknownOption {
        spelling: String,
        closest: Option<&'static str>,
    },
    /// The option exists, but not for this command.
    ForeignOption {
        command: &'static str,
        option: &'static str,
    },
    Repeated(&'static str),
    Contradiction(&'static str, &'static str),
    /// An option without its value, or with one that it does not take.
    Spelling(String),
    BadValue {
        option: &'static str,
        reason: String,
    },
    BadVariable {
        variable: &'static str,
        reason: String,
    },
    MissingArgument {
        command: &'static str,
        what: &'static str,
    },
    BadArgument {
        command: &'static str,
        reason: String,
    },
    ExtraWord {
        command: &'static str,
        word: String,
    },
}

impl UsageError {
    pub(super) fn unknown_option(spelling: String, known: impl Iterator<Item = &'static str>) -> UsageError {
        let closest = spelling.strip_prefix("--").and_then(|name| closest(name, known));
        UsageError::UnknownOption { spelling, closest }
    }

    pub(super) fn from_lexopt(error: lexopt::Error) -> UsageError {
        UsageError::Spelling(error.to_string())
    }

    fn command(&self) -> Option<&'static str> {
        match self {
            UsageError::ForeignOption { command, .. }
            | UsageError::MissingArgument { command, .. }
            | UsageError::BadArgument { command, .. }
            | UsageError::ExtraWord { command, .. } => Some(command),
            _ => None,
        }
    }
}

impl Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UsageError::UnknownCommand { word, closest: None } => write!(f, "unknown command {word:?}"),
            UsageError::UnknownCommand { word, closest: Some(near) } => {
                write!(f, "unknown command {word:?}; did you mean {near}?")
            }
            UsageError::UnknownTopic { word, closest: None } => {
                write!(f, "no command and no chapter of the manual {word:?}; hookbox help lists them")
            }
            UsageError::UnknownTopic { word, closest: Some(near) } => {
                write!(f, "no command and no chapter of the manual {word:?}; did you mean {near}?")
            }
            UsageError::UnknownOption { spelling, closest: None } => write!(f, "unknown option {spelling}"),
            UsageError::UnknownOption { spelling, closest: Some(near) } => {
                write!(f, "unknown option {spelling}; did you mean --{near}?")
            }
            UsageError::ForeignOption { command, option } => write!(f, "{command} takes no --{option}"),
            UsageError::Repeated(option) => write!(f, "--{option} is given twice; take one of them out"),
            UsageError::Contradiction(one, other) => write!(f, "--{one} and --{other} exclude each other"),
            UsageError::Spelling(message) => f.write_str(message),
            UsageError::BadValue { option, reason } => write!(f, "--{option}: {reason}"),
            UsageError::BadVariable { variable, reason } => write!(f, "{variable}: {reason}"),
            UsageError::MissingArgument { command, what } => write!(f, "{command} needs {what}"),
            UsageError::BadArgument { command, reason } => write!(f, "{command}: {reason}"),
            UsageError::ExtraWord { command, word } => write!(f, "{command} does not take {word:?}"),
        }?;
        match self.command() {
            None => f.write_str("\nsee hookbox --help"),
            Some(command) => write!(f, "\nsee hookbox {command} --help"),
        }
    }
}

impl std::error::Error for UsageError {}
