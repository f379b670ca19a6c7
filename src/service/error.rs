//! Why the service cannot start, or cannot go on.

use std::fmt;

use crate::gate::GateError;
use crate::listen::ListenError;
use crate::store::{OpenError, StorageError};

pub(super) type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the service cannot start, or cannot go on. Written for the operator.
#[derive(Debug)]
pub struct Error {
    text: String,
    needs_a_person: bool,
}

impl Error {
    /// It cannot work without a change of config, environment or database.
    pub(super) fn refused(problem: impl fmt::Display) -> Error {
        Error { text: problem.to_string(), needs_a_person: true }
    }

    /// It did not work this time.
    pub(super) fn failed(problem: impl fmt::Display) -> Error {
        Error { text: problem.to_string(), needs_a_person: false }
    }

    /// True if it cannot work without a change of config, environment or database; otherwise it did not work this time.
    pub fn needs_a_person(&self) -> bool {
        self.needs_a_person
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

impl From<ListenError> for Error {
    fn from(error: ListenError) -> Error {
        Error::failed(error)
    }
}

impl From<GateError> for Error {
    fn from(error: GateError) -> Error {
        Error::failed(error)
    }
}

impl From<StorageError> for Error {
    fn from(error: StorageError) -> Error {
        OpenError::from(error).into()
    }
}

impl From<OpenError> for Error {
    fn from(error: OpenError) -> Error {
        Error { text: error.to_string(), needs_a_person: error.needs_a_person() }
    }
}
