//! Why the service cannot start, or cannot go on.

use std::{fmt, io};

use crate::gate::GateError;
use crate::gate::upstream::socket::UpstreamError;
use crate::listen::ListenError;
use crate::secret::SecretError;
use crate::store::{OpenError, StorageError};
use crate::systemd::PassedError;

pub(super) type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the service cannot start, or cannot go on. Written for the operator.
#[derive(Debug)]
pub enum Error {
    Secret(SecretError),
    Action {
        name: String,
        error: String,
    },
    /// The private listener, at this address, can be reached from other machines and asks for no token.
    AdminExposed(String),
    Passed(PassedError),
    Listen(ListenError),
    Gate(GateError),
    Upstream(UpstreamError),
    Store(OpenError),
    Signals(io::Error),
    Thread {
        name: String,
        error: io::Error,
    },
    /// The thread of this name has ended while the service was running.
    Ended(String),
}

impl Error {
    /// True if it cannot work without a change of config, environment or database; otherwise it did not work this time.
    pub fn needs_a_person(&self) -> bool {
        match self {
            Error::Secret(_) | Error::Action { .. } | Error::AdminExposed(_) | Error::Passed(_) => true,
            Error::Store(error) => error.needs_a_person(),
            _ => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Secret(error) => error.fmt(f),
            Error::Action { name, error } => write!(f, "actions.{name}.{error}"),
            Error::AdminExposed(address) => write!(
                f,
                "{address} can be reached from other machines, and anyone who reaches it sees every payload: write \
                 token = \"env:NAME\" or \"file:/path\" into [admin], or let it listen on 127.0.0.1 or a Unix socket"
            ),
            Error::Passed(error) => error.fmt(f),
            Error::Listen(error) => error.fmt(f),
            Error::Gate(error) => error.fmt(f),
            Error::Upstream(error) => error.fmt(f),
            Error::Store(error) => error.fmt(f),
            Error::Signals(error) => write!(f, "signals cannot be watched: {error}"),
            Error::Thread { name, error } => write!(f, "the thread {name} cannot be started: {error}"),
            Error::Ended(name) => {
                write!(f, "the thread {name} has ended; the service manager should restart me")
            }
        }
    }
}

impl std::error::Error for Error {}

impl From<ListenError> for Error {
    fn from(error: ListenError) -> Error {
        Error::Listen(error)
    }
}

impl From<GateError> for Error {
    fn from(error: GateError) -> Error {
        Error::Gate(error)
    }
}

impl From<StorageError> for Error {
    fn from(error: StorageError) -> Error {
        Error::Store(error.into())
    }
}

impl From<OpenError> for Error {
    fn from(error: OpenError) -> Error {
        Error::Store(error)
    }
}
