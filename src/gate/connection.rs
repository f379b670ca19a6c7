//! A client connection as the event loop sees it: one socket and a state machine that never blocks.
//!
//! | state | polls for | at its deadline |
//! |---|---|---|
//! | ReadingHead | input | 408, or closed if idle: before the first byte of a request |
//! | ReadingBody | input | 408 |
//! | Waiting | nothing: the request is queued or in flight | 503 or 504, by the event loop |
//! | Sending | room in the socket's buffer | closed |
//! | Lingering | the end of input, which is discarded; after the refusal of a body for longer | closed |
//!
//! The end of input closes the connection while a request is read, and while lingering. In between it is not looked at: a
//! client that has shut down writing may still read.

use super::body::Decoder;
use super::fairness::ClientKey;
use super::head::{self, Head, MAX_HEAD_BYTES, Summary};
use super::limits::Timeouts;
use super::refusal::{CONTINUE, Fault, Refusal};
use super::request::{ConnectionId, Context, Request, read, transferred};
use super::upstream::response::Response;
use crate::http::blocks::Blocks;
use crate::http::client::{Client as ClientAddress, is_in};
use crate::http::{self, Peer};
use crate::listen::Stream;
use rustix::event::PollFlags;
use rustix::net::{Shutdown, shutdown};
use std::io::Write;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// Closing with unread input resets the connection, and the reset destroys the response. Up to this much input is
/// discarded to avoid that.
const MAX_LINGER_BYTES: usize = 1024 * 1024;

/// The same after the refusal of a body: many clients read no response before they have sent their whole request. More than
/// any provider sends by mistake.
const MAX_DISCARD_BYTES: usize = 64 * 1024 * 1024;

/// The order of eviction, least loss first; within a rank the longest since [`Client::since`] first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EvictionRank {
    Closing,
    Idle,
    /// The client does not read its response, which would otherwise fit into the socket's buffer.
    Stalled,
    UnfinishedHead,
    UnfinishedBody,
}

pub struct Connection {
    client: Client,
    /// `None` once closed.
    state: Option<State>,
}

/// The part of a connection that outlives its states.
struct Client {
    id: ConnectionId,
    stream: Stream,
    peer: Peer,
    /// The peer is a trusted proxy, which names its client in each request.
    is_proxy: bool,
    /// The client of the current request, once a trusted proxy has named it.
    named: Option<ClientAddress>,
    /// A request was answered before the current one.
    was_served: bool,
    /// Bytes that were read and not parsed yet.
    input: Vec<u8>,
    /// That of the current request; `None` until its head is read.
    summary: Option<Summary>,
    /// When the request began, while it is read; in other states, when the state was entered.
    since: Instant,
    deadline: Instant,
}

/// The state after a step; `None` closes the connection.
type NextState = Option<State>;

enum State {
    ReadingHead(ReadingHead),
    ReadingBody(Box<ReadingBody>),
    Waiting(Waiting),
    Sending(Sending),
    Lingering(Lingering),
}

/// Waiting for a request, or reading its head into [`Client::input`].
#[derive(Default)]
struct ReadingHead {
    checked_bytes: usize,
}

struct ReadingBody {
    head: Head,
    decoder: Decoder,
    blocks: Blocks,
}

/// The request is complete, and its response is not.
struct Waiting {
    /// Until the event loop takes it.
    request: Option<Request>,
    closes: bool,
    has_body: bool,
}

struct Sending {
    output: Vec<u8>,
    sent_bytes: usize,
    then: Then,
}

/// What follows a response.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    NextRequest,
    Close,
    /// Close, although the client may still be sending its body.
    Discard,
}

/// The lingering close: writing is shut down, and input is discarded until the client closes.
struct Lingering {
    is_discarding: bool,
    discarded_bytes: usize,
    ends_at: Instant,
}

impl Connection {
    pub fn new(id: ConnectionId, stream: Stream, peer: Peer, context: &Context) -> Connection {
        let (since, deadline) = (context.now, context.now + context.timeouts.request);
        let is_proxy = is_in(peer.ip(), &context.trusted_proxies);
        let (named, summary, was_served, input) = (None, None, false, Vec::new());
        let client = Client { id, stream, peer, is_proxy, named, summary, was_served, input, since, deadline };
        Connection { client, state: Some(State::ReadingHead(ReadingHead::default())) }
    }

    pub fn deadline(&self) -> Instant {
        self.client.deadline
    }

    pub fn is_closed(&self) -> bool {
        self.state.is_none()
    }

    pub fn is_waiting(&self) -> bool {
        matches!(self.state, Some(State::Waiting(_)))
    }

    pub fn is_idle(&self) -> bool {
        matches!(self.state, Some(State::ReadingHead(_))) && !self.client.has_begun_request()
    }

    /// A refused client sends the rest of its body. Such connections are limited on their own, and take no place.
    pub fn is_discarding(&self) -> bool {
        matches!(self.state, Some(State::Lingering(Lingering { is_discarding: true, .. })))
    }

    /// The client that the connection is counted for.
    pub fn client_key(&self) -> ClientKey {
        self.client.key()
    }

    pub fn since(&self) -> Instant {
        self.client.since
    }

    /// Bytes of the budget that an unfinished body holds.
    pub fn unfinished_bytes(&self) -> usize {
        match &self.state {
            Some(State::ReadingBody(body)) => body.blocks.held_bytes(),
            _ => 0,
        }
    }

    /// The request, once, when it has become complete.
    pub fn take_request(&mut self) -> Option<Request> {
        match &mut self.state {
            Some(State::Waiting(waiting)) => waiting.request.take(),
            _ => None,
        }
    }

    /// `None` while the connection must not be evicted: a complete request is always answered. Discarding has a limit of
    /// its own.
    pub fn eviction_rank(&self, context: &Context) -> Option<(EvictionRank, Instant, ConnectionId)> {
        let rank = match self.state.as_ref()? {
            State::Lingering(linger) if linger.is_discarding => return None,
            State::Lingering(_) => EvictionRank::Closing,
            State::Waiting(_) => return None,
            _ if self.client.is_younger_than(context.timeouts.min_age, context) => return None,
            State::Sending(_) => EvictionRank::Stalled,
            _ if self.is_idle() => EvictionRank::Idle,
            State::ReadingHead(_) => EvictionRank::UnfinishedHead,
            State::ReadingBody(_) => EvictionRank::UnfinishedBody,
        };
        Some((rank, self.client.since, self.client.id))
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

    /// The socket is ready for its [`Connection::interest`]. `scratch` is [`READ_BYTES`](super::body::READ_BYTES) long.
    pub fn ready(&mut self, context: &Context, scratch: &mut [u8]) {
        let client = &mut self.client;
        self.state = self.state.take().and_then(|state| match state {
            State::ReadingHead(head) => head.read(client, context, scratch),
            State::ReadingBody(body) => body.read(client, context, scratch),
            State::Waiting(_) => Some(state),
            State::Sending(response) => response.send(client, context),
            State::Lingering(linger) => linger.discard(client, context, scratch),
        });
    }

    /// The deadline has passed. The event loop itself refuses a request that waits for its response.
    pub fn expire(&mut self, context: &Context) {
        if self.is_idle() || matches!(self.state, Some(State::Lingering(_))) {
            self.state = None;
            return;
        }
        context.traffic.late.add(1);
        let part = match self.state {
            Some(State::ReadingHead(_)) => "the head",
            Some(State::ReadingBody(_)) => "the body",
            _ => return self.state = None,
        };
        self.refuse(Fault::from(Refusal::NotInTime).in_field(part), context);
    }

    /// Answers a client whose request is lost, and closes. A request that is not begun can be on its way on a new
    /// connection; one that was served is closed as after its timeout.
    pub fn evict(&mut self, context: &Context) {
        match self.state {
            Some(State::ReadingHead(_)) if self.is_idle() && self.client.was_served => self.state = None,
            Some(State::ReadingHead(_) | State::ReadingBody(_)) => self.refuse(Refusal::Overloaded, context),
            _ => self.state = None,
        }
        if !self.is_discarding() {
            self.state = None; // the client reads nothing
        }
    }

    /// The gate is stopping: closes an idle connection, unless a request has just arrived. On one that has
    /// become idle only recently a request may be on its way: it gets a short new deadline instead.
    pub fn drain(&mut self, context: &Context, scratch: &mut [u8]) {
        if let Some(State::Lingering(linger)) = &mut self.state {
            linger.ends_at = linger.ends_at.min(context.now + context.timeouts.linger);
        }
        if self.is_idle() {
            self.ready(context, scratch);
        }
        if !self.is_idle() {
            return;
        }
        if self.client.is_younger_than(context.timeouts.drain, context) {
            self.client.deadline = context.now + context.timeouts.drain;
        } else {
            self.state = None;
        }
    }

    /// Upstream has responded. Ignored unless the connection waits for that.
    pub fn answer(&mut self, response: &Response, context: &Context) {
        self.state = match self.state.take() {
            Some(State::Waiting(waiting)) => waiting.answer(response, &mut self.client, context),
            other => other,
        };
    }

    /// Responds without upstream, and closes. Further input is not parsed.
    pub fn refuse(&mut self, fault: impl Into<Fault>, context: &Context) {
        self.state = self.client.refuse(fault.into(), context);
    }
}

impl Client {
    fn has_begun_request(&self) -> bool {
        head::has_begun(&self.input)
    }

    fn key(&self) -> ClientKey {
        match self.named {
            Some(client) => client.address().map_or(ClientKey::Unknown, ClientKey::of),
            None if self.is_proxy && self.has_begun_request() => ClientKey::Unnamed(self.id),
            None => ClientKey::of(self.peer.ip()),
        }
    }

    fn is_younger_than(&self, age: Duration, context: &Context) -> bool {
        context.now < self.since + age
    }

    fn refuse(&mut self, fault: Fault, context: &Context) -> NextState {
        let summary = self.summary.take().unwrap_or_else(|| Summary::of(&self.input));
        let client = self.named.unwrap_or_else(|| summary.client(self.peer, context));
        context.traffic.note_refusal(&fault, &summary.path, client);
        self.input = Vec::new();
        let then = if fault.refusal.is_for_a_sender() { Then::Discard } else { Then::Close };
        Sending::start(fault.to_bytes(), then, self, context)
    }

    fn start_timeout(&mut self, timeout: Duration, context: &Context) {
        self.since = context.now;
        self.deadline = context.now + timeout;
    }
}

impl ReadingHead {
    /// After a response. The next request may have been read already (pipelining).
    fn start(client: &mut Client, context: &Context) -> NextState {
        let timeouts = &context.timeouts;
        client.summary = None;
        client.named = None;
        client.was_served = true;
        client.start_timeout(if client.has_begun_request() { timeouts.request } else { timeouts.idle }, context);
        ReadingHead::default().parse(client, context)
    }

    fn read(self, client: &mut Client, context: &Context, scratch: &mut [u8]) -> NextState {
        let room_bytes = MAX_HEAD_BYTES - client.input.len();
        let read_bytes = read(&mut client.stream, &mut scratch[..room_bytes])?;
        if read_bytes == 0 {
            return Some(State::ReadingHead(self));
        }
        if !client.has_begun_request() {
            client.start_timeout(context.timeouts.request, context);
        }
        client.input.extend_from_slice(&scratch[..read_bytes]);
        self.parse(client, context)
    }

    fn parse(mut self, client: &mut Client, context: &Context) -> NextState {
        match self.take_head(client, context) {
            Ok(Some(head)) => ReadingBody::start(head, client, context),
            Ok(None) => Some(State::ReadingHead(self)),
            Err(fault) => client.refuse(fault, context),
        }
    }

    fn take_head(&mut self, client: &mut Client, context: &Context) -> Result<Option<Head>, Fault> {
        let input = &mut client.input;
        let Some(head_bytes) = head::find_end(input, &mut self.checked_bytes)? else {
            return if input.len() < MAX_HEAD_BYTES { Ok(None) } else { Err(head::too_long(input)) };
        };
        let head = head::parse(&input[..head_bytes], context.max_body_bytes)?;
        let summary = Summary::of(&input[..head_bytes]);
        input.drain(..head_bytes);
        client.named = client.is_proxy.then(|| summary.client(client.peer, context));
        client.summary = Some(summary);
        Ok(Some(head))
    }
}

impl ReadingBody {
    fn start(head: Head, client: &mut Client, context: &Context) -> NextState {
        let early = mem::take(&mut client.input);
        let decoder = Decoder::new(&head.framing, context.max_body_bytes);
        let needs_continue = head.expects_continue && early.is_empty() && !decoder.is_done();
        // These few bytes fit into the socket's buffer, unless the client reads nothing.
        if needs_continue && transferred(client.stream.write(CONTINUE))? < CONTINUE.len() {
            return None;
        }
        let body = ReadingBody { head, decoder, blocks: Blocks::new(&context.budget) };
        Box::new(body).feed(&early, client, context)
    }

    fn read(self: Box<Self>, client: &mut Client, context: &Context, scratch: &mut [u8]) -> NextState {
        let read_bytes = read(&mut client.stream, &mut scratch[..self.decoder.read_bytes()])?;
        self.feed(&scratch[..read_bytes], client, context)
    }

    fn feed(mut self: Box<Self>, bytes: &[u8], client: &mut Client, context: &Context) -> NextState {
        match self.decoder.feed(bytes, &mut self.blocks) {
            Err(fault) => client.refuse(fault, context),
            Ok(_) if !self.decoder.is_done() => Some(State::ReadingBody(self)),
            Ok(used_bytes) => {
                client.input = bytes[used_bytes..].to_vec();
                self.complete(client, context)
            }
        }
    }

    fn complete(self, client: &mut Client, context: &Context) -> NextState {
        let ReadingBody { head, blocks, .. } = self;
        let (is_head, closes, has_body) = (head.is_head, head.closes, blocks.bytes() > 0);
        let is_large = http::is_large(blocks.bytes(), head.is_compressed);
        client.start_timeout(context.timeouts.response, context);
        let body = has_body.then(|| context.bodies.add(blocks));
        let head = head.complete(body.as_ref(), client.peer);
        let request = Some(Request { owner: client.id, head, body, is_head, is_large });
        Some(State::Waiting(Waiting { request, closes, has_body }))
    }
}

impl Waiting {
    fn answer(self, response: &Response, client: &mut Client, context: &Context) -> NextState {
        if self.has_body && (200..300).contains(&response.status) {
            context.traffic.acknowledgement.observe_duration(context.now.saturating_duration_since(client.since));
        }
        let closes = self.closes || context.is_draining || context.is_crowded;
        let (keep_alive, then) =
            if closes { (None, Then::Close) } else { (Some(context.timeouts.keep_alive()), Then::NextRequest) };
        Sending::start(response.to_bytes(keep_alive), then, client, context)
    }
}

impl Sending {
    fn start(output: Vec<u8>, then: Then, client: &mut Client, context: &Context) -> NextState {
        client.start_timeout(context.timeouts.send, context);
        Sending { output, sent_bytes: 0, then }.send(client, context)
    }

    fn send(mut self, client: &mut Client, context: &Context) -> NextState {
        self.sent_bytes += transferred(client.stream.write(&self.output[self.sent_bytes..]))?;
        if self.sent_bytes < self.output.len() {
            return Some(State::Sending(self));
        }
        match self.then {
            Then::NextRequest if context.is_draining && !client.has_begun_request() => {
                Lingering::start(false, client, context)
            }
            Then::NextRequest => ReadingHead::start(client, context),
            Then::Close => Lingering::start(false, client, context),
            Then::Discard => Lingering::start(true, client, context),
        }
    }
}

impl Lingering {
    fn start(is_discarding: bool, client: &mut Client, context: &Context) -> NextState {
        shutdown(&client.stream, Shutdown::Write).ok()?;
        let Timeouts { linger, discard, .. } = context.timeouts;
        client.start_timeout(linger, context);
        let is_patient = is_discarding && !context.is_draining;
        let ends_at = context.now + if is_patient { discard } else { linger };
        Some(State::Lingering(Lingering { is_discarding, discarded_bytes: 0, ends_at }))
    }

    fn discard(mut self, client: &mut Client, context: &Context, scratch: &mut [u8]) -> NextState {
        self.discarded_bytes += read(&mut client.stream, scratch)?;
        client.deadline = self.ends_at.min(context.now + context.timeouts.linger);
        let most_bytes = if self.is_discarding { MAX_DISCARD_BYTES } else { MAX_LINGER_BYTES };
        (self.discarded_bytes < most_bytes).then_some(State::Lingering(self))
    }
}

#[cfg(test)]
mod tests;
