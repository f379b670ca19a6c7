//! A client connection as the event loop sees it: one socket and a state machine that never blocks.
//!
//! | state | polls for | at its deadline |
//! |---|---|---|
//! | ReadingHead | input; idle (keep-alive) until the first byte of a request | 408, or closed if idle |
//! | ReadingBody | input | 408 |
//! | Waiting | nothing: the request is queued or in flight | 503 or 504, by the event loop |
//! | Sending | room in the socket's buffer | closed |
//! | Lingering | the end of input, which is discarded | closed |
//!
//! The end of input closes the connection while a request is read. Later it is ignored: a client that has shut down
//! writing may still read.

mod state;

use super::blocks::{Blocks, Budget};
use super::limits::Timeouts;
use super::refusal::Refusal;
use super::traffic::Traffic;
use super::upstream::response::Answer;
use crate::listen::Stream;
use rustix::event::PollFlags;
use state::{Client, Next, ReadingHead, State};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

/// Unique, so that a late response cannot reach another connection. In the order of acceptance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// What every step of a connection needs to know.
#[derive(Debug)]
pub struct Context {
    pub now: Instant,
    pub timeouts: Timeouts,
    pub budget: Budget,
    pub max_body_bytes: u64,
    pub is_draining: bool,
    /// No place is free: keep-alive ends after the current response, or a few clients that never pause would keep out all
    /// others.
    pub is_crowded: bool,
    pub traffic: Arc<Traffic>,
}

/// A complete request, ready to be forwarded.
#[derive(Debug)]
pub struct Request {
    pub owner: ConnectionId,
    pub blocks: Blocks,
    pub is_head: bool,
}

/// What one step of a connection has led to.
#[derive(Debug)]
pub enum Progress {
    Pending,
    Complete(Request),
    Closed,
}

/// The order of eviction, least loss first; within a rank the oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EvictionRank {
    Closing,
    Idle,
    /// Does not read its response: one that is read at all fits into the socket's buffer.
    Stalled,
    Unfinished,
}

pub struct Connection {
    client: Client,
    /// `None` once closed.
    state: Option<State>,
}

impl Connection {
    pub fn new(id: ConnectionId, stream: Stream, peer: String, context: &Context) -> Connection {
        let state = Some(State::ReadingHead(ReadingHead::default()));
        Connection { client: Client::new(id, stream, peer, context), state }
    }

    pub fn deadline(&self) -> Instant {
        self.client.deadline
    }

    pub fn is_waiting(&self) -> bool {
        matches!(self.state, Some(State::Waiting(_)))
    }

    pub fn is_idle(&self) -> bool {
        matches!(self.state, Some(State::ReadingHead(_))) && !self.client.has_begun_request()
    }

    /// Bytes of the budget that an unfinished body holds.
    pub fn unfinished_bytes(&self) -> usize {
        match &self.state {
            Some(State::ReadingBody(body)) => body.blocks.held_bytes(),
            _ => 0,
        }
    }

    /// `None` while the connection must not be evicted: a complete request is always answered.
    pub fn eviction_rank(&self, context: &Context) -> Option<(EvictionRank, Instant)> {
        let rank = match self.state.as_ref()? {
            State::Lingering(_) => EvictionRank::Closing,
            State::Waiting(_) => return None,
            _ if self.client.is_younger_than(context.timeouts.min_age, context) => return None,
            State::Sending(_) => EvictionRank::Stalled,
            _ if self.is_idle() => EvictionRank::Idle,
            _ => EvictionRank::Unfinished,
        };
        Some((rank, self.client.since))
    }

    /// What to poll for. `None` leaves the connection out, since poll reports a hang-up even where no event was
    /// requested.
    pub fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let flags = match self.state.as_ref()? {
            State::Waiting(_) => return None,
            State::Sending(_) => PollFlags::OUT,
            _ => PollFlags::IN,
        };
        Some((self.client.stream.as_fd(), flags))
    }

    /// The socket is ready for its [`Connection::interest`]. `scratch` has [`READ_BYTES`](super::body::READ_BYTES).
    pub fn ready(&mut self, context: &Context, scratch: &mut [u8]) -> Progress {
        self.step(|state, client| match state {
            State::ReadingHead(head) => head.read(client, context, scratch),
            State::ReadingBody(body) => body.read(client, context, scratch),
            State::Waiting(_) => Next::Poll(state),
            State::Sending(response) => response.send(client, context),
            State::Lingering(linger) => linger.discard(client, scratch),
        })
    }

    /// The deadline has passed. The event loop itself refuses a request that waits for its response.
    pub fn expire(&mut self, context: &Context) -> Progress {
        if self.is_idle() || matches!(self.state, Some(State::Lingering(_))) {
            return self.close();
        }
        context.traffic.late.add(1);
        match self.state {
            Some(State::ReadingHead(_) | State::ReadingBody(_)) => self.refuse(Refusal::NotInTime, context),
            _ => self.close(),
        }
    }

    /// The gate is stopping: closes an idle connection, unless a request has just arrived. On a young connection a request
    /// may be on its way, so that it gets a short new deadline instead.
    pub fn drain(&mut self, context: &Context, scratch: &mut [u8]) -> Progress {
        if !self.is_idle() {
            return Progress::Pending;
        }
        let progress = self.ready(context, scratch);
        if !self.is_idle() {
            return progress;
        }
        if !self.client.is_younger_than(context.timeouts.drain, context) {
            return self.close();
        }
        self.client.deadline = context.now + context.timeouts.drain;
        Progress::Pending
    }

    /// Sends the upstream response. Ignored unless the connection waits for one.
    pub fn answer(&mut self, response: &Answer, context: &Context) -> Progress {
        self.step(|state, client| match state {
            State::Waiting(waiting) => waiting.answer(response, client, context),
            _ => Next::Poll(state),
        })
    }

    /// Sends the gate's own response, and closes. Further input is not parsed.
    pub fn refuse(&mut self, refusal: Refusal, context: &Context) -> Progress {
        self.step(|_, client| client.refuse(refusal, context))
    }

    fn close(&mut self) -> Progress {
        self.step(|_, _| Next::Close)
    }

    fn step(&mut self, take: impl FnOnce(State, &mut Client) -> Next) -> Progress {
        let Some(state) = self.state.take() else { return Progress::Closed };
        match take(state, &mut self.client) {
            Next::Poll(state) => {
                self.state = Some(state);
                Progress::Pending
            }
            Next::Forward(request, waiting) => {
                self.state = Some(State::Waiting(waiting));
                Progress::Complete(request)
            }
            Next::Close => Progress::Closed,
        }
    }
}

/// True for errors after which the next poll tries again.
pub fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::super::body::READ_BYTES;
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    #[test]
    fn an_idle_connection_holds_no_buffers() -> io::Result<()> {
        let (ours, mut theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let context = Context {
            now: Instant::now(),
            timeouts: Timeouts::default(),
            budget: Budget::default(),
            max_body_bytes: 1_000_000,
            is_draining: false,
            is_crowded: false,
            traffic: Arc::default(),
        };
        let mut connection = Connection::new(ConnectionId(1), Stream::Unix(ours), "unix".into(), &context);
        let body = "a".repeat(50_000);
        theirs.write_all(format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 50000\r\n\r\n{body}").as_bytes())?;
        let mut scratch = vec![0; READ_BYTES];
        while !connection.is_waiting() {
            connection.ready(&context, &mut scratch);
        }
        let response = Answer::parse(b"HTTP/1.1 204 No Content\r\n\r\n", false).ok().flatten();
        assert!(response.is_some_and(|response| matches!(connection.answer(&response, &context), Progress::Pending)));
        assert!(connection.is_idle());
        assert_eq!((connection.client.input.capacity(), context.budget.held_bytes()), (0, 0));
        Ok(())
    }
}
