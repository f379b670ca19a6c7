//! Why a command line cannot be understood.

use std::fmt::{self, Display};

use super::{OPTIONS, Topic};
use crate::suggest::closest;

/// Why the command line cannot be understood. Its text ends with where to look.
#[derive(Debug, PartialEq, Eq)]
pub enum UsageError {
    UnknownCommand {
        word: String,
        closest: Option<&'static str>,
    },
    UnknownOption {
        spelling: String,
        closest: Option<&'static str>,
    },
    /// The option exists, but not for this command.
    ForeignOption {
        topic: Topic,
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
    MissingWord {
        topic: Topic,
        what: &'static str,
    },
    BadWord {
        topic: Topic,
        reason: String,
    },
    ExtraWord {
        topic: Topic,
        word: String,
    },
}

impl UsageError {
    pub(super) fn unknown_option(spelling: String, name: &str) -> UsageError {
        UsageError::UnknownOption { spelling, closest: closest(name, OPTIONS.map(|(known, _)| known)) }
    }

    pub(super) fn from_lexopt(error: lexopt::Error) -> UsageError {
        UsageError::Spelling(error.to_string())
    }

    fn topic(&self) -> Option<Topic> {
        match self {
            UsageError::ForeignOption { topic, .. }
            | UsageError::MissingWord { topic, .. }
            | UsageError::BadWord { topic, .. }
            | UsageError::ExtraWord { topic, .. } => Some(*topic),
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
            UsageError::UnknownOption { spelling, closest: None } => write!(f, "unknown option {spelling}"),
            UsageError::UnknownOption { spelling, closest: Some(near) } => {
                write!(f, "unknown option {spelling}; did you mean --{near}?")
            }
            UsageError::ForeignOption { topic, option } => write!(f, "{} takes no --{option}", topic.as_str()),
            UsageError::Repeated(option) => write!(f, "--{option} is given twice; take one of them out"),
            UsageError::Contradiction(one, other) => write!(f, "--{one} and --{other} exclude each other"),
            UsageError::Spelling(message) => f.write_str(message),
            UsageError::BadValue { option, reason } => write!(f, "--{option}: {reason}"),
            UsageError::BadVariable { variable, reason } => write!(f, "{variable}: {reason}"),
            UsageError::MissingWord { topic, what } => write!(f, "{} needs {what}", topic.as_str()),
            UsageError::BadWord { topic, reason } => write!(f, "{}: {reason}", topic.as_str()),
            UsageError::ExtraWord { topic, word } => write!(f, "{} does not take {word:?}", topic.as_str()),
        }?;
        match self.topic() {
            None => f.write_str("\nsee hookbox --help"),
            Some(topic) => write!(f, "\nsee hookbox {} --help", topic.as_str()),
        }
    }
}

impl std::error::Error for UsageError {}
