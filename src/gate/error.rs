//! Why a gate did not start.

use std::fmt;
use std::io;

#[derive(Debug)]
pub enum GateError {
    /// Upstream did not accept the pool's connections, or did not answer on them.
    UpstreamSilent,
    /// The limit on descriptors is lower than what one delivery takes.
    TooFewDescriptors {
        descriptors: u64,
        least: u64,
        needed: u64,
    },
    Failed(io::Error),
}

impl fmt::Display for GateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GateError::UpstreamSilent => write!(
                f,
                "the receiver did not answer the gate in time. Are there enough threads for it (ulimit -u, or TasksMax= in the \
                 unit)?"
            ),
            GateError::TooFewDescriptors { descriptors, least, needed } => write!(
                f,
                "this process may open only {descriptors} descriptors: allow at least {least}, better {needed} (ulimit -n, or \
                 LimitNOFILE= in the unit)"
            ),
            GateError::Failed(error) => write!(f, "cannot start the gate: {error}"),
        }
    }
}

impl std::error::Error for GateError {}
