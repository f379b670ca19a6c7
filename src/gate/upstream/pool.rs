//! The upstream connections: a fixed number, opened one after another, each with at most one request in flight.
//! tiny_http starves connections that are opened at once, and stops accepting for good when it cannot accept one;
//! connections that stay open avoid both.

use super::super::request::{ConnectionId, Context, Request, read, transferred};
use super::response::{Broken, Response};
use crate::http::PROBE;
use crate::http::bodies::UnreadBody;
use rustix::event::PollFlags;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Instant;

pub struct Pool {
    socket: PathBuf,
    /// `None` for a closed one.
    connections: Vec<Option<UpstreamConnection>>,
    reopen_at: Option<Instant>,
}

struct UpstreamConnection {
    stream: UnixStream,
    /// `None` while it is idle.
    exchange: Option<Exchange>,
}

/// One request and its response.
struct Exchange {
    in_flight: InFlight,
    head: Vec<u8>,
    written_bytes: usize,
    body: Option<UnreadBody>,
    input: Vec<u8>,
}

#[derive(Clone, Copy)]
enum InFlight {
    Probe { deadline: Instant },
    Request { owner: ConnectionId, is_head: bool, is_large: bool },
}

/// The result of one step on an upstream connection.
pub enum UpstreamEvent {
    Pending,
    Answered(ConnectionId, Response),
    /// The connection is lost, and the request may have reached the receiver.
    Lost(ConnectionId),
    /// The connection was lost before the request: another one can take it.
    Unsent(Request),
}

impl Pool {
    pub fn new(socket: PathBuf, size: usize) -> Pool {
        Pool { socket, connections: (0..size).map(|_| None).collect(), reopen_at: None }
    }

    /// True once every connection is open and its probe answered.
    pub fn is_complete(&self) -> bool {
        self.connections.iter().all(Option::is_some) && self.probe_deadline().is_none()
    }

    pub fn has_large_in_flight(&self) -> bool {
        self.exchanges().any(|exchange| matches!(exchange.in_flight, InFlight::Request { is_large: true, .. }))
    }

    /// True while a request waits for the receiver.
    pub fn has_request_in_flight(&self) -> bool {
        self.exchanges().any(|exchange| matches!(exchange.in_flight, InFlight::Request { .. }))
    }

    fn exchanges(&self) -> impl Iterator<Item = &Exchange> {
        self.connections.iter().flatten().filter_map(|connection| connection.exchange.as_ref())
    }

    /// An idle connection, for [`Pool::begin`].
    pub fn idle(&self) -> Option<usize> {
        let is_idle = |connection: &UpstreamConnection| connection.exchange.is_none();
        self.connections.iter().position(|connection| connection.as_ref().is_some_and(is_idle))
    }

    fn probe_deadline(&self) -> Option<Instant> {
        self.exchanges().find_map(|exchange| match exchange.in_flight {
            InFlight::Probe { deadline } => Some(deadline),
            InFlight::Request { .. } => None,
        })
    }

    /// When [`Pool::open_one`] is due, even if no connection is ready.
    pub fn deadline(&self) -> Option<Instant> {
        self.probe_deadline().or(self.reopen_at)
    }

    /// Opens a closed connection and sends a probe on it, unless another one is being probed; gives up on a probe that is
    /// not answered.
    pub fn open_one(&mut self, context: &Context) {
        if self.probe_deadline().is_some_and(|deadline| deadline <= context.now) {
            self.close_where(|in_flight| matches!(in_flight, InFlight::Probe { .. }));
        }
        let Some(at) = self.connections.iter().position(Option::is_none) else { return };
        if self.probe_deadline().is_some() || self.reopen_at.is_some_and(|at| context.now < at) {
            return;
        }
        // If this probe fails, the next attempt has to wait.
        self.reopen_at = Some(context.now + context.timeouts.reopen);
        let Ok(stream) = self.connect() else { return };
        let in_flight = InFlight::Probe { deadline: context.now + context.timeouts.probe };
        self.connections[at] =
            Some(UpstreamConnection { stream, exchange: Some(Exchange::new(in_flight, PROBE.to_vec(), None)) });
    }

    /// Non-blocking from the start: a receiver whose backlog is full must not stop the gate.
    fn connect(&self) -> io::Result<UnixStream> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        connect(&socket, &SocketAddrUnix::new(&self.socket)?)?;
        Ok(socket.into())
    }

    /// Begins to write a request to an idle connection.
    pub fn begin(&mut self, at: usize, request: Request, scratch: &mut [u8]) -> UpstreamEvent {
        let Some(connection) = &mut self.connections[at] else { return UpstreamEvent::Unsent(request) };
        let Request { owner, head, body, is_head, is_large } = request;
        connection.exchange = Some(Exchange::new(InFlight::Request { owner, is_head, is_large }, head, body));
        self.ready(at, PollFlags::OUT, scratch)
    }

    /// What to poll for, by connection. An idle one is watched too: any input on it is its end.
    pub fn interest(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>, PollFlags)> {
        self.connections.iter().enumerate().filter_map(|(at, connection)| {
            let UpstreamConnection { stream, exchange } = connection.as_ref()?;
            let is_written = exchange.as_ref().is_none_or(Exchange::is_written);
            Some((at, stream.as_fd(), if is_written { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT }))
        })
    }

    /// The socket of the connection is ready for `flags`.
    pub fn ready(&mut self, at: usize, flags: PollFlags, scratch: &mut [u8]) -> UpstreamEvent {
        let Some(UpstreamConnection { mut stream, exchange: Some(mut exchange) }) = self.connections[at].take() else {
            return UpstreamEvent::Pending;
        };
        match (exchange.advance(&mut stream, flags, scratch), exchange.in_flight) {
            (Ok(None), _) => {
                self.connections[at] = Some(UpstreamConnection { stream, exchange: Some(exchange) });
                UpstreamEvent::Pending
            }
            (Ok(Some(response)), InFlight::Probe { .. }) if matches!(response.status, 200 | 204) => {
                self.connections[at] = Some(UpstreamConnection { stream, exchange: None });
                self.reopen_at = None;
                UpstreamEvent::Pending
            }
            (_, InFlight::Probe { .. }) => UpstreamEvent::Pending,
            (Ok(Some(response)), InFlight::Request { owner, .. }) => {
                self.connections[at] = Some(UpstreamConnection { stream, exchange: None });
                UpstreamEvent::Answered(owner, response)
            }
            (Err(Broken), InFlight::Request { owner, .. }) if exchange.written_bytes > 0 => UpstreamEvent::Lost(owner),
            (Err(Broken), InFlight::Request { owner, is_head, is_large }) => {
                let Exchange { head, body, .. } = exchange;
                UpstreamEvent::Unsent(Request { owner, head, body, is_head, is_large })
            }
        }
    }

    /// Closes the connection with the request of `owner` in flight: its response would come too late. The receiver still
    /// reads the body, and stores the delivery.
    pub fn abandon(&mut self, owner: ConnectionId) {
        let abandoned = self.close_where(|it| matches!(it, InFlight::Request { owner: it, .. } if it == owner));
        if let Some(body) = abandoned.filter(Exchange::is_written).and_then(|exchange| exchange.body) {
            body.leave();
        }
    }

    fn close_where(&mut self, is_meant: impl Fn(InFlight) -> bool) -> Option<Exchange> {
        let is_meant = |it: &mut UpstreamConnection| it.exchange.as_ref().is_some_and(|it| is_meant(it.in_flight));
        self.connections.iter_mut().find_map(|connection| connection.take_if(is_meant))?.exchange
    }
}

impl Exchange {
    fn new(in_flight: InFlight, head: Vec<u8>, body: Option<UnreadBody>) -> Exchange {
        Exchange { in_flight, head, written_bytes: 0, body, input: Vec::new() }
    }

    fn is_written(&self) -> bool {
        self.written_bytes == self.head.len()
    }

    /// The response, once it is there and the request is written.
    fn advance(
        &mut self,
        stream: &mut UnixStream,
        flags: PollFlags,
        scratch: &mut [u8],
    ) -> Result<Option<Response>, Broken> {
        if flags.contains(PollFlags::OUT) && !self.is_written() {
            self.written_bytes += transferred(stream.write(&self.head[self.written_bytes..])).ok_or(Broken)?;
        }
        if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            let read_bytes = read(stream, scratch).ok_or(Broken)?;
            self.input.extend_from_slice(&scratch[..read_bytes]);
        }
        let is_to_head = matches!(self.in_flight, InFlight::Request { is_head: true, .. });
        Ok(Response::parse(&self.input, is_to_head)?.filter(|_| self.is_written()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::limits::Timeouts;
    use super::*;
    use crate::http::blocks::{Blocks, Budget};
    use crate::http::bodies::Bodies;

    const HEAD: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

    fn request() -> Request {
        Request { owner: ConnectionId(7), head: HEAD.to_vec(), body: None, is_head: false, is_large: false }
    }

    fn pool_of(stream: UnixStream) -> Pool {
        let idle = UpstreamConnection { stream, exchange: None };
        Pool { socket: PathBuf::new(), connections: vec![Some(idle)], reopen_at: None }
    }

    #[test]
    fn a_request_for_a_stale_connection_is_given_back_whole() -> io::Result<()> {
        let (ours, theirs) = UnixStream::pair()?;
        drop(theirs);
        let mut pool = pool_of(ours);
        let outcome = pool.begin(0, request(), &mut [0; 16]);
        let UpstreamEvent::Unsent(request) = outcome else { return Err(io::ErrorKind::InvalidData.into()) };
        assert_eq!((request.owner, &*request.head), (ConnectionId(7), HEAD));
        assert!(pool.idle().is_none() && !pool.is_complete());
        Ok(())
    }

    #[test]
    fn a_request_that_was_begun_is_lost_with_its_connection() -> io::Result<()> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut pool = pool_of(ours);
        assert!(matches!(pool.begin(0, request(), &mut [0; 16]), UpstreamEvent::Pending));
        drop(theirs);
        assert!(matches!(pool.ready(0, PollFlags::IN, &mut [0; 16]), UpstreamEvent::Lost(ConnectionId(7))));
        Ok(())
    }

    #[test]
    fn the_body_of_an_abandoned_request_stays_for_the_receiver_and_that_of_a_lost_one_does_not() -> io::Result<()> {
        for (is_lost, body_bytes) in [(false, 4), (true, 0)] {
            let (ours, theirs) = UnixStream::pair()?;
            let (mut pool, bodies) = (pool_of(ours), Bodies::default());
            let mut body = Blocks::new(&Budget::default());
            body.append(b"body", 4);
            let request = Request { body: Some(bodies.add(body)), ..request() };
            assert!(matches!(pool.begin(0, request, &mut [0; 16]), UpstreamEvent::Pending));
            if is_lost {
                drop(theirs);
                pool.ready(0, PollFlags::IN, &mut [0; 16]);
            } else {
                pool.abandon(ConnectionId(7));
            }
            assert_eq!(bodies.unread_bytes(), body_bytes);
        }
        Ok(())
    }

    #[test]
    fn a_missing_receiver_is_tried_again_after_a_while() {
        let timeouts = Timeouts::default();
        let mut context = Context {
            now: Instant::now(),
            timeouts,
            budget: Default::default(),
            bodies: Default::default(),
            max_body_bytes: 0,
            trusted_proxies: Default::default(),
            is_draining: false,
            is_crowded: false,
            traffic: Default::default(),
        };
        let mut pool = Pool::new(PathBuf::from("/nonexistent"), 1);
        pool.open_one(&context);
        assert_eq!(pool.deadline(), Some(context.now + timeouts.reopen));
        context.now += timeouts.reopen / 2;
        pool.open_one(&context);
        assert_eq!(pool.deadline(), Some(context.now + timeouts.reopen / 2));
    }
}
