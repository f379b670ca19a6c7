//! The admission gate: the only part of the program that speaks to strangers.
//!
//! tiny_http can be stopped or killed by a stranger: it allocates a declared length, waits for slow senders with a
//! thread each, and goes deaf when it runs out of descriptors. So it listens on a private Unix socket, and this gate
//! takes in requests under limits and deadlines and hands a request on only when it is complete and sane. The gate
//! stores nothing and knows no paths.
//!
//! One thread owns everything: the listener, the connections, a queue of complete requests, and a pool of connections
//! to tiny_http with one request in flight on each. Each turn it hands over what is complete, polls until the nearest
//! deadline, and serves what is ready. The list for poll(2) is made anew from the states each turn: to pause is to be
//! left out, and nothing can go stale. An idle gate sleeps without a timeout.

mod blocks;
mod body;
mod connection;
mod head;
mod limits;
pub mod upstream;
mod liveness;
mod refusal;
mod traffic;
mod event_loop;

use crate::listen::Listener;
use event_loop::EventLoop;
pub use limits::Limits;
pub use liveness::{Liveness, Snapshot};
use std::fmt;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
pub use traffic::Traffic;
use upstream::pool::Pool;

/// What a running gate shares with others.
#[derive(Debug)]
pub struct Settings {
    /// May change while the gate runs.
    pub max_body_bytes: AtomicU64,
    pub traffic: Arc<Traffic>,
}

/// A running gate. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Gate {
    address: String,
    /// The thread stops when this end is closed.
    stop: UnixStream,
    thread: JoinHandle<()>,
    liveness: Arc<Liveness>,
}

#[derive(Debug)]
pub enum GateError {
    /// The receiver did not take the pool's connections, or did not answer on them.
    ReceiverSilent,
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
            GateError::ReceiverSilent => write!(
                f,
                "the receiver did not answer the gate in time. Are there enough threads for it (ulimit -u, or TasksMax= in the \
                 unit)?"
            ),
            GateError::TooFewDescriptors { descriptors, least, needed } => write!(
                f,
                "this process may have {descriptors} descriptors only: allow at least {least}, better {needed} (ulimit -n, or \
                 LimitNOFILE= in the unit)"
            ),
            GateError::Failed(error) => write!(f, "cannot start the gate: {error}"),
        }
    }
}

impl std::error::Error for GateError {}

/// Starts the gate's thread in front of the tiny_http server that listens at `inner`, whose requests must be taken
/// already. Returns once every inner connection is open and proven.
///
/// `on_end` is called when the thread ends for whatever reason, a panic and a failed start included.
pub fn start(
    limits: Limits,
    listener: Listener,
    inner: &Path,
    settings: Arc<Settings>,
    on_end: impl FnOnce() + Send + 'static,
) -> Result<Gate, GateError> {
    let (stop, stopped) = UnixStream::pair().map_err(GateError::Failed)?;
    let (ready, is_ready) = mpsc::sync_channel(1);
    let address = listener.address().to_string();
    let inner = inner.to_path_buf();
    let liveness = Arc::new(Liveness::default());
    let beating = Arc::clone(&liveness);
    let start_timeout = limits.deadlines.start;
    let run = move || {
        let _on_end = OnDrop(Some(on_end));
        let pool = Pool::new(inner, limits.slots);
        EventLoop::new(limits, listener, stopped, pool, settings, beating, ready).run();
    };
    let thread = thread::Builder::new().name("gate".into()).spawn(run).map_err(GateError::Failed)?;
    is_ready.recv_timeout(start_timeout).map_err(|_| GateError::ReceiverSilent)?;
    Ok(Gate { address, stop, thread, liveness })
}

impl Gate {
    /// Stops accepting, lets what has come be answered, and closes. Returns when no connection lives, or when
    /// [`Deadlines::stop`](limits::Deadlines::stop) has passed.
    pub fn stop(self) {
        drop(self.stop);
        let _ = self.thread.join(); // a panic was reported by `on_end`
    }

    pub fn liveness(&self) -> Arc<Liveness> {
        Arc::clone(&self.liveness)
    }

    /// What a sender connects to, as [`Listener::address`] says it.
    pub fn address(&self) -> &str {
        &self.address
    }
}

/// Runs even when the thread unwinds.
struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(run) = self.0.take() {
            run();
        }
    }
}

#[cfg(test)]
mod tests;
