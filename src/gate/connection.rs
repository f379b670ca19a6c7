//! One sender's connection as a state machine. It reads, judges and answers; it never waits.
//!
//! | state | waits for | at its deadline |
//! |---|---|---|
//! | Head | input; idle as long as no request has begun | 408, or closed if nothing came |
//! | Body | input | 408 |
//! | Waiting | the gate, which has the request in its queue or in flight | 503 or 504 (the gate knows which) |
//! | Reply | the sender taking the answer | closed |
//! | Linger | the sender's end; input is discarded | closed |
//!
//! An end of input closes while reading. Afterwards it is not looked at: who has shut down writing may still read.

use super::blocks::{Blocks, Budget};
use super::body::Decoder;
use super::head::{self, Head, MAX_HEAD_BYTES};
use super::limits::Deadlines;
use super::refusal::{CONTINUE, Refusal};
use super::traffic::Traffic;
use super::upstream::response::Response;
use crate::http::Peer;
use crate::listen::Stream;
use crate::log::rate_limited;
use log::Level;
use rustix::event::PollFlags;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Closing with unread input resets the connection, and the reset destroys the answer: so much is discarded before.
const LINGER_BYTES: usize = 1024 * 1024;

/// Never used twice, so that nothing can mistake one connection for another; in the order of acceptance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// What every step of a connection has to know.
#[derive(Debug)]
pub struct Context {
    pub now: Instant,
    pub deadlines: Deadlines,
    pub budget: Budget,
    pub max_body_bytes: u64,
    pub is_stopping: bool,
    /// Every place is taken: who has been answered makes room, or a few that never pause would keep all others out.
    pub is_crowded: bool,
    pub traffic: Arc<Traffic>,
}

/// A complete request on its way to the receiver.
#[derive(Debug)]
pub struct Request {
    pub owner: ConnectionId,
    pub blocks: Blocks,
    pub is_head: bool,
}

/// What became of a connection in one step.
#[derive(Debug)]
pub enum Progress {
    Pending,
    Complete(Request),
    Closed,
}

/// Who goes first when there is no room, least loss first; among equals the oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EvictionRank {
    Closing,
    Idle,
    /// Asks for more than it reads: an answer that is read at all fits into what the kernel takes.
    Stalled,
    Unfinished,
}

pub struct Connection {
    id: ConnectionId,
    stream: Stream,
    peer: Peer,
    /// What was read and is not yet part of a request.
    input: Vec<u8>,
    state: State,
    since: Instant,
    deadline: Instant,
}

enum State {
    Head { judged_bytes: usize },
    Body(Box<Incoming>),
    Waiting { closes: bool, has_body: bool },
    Reply { output: Vec<u8>, sent_bytes: usize, closes: bool },
    Linger { discarded_bytes: usize },
}

struct Incoming {
    head: Head,
    decoder: Decoder,
    blocks: Blocks,
}

impl Connection {
    pub fn new(id: ConnectionId, stream: Stream, peer: Peer, context: &Context) -> Connection {
        let (since, deadline) = (context.now, context.now + context.deadlines.request);
        Connection { id, stream, peer, input: Vec::new(), state: State::Head { judged_bytes: 0 }, since, deadline }
    }

    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    pub fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting { .. })
    }

    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Head { .. }) && !head::has_begun(&self.input)
    }

    /// Bytes that a body in the making holds of the budget.
    pub fn unfinished_bytes(&self) -> usize {
        match &self.state {
            State::Body(incoming) => incoming.blocks.held_bytes(),
            _ => 0,
        }
    }

    /// Whether this connection may be closed to make room. Never while its request waits for the answer.
    pub fn dispensable(&self, context: &Context) -> Option<(EvictionRank, Instant)> {
        match self.state {
            State::Linger { .. } => Some((EvictionRank::Closing, self.since)),
            State::Waiting { .. } => None,
            _ if self.is_younger_than(context.deadlines.grace, context) => None,
            State::Reply { .. } => Some((EvictionRank::Stalled, self.since)),
            _ if self.is_idle() => Some((EvictionRank::Idle, self.since)),
            _ => Some((EvictionRank::Unfinished, self.since)),
        }
    }

    /// What to poll for. `None` means: leave it out, since poll reports a hang-up even where nothing was asked.
    pub fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        match self.state {
            State::Waiting { .. } => None,
            State::Reply { .. } => Some((self.stream.as_fd(), PollFlags::OUT)),
            _ => Some((self.stream.as_fd(), PollFlags::IN)),
        }
    }

    /// The socket is ready for what [`Connection::interest`] asked. `scratch` has
    /// [`READ_BYTES`](super::body::READ_BYTES).
    pub fn ready(&mut self, context: &Context, scratch: &mut [u8]) -> Progress {
        match self.state {
            State::Head { .. } => self.read_head(context, scratch),
            State::Body(_) => self.read_body(context, scratch),
            State::Waiting { .. } => Progress::Pending,
            State::Reply { .. } => self.send(context),
            State::Linger { .. } => self.discard(scratch),
        }
    }

    /// The deadline has passed. The gate itself answers for one that is waiting.
    pub fn expire(&mut self, context: &Context) -> Progress {
        if self.is_idle() || matches!(self.state, State::Linger { .. }) {
            return Progress::Closed;
        }
        context.traffic.late.add(1);
        match self.state {
            State::Head { .. } | State::Body(_) => self.refuse(Refusal::NotInTime, context),
            _ => Progress::Closed,
        }
    }

    /// The gate stops: an idle connection is closed, unless a request has come just now, or is on its way: who has
    /// connected a moment ago, or got an answer, gets another moment.
    pub fn stop(&mut self, context: &Context, scratch: &mut [u8]) -> Progress {
        if !self.is_idle() {
            return Progress::Pending;
        }
        let farewell = context.deadlines.farewell;
        match self.ready(context, scratch) {
            Progress::Pending if self.is_idle() && !self.is_younger_than(farewell, context) => Progress::Closed,
            Progress::Pending if self.is_idle() => {
                self.deadline = context.now + farewell;
                Progress::Pending
            }
            progress => progress,
        }
    }

    fn is_younger_than(&self, age: Duration, context: &Context) -> bool {
        context.now < self.since + age
    }

    fn read_head(&mut self, context: &Context, scratch: &mut [u8]) -> Progress {
        let room_bytes = MAX_HEAD_BYTES - self.input.len();
        let read_bytes = match read(&mut self.stream, &mut scratch[..room_bytes]) {
            Input::Bytes(read_bytes) => read_bytes,
            Input::Nothing => return Progress::Pending,
            Input::End => return Progress::Closed,
        };
        if self.is_idle() {
            self.enter_at(context, context.deadlines.request);
        }
        self.input.extend_from_slice(&scratch[..read_bytes]);
        self.judge_head(context)
    }

    fn judge_head(&mut self, context: &Context) -> Progress {
        match self.take_head(context) {
            Ok(Some(head)) => self.begin_body(head, context),
            Ok(None) => Progress::Pending,
            Err(refusal) => self.refuse(refusal, context),
        }
    }

    fn take_head(&mut self, context: &Context) -> Result<Option<Head>, Refusal> {
        let State::Head { judged_bytes } = &mut self.state else { return Ok(None) };
        let Some(head_bytes) = head::find_end(&self.input, judged_bytes)? else {
            let is_full = self.input.len() >= MAX_HEAD_BYTES;
            return if is_full { Err(Refusal::HeadTooLarge) } else { Ok(None) };
        };
        let head = head::parse(&self.input[..head_bytes], context.max_body_bytes)?;
        self.input.drain(..head_bytes);
        Ok(Some(head))
    }

    fn begin_body(&mut self, head: Head, context: &Context) -> Progress {
        let early = std::mem::take(&mut self.input);
        let decoder = Decoder::new(&head.framing, context.max_body_bytes);
        let waits_for_continue = head.expects_continue && early.is_empty() && !decoder.is_done();
        self.state = State::Body(Box::new(Incoming { head, decoder, blocks: Blocks::new(&context.budget) }));
        if waits_for_continue && !self.send_continue() {
            return Progress::Closed;
        }
        self.feed(&early, context)
    }

    /// Everything before was sent, so that these few bytes fit, unless the sender reads nothing at all.
    fn send_continue(&mut self) -> bool {
        self.stream.write(CONTINUE).is_ok_and(|sent_bytes| sent_bytes == CONTINUE.len())
    }

    fn read_body(&mut self, context: &Context, scratch: &mut [u8]) -> Progress {
        let State::Body(incoming) = &self.state else { return Progress::Pending };
        let room_bytes = incoming.decoder.read_bytes();
        match read(&mut self.stream, &mut scratch[..room_bytes]) {
            Input::Bytes(read_bytes) => self.feed(&scratch[..read_bytes], context),
            Input::Nothing => Progress::Pending,
            Input::End => Progress::Closed,
        }
    }

    fn feed(&mut self, bytes: &[u8], context: &Context) -> Progress {
        let State::Body(incoming) = &mut self.state else { return Progress::Pending };
        match incoming.decoder.feed(bytes, &mut incoming.blocks) {
            Err(refusal) => self.refuse(refusal, context),
            Ok(used_bytes) if incoming.decoder.is_done() => {
                self.input = bytes[used_bytes..].to_vec();
                self.complete(context)
            }
            Ok(_) => Progress::Pending,
        }
    }

    fn complete(&mut self, context: &Context) -> Progress {
        let waiting = State::Waiting { closes: false, has_body: false };
        let State::Body(incoming) = std::mem::replace(&mut self.state, waiting) else {
            return Progress::Pending;
        };
        let Incoming { head, mut blocks, .. } = *incoming;
        let is_head = head.is_head;
        self.state = State::Waiting { closes: head.closes, has_body: blocks.appended_bytes() > 0 };
        self.enter_at(context, context.deadlines.answer);
        blocks.prepend(head.complete(blocks.appended_bytes(), self.peer));
        Progress::Complete(Request { owner: self.id, blocks, is_head })
    }

    /// The receiver has answered.
    pub fn answer(&mut self, response: &Response, context: &Context) -> Progress {
        let State::Waiting { closes, has_body } = self.state else { return Progress::Pending };
        if has_body && response.is_success() {
            context.traffic.acknowledgement.observe_duration(context.now.saturating_duration_since(self.since));
        }
        let closes = closes || context.is_stopping || context.is_crowded;
        self.reply(response.to_bytes(closes), closes, context)
    }

    /// Answers in the receiver's place, and closes. What else the sender has sent is not read any more.
    pub fn refuse(&mut self, refusal: Refusal, context: &Context) -> Progress {
        context.traffic.note_refusal(refusal);
        let text = refusal.text();
        rate_limited(Level::Warn, "", text, format_args!("refused a request from {}: {text}", self.peer));
        self.input = Vec::new();
        self.reply(refusal.to_bytes(), true, context)
    }

    fn reply(&mut self, output: Vec<u8>, closes: bool, context: &Context) -> Progress {
        self.state = State::Reply { output, sent_bytes: 0, closes };
        self.enter_at(context, context.deadlines.reply);
        self.send(context)
    }

    fn send(&mut self, context: &Context) -> Progress {
        let State::Reply { output, sent_bytes, closes } = &mut self.state else { return Progress::Pending };
        let closes = *closes;
        match self.stream.write(&output[*sent_bytes..]) {
            Ok(written_bytes) => *sent_bytes += written_bytes,
            Err(error) if is_not_now(&error) => return Progress::Pending,
            Err(_) => return Progress::Closed,
        }
        if *sent_bytes < output.len() {
            return Progress::Pending;
        }
        if closes || (context.is_stopping && !head::has_begun(&self.input)) {
            return self.linger(context);
        }
        self.next_head(context)
    }

    fn next_head(&mut self, context: &Context) -> Progress {
        self.state = State::Head { judged_bytes: 0 };
        let is_idle = !head::has_begun(&self.input);
        self.enter_at(context, if is_idle { context.deadlines.idle } else { context.deadlines.request });
        self.judge_head(context)
    }

    fn linger(&mut self, context: &Context) -> Progress {
        if self.stream.shutdown(Shutdown::Write).is_err() {
            return Progress::Closed;
        }
        self.state = State::Linger { discarded_bytes: 0 };
        self.enter_at(context, context.deadlines.linger);
        Progress::Pending
    }

    fn discard(&mut self, scratch: &mut [u8]) -> Progress {
        let State::Linger { discarded_bytes } = &mut self.state else { return Progress::Pending };
        match read(&mut self.stream, scratch) {
            Input::Bytes(read_bytes) => *discarded_bytes += read_bytes,
            Input::Nothing => return Progress::Pending,
            Input::End => return Progress::Closed,
        }
        if *discarded_bytes < LINGER_BYTES { Progress::Pending } else { Progress::Closed }
    }

    fn enter_at(&mut self, context: &Context, within: Duration) {
        self.since = context.now;
        self.deadline = context.now + within;
    }
}

enum Input {
    Bytes(usize),
    Nothing,
    End,
}

fn read(stream: &mut Stream, buffer: &mut [u8]) -> Input {
    match stream.read(buffer) {
        Ok(0) => Input::End,
        Ok(read_bytes) => Input::Bytes(read_bytes),
        Err(error) if is_not_now(&error) => Input::Nothing,
        Err(_) => Input::End,
    }
}

/// True for what the next turn repeats.
pub fn is_not_now(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::super::body::READ_BYTES;
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn an_idle_connection_holds_no_buffers() -> io::Result<()> {
        let (ours, mut theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let context = Context {
            now: Instant::now(),
            deadlines: Deadlines::default(),
            budget: Budget::default(),
            max_body_bytes: 1_000_000,
            is_stopping: false,
            is_crowded: false,
            traffic: Arc::default(),
        };
        let mut connection = Connection::new(ConnectionId(1), Stream::Unix(ours), Peer::Unix, &context);
        let body = "a".repeat(50_000);
        theirs.write_all(format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 50000\r\n\r\n{body}").as_bytes())?;
        let mut scratch = vec![0; READ_BYTES];
        while !connection.is_waiting() {
            connection.ready(&context, &mut scratch);
        }
        let response = Response::parse(b"HTTP/1.1 204 No Content\r\n\r\n", false).ok().flatten();
        assert!(response.is_some_and(|response| matches!(connection.answer(&response, &context), Progress::Pending)));
        assert!(connection.is_idle());
        assert_eq!((connection.input.capacity(), context.budget.held_bytes()), (0, 0));
        Ok(())
    }
}
