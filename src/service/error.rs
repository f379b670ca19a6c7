//! Why the service cannot start, or cannot go on.

use std::fmt;

use crate::listen::ListenError;
use crate::store::{OpenError, StorageError};

pub(super) type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug)]
pub enum Error {
    /// It cannot work without a change of config, environment or database.
    Refused(String),
    /// It did not work this time.
    Failed(String),
}

impl Error {
    /// For `map_err`.
    pub(super) fn refused(problem: impl fmt::Display) -> Error {
        Error::Refused(problem.to_string())
    }

    /// For `map_err`.
    pub(super) fn failed(problem: impl fmt::Display) -> Error {
        Error::Failed(problem.to_string())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Error::Refused(problem) | Error::Failed(problem)) = self;
        f.write_str(problem)
    }
}

impl std::error::Error for Error {}

impl From<ListenError> for Error {
    fn from(error: ListenError) -> Error {
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
        if error.needs_a_person() { Error::refused(error) } else { Error::failed(error) }
    }
}
