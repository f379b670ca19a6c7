//! The gate: an in-process reverse proxy, and the only part of the program that talks to untrusted clients.
//!
//! An untrusted client can stop or kill tiny_http, which allocates a body's declared length, waits for slow clients with
//! a thread each, and stops accepting for good when descriptors run out. So tiny_http is the gate's upstream, on a
//! private Unix socket. The gate reads requests under limits and timeouts, and forwards a request only when it is
//! complete and well-formed: the head through the socket, the body beside it. It stores nothing and knows no paths.
//!
//! One thread runs an event loop on poll(2) and owns everything: the listener, the client connections, a queue of
//! complete requests, and a pool of upstream connections with one request in flight on each. The poll list is built from
//! the connections' states in each iteration: a connection that has to wait is left out, and no registration becomes stale.
//! An idle gate sleeps without a timeout.
//!
//! - **Keep-alive**: a connection serves requests one after another, pipelined ones too, until the client, a refusal, an
//!   idle timeout or a crowded gate ends it. Then follows a lingering close, so that the response arrives.
//! - **Backpressure**: a connection is not read while its request waits for the response. Bodies share one budget of
//!   memory until the receiver reads them; when it is used up, the client with the most bytes loses its largest unfinished
//!   body.
//! - **Eviction**: when every place is taken, the client with the most connections makes room for a new one, with the
//!   connection whose loss costs least. Behind a trusted proxy, the client is the one that the proxy names.
//! - **Discarding**: a refused client that is still sending is read on within limits, so that it gets the response.
//! - **Draining**: a stopping gate closes each connection after its response, and goes on accepting until those from before
//!   the stop are closed. Only then it accepts nothing more, answers the requests that it has, and ends within a moment,
//!   because senders that connect from then on wait for the next process.

mod body;
mod connection;
mod event_loop;
mod fairness;
#[cfg(fuzzing)]
#[path = "../tests/fuzz/gate.rs"]
pub mod fuzz;
mod head;
mod limits;
mod refusal;
mod request;
mod traffic;
pub mod upstream;

use crate::cidr::Cidr;
use crate::current::Current;
use crate::listen::{Listener, LocalAddress};
use event_loop::EventLoop;
pub use limits::Limits;
use std::io;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
pub use traffic::{Liveness, Traffic};
use upstream::pool::Pool;
use upstream::socket::Address;

/// Upstream did not accept the pool's connections, or did not answer on them.
const UPSTREAM_IS_SILENT: &str = "the receiver did not answer the gate in time. Are there enough threads for it \
     (ulimit -u, or TasksMax= in the unit)?";

/// The part of a running gate that other threads share.
#[derive(Debug)]
pub struct Settings {
    /// May change while the gate runs.
    pub max_body_bytes: AtomicU64,
    /// The proxies that are believed when they name their client. May change too.
    pub trusted_proxies: Current<Vec<Cidr>>,
    pub traffic: Arc<Traffic>,
}

/// A running gate. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Gate {
    address: String,
    local_address: LocalAddress,
    /// Closing this end stops the thread.
    stop: UnixStream,
    thread: JoinHandle<()>,
}

/// Starts the gate's thread in front of the server at `upstream`, whose requests must be taken already. Returns once every
/// upstream connection is open and has answered a probe.
///
/// `on_end` is called when the thread ends for any reason, including a panic and a failed start. `Err` tells the operator
/// why it cannot start.
pub fn start(
    limits: Limits,
    listener: Listener,
    upstream: Address,
    settings: Arc<Settings>,
    on_end: impl FnOnce() + Send + 'static,
) -> Result<Gate, String> {
    let failed = |error: io::Error| format!("cannot start the gate: {error}");
    let (stop, stop_signal) = UnixStream::pair().map_err(failed)?;
    let (ready, is_ready) = mpsc::sync_channel(1);
    let (address, local_address) = (listener.address().to_string(), listener.local_address());
    let start_timeout = limits.timeouts.start;
    let run = move || {
        let Address { socket, bodies } = upstream;
        let pool = Pool::new(socket, limits.upstream_connections);
        run_then(|| EventLoop::new(limits, listener, stop_signal, pool, bodies, settings, ready).run(), on_end);
    };
    let thread = thread::Builder::new().name("gate".into()).spawn(run).map_err(failed)?;
    is_ready.recv_timeout(start_timeout).map_err(|_| UPSTREAM_IS_SILENT)?;
    Ok(Gate { address, local_address, stop, thread })
}

impl Gate {
    /// Drains, and returns when every connection is closed, or has had its time.
    pub fn stop(self) {
        drop(self.stop);
        let _ = self.thread.join(); // a panic was caught
    }

    /// The address to connect to from this machine.
    pub fn local_address(&self) -> LocalAddress {
        self.local_address.clone()
    }

    /// The address for clients, as [`Listener::address`] returns it.
    pub fn address(&self) -> &str {
        &self.address
    }
}

/// Runs `body`, and `on_end` even after a panic.
fn run_then(body: impl FnOnce(), on_end: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(body)); // the panic hook has logged it
    on_end();
}

#[cfg(test)]
mod tests;
