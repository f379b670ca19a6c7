//! The states of a client connection. Each is a value that its step consumes, and that gives the next one.

use super::super::blocks::Blocks;
use super::super::body::Decoder;
use super::super::head::{self, Head, MAX_HEAD_BYTES};
use super::super::refusal::{CONTINUE, Refusal};
use super::super::upstream::response::Answer;
use super::{ConnectionId, Context, Request, is_transient};
use crate::listen::Stream;
use crate::log::rate_limited;
use log::Level;
use std::io::{Read, Write};
use std::mem;
use std::net::Shutdown;
use std::time::{Duration, Instant};

/// Closing with unread input resets the connection, and the reset destroys the response. As much as this is discarded to
/// avoid that.
const MAX_LINGER_BYTES: usize = 1024 * 1024;

/// The part of a connection that outlives its states.
pub struct Client {
    id: ConnectionId,
    pub stream: Stream,
    peer: String,
    /// Bytes that were read and belong to no request yet.
    pub input: Vec<u8>,
    /// When the current state was entered, or in [`ReadingHead`] the first byte of the request was read.
    pub since: Instant,
    pub deadline: Instant,
}

pub enum State {
    ReadingHead(ReadingHead),
    ReadingBody(Box<ReadingBody>),
    Waiting(Waiting),
    Sending(Sending),
    Lingering(Lingering),
}

/// What follows a step.
pub enum Next {
    /// Wait in this state until the socket is ready or the deadline passes.
    Poll(State),
    Forward(Request, Waiting),
    Close,
}

/// Waiting for a request, or reading its head into [`Client::input`].
#[derive(Default)]
pub struct ReadingHead {
    checked_bytes: usize,
}

pub struct ReadingBody {
    head: Head,
    decoder: Decoder,
    pub blocks: Blocks,
}

/// The request is complete and its response is not.
pub struct Waiting {
    closes: bool,
    has_body: bool,
}

pub struct Sending {
    output: Vec<u8>,
    sent_bytes: usize,
    closes: bool,
}

/// The lingering close: writing is shut down, and input is discarded until the client closes.
pub struct Lingering {
    discarded_bytes: usize,
}

enum Input {
    Bytes(usize),
    Nothing,
    End,
}

impl Client {
    pub fn new(id: ConnectionId, stream: Stream, peer: String, context: &Context) -> Client {
        let (since, deadline) = (context.now, context.now + context.timeouts.request);
        Client { id, stream, peer, input: Vec::new(), since, deadline }
    }

    pub fn has_begun_request(&self) -> bool {
        head::has_begun(&self.input)
    }

    pub fn is_younger_than(&self, age: Duration, context: &Context) -> bool {
        context.now < self.since + age
    }

    /// Responds without upstream, and closes.
    pub fn refuse(&mut self, refusal: Refusal, context: &Context) -> Next {
        context.traffic.note_refusal(refusal);
        let text = refusal.text();
        rate_limited(Level::Warn, "", text, format_args!("refused a request from {}: {text}", self.peer));
        self.input = Vec::new();
        Sending::start(refusal.to_bytes(), true, self, context)
    }

    fn start_timeout(&mut self, timeout: Duration, context: &Context) {
        self.since = context.now;
        self.deadline = context.now + timeout;
    }

    fn read(&mut self, buffer: &mut [u8]) -> Input {
        match self.stream.read(buffer) {
            Ok(0) => Input::End,
            Ok(read_bytes) => Input::Bytes(read_bytes),
            Err(error) if is_transient(&error) => Input::Nothing,
            Err(_) => Input::End,
        }
    }

    /// The socket's buffer is empty, so that these few bytes fit, unless the client reads nothing at all.
    fn send_continue(&mut self) -> bool {
        self.stream.write(CONTINUE).is_ok_and(|sent_bytes| sent_bytes == CONTINUE.len())
    }
}

impl ReadingHead {
    /// After a response. The next request may have been read already (pipelining).
    fn start(client: &mut Client, context: &Context) -> Next {
        let timeouts = &context.timeouts;
        client.start_timeout(if client.has_begun_request() { timeouts.request } else { timeouts.idle }, context);
        ReadingHead::default().parse(client, context)
    }

    pub fn read(self, client: &mut Client, context: &Context, scratch: &mut [u8]) -> Next {
        let room_bytes = MAX_HEAD_BYTES - client.input.len();
        let read_bytes = match client.read(&mut scratch[..room_bytes]) {
            Input::Bytes(read_bytes) => read_bytes,
            Input::Nothing => return Next::Poll(State::ReadingHead(self)),
            Input::End => return Next::Close,
        };
        if !client.has_begun_request() {
            client.start_timeout(context.timeouts.request, context);
        }
        client.input.extend_from_slice(&scratch[..read_bytes]);
        self.parse(client, context)
    }

    fn parse(mut self, client: &mut Client, context: &Context) -> Next {
        match self.take_head(&mut client.input, context.max_body_bytes) {
            Ok(Some(head)) => ReadingBody::start(head, client, context),
            Ok(None) => Next::Poll(State::ReadingHead(self)),
            Err(refusal) => client.refuse(refusal, context),
        }
    }

    fn take_head(&mut self, input: &mut Vec<u8>, max_body_bytes: u64) -> Result<Option<Head>, Refusal> {
        let Some(head_bytes) = head::find_end(input, &mut self.checked_bytes)? else {
            return if input.len() < MAX_HEAD_BYTES { Ok(None) } else { Err(Refusal::HeadTooLarge) };
        };
        let head = head::parse(&input[..head_bytes], max_body_bytes)?;
        input.drain(..head_bytes);
        Ok(Some(head))
    }
}

impl ReadingBody {
    fn start(head: Head, client: &mut Client, context: &Context) -> Next {
        let early = mem::take(&mut client.input);
        let decoder = Decoder::new(&head.framing, context.max_body_bytes);
        let needs_continue = head.expects_continue && early.is_empty() && !decoder.is_done();
        if needs_continue && !client.send_continue() {
            return Next::Close;
        }
        let body = ReadingBody { head, decoder, blocks: Blocks::new(&context.budget) };
        Box::new(body).feed(&early, client, context)
    }

    pub fn read(self: Box<Self>, client: &mut Client, context: &Context, scratch: &mut [u8]) -> Next {
        match client.read(&mut scratch[..self.decoder.read_bytes()]) {
            Input::Bytes(read_bytes) => self.feed(&scratch[..read_bytes], client, context),
            Input::Nothing => Next::Poll(State::ReadingBody(self)),
            Input::End => Next::Close,
        }
    }

    fn feed(mut self: Box<Self>, bytes: &[u8], client: &mut Client, context: &Context) -> Next {
        match self.decoder.feed(bytes, &mut self.blocks) {
            Err(refusal) => client.refuse(refusal, context),
            Ok(_) if !self.decoder.is_done() => Next::Poll(State::ReadingBody(self)),
            Ok(used_bytes) => {
                client.input = bytes[used_bytes..].to_vec();
                self.complete(client, context)
            }
        }
    }

    fn complete(self: Box<Self>, client: &mut Client, context: &Context) -> Next {
        let ReadingBody { head, mut blocks, .. } = *self;
        let waiting = Waiting { closes: head.closes, has_body: blocks.appended_bytes() > 0 };
        client.start_timeout(context.timeouts.response, context);
        let is_head = head.is_head;
        blocks.prepend(head.complete(blocks.appended_bytes(), &client.peer));
        Next::Forward(Request { owner: client.id, blocks, is_head }, waiting)
    }
}

impl Waiting {
    pub fn answer(self, response: &Answer, client: &mut Client, context: &Context) -> Next {
        if self.has_body && response.is_success() {
            context.traffic.acknowledgement.observe_duration(context.now.saturating_duration_since(client.since));
        }
        let closes = self.closes || context.is_draining || context.is_crowded;
        Sending::start(response.to_bytes(closes), closes, client, context)
    }
}

impl Sending {
    fn start(output: Vec<u8>, closes: bool, client: &mut Client, context: &Context) -> Next {
        client.start_timeout(context.timeouts.send, context);
        Sending { output, sent_bytes: 0, closes }.send(client, context)
    }

    pub fn send(mut self, client: &mut Client, context: &Context) -> Next {
        match client.stream.write(&self.output[self.sent_bytes..]) {
            Ok(written_bytes) => self.sent_bytes += written_bytes,
            Err(error) if is_transient(&error) => {}
            Err(_) => return Next::Close,
        }
        if self.sent_bytes < self.output.len() {
            return Next::Poll(State::Sending(self));
        }
        if self.closes || (context.is_draining && !client.has_begun_request()) {
            return Lingering::start(client, context);
        }
        ReadingHead::start(client, context)
    }
}

impl Lingering {
    fn start(client: &mut Client, context: &Context) -> Next {
        if client.stream.shutdown(Shutdown::Write).is_err() {
            return Next::Close;
        }
        client.start_timeout(context.timeouts.linger, context);
        Next::Poll(State::Lingering(Lingering { discarded_bytes: 0 }))
    }

    pub fn discard(mut self, client: &mut Client, scratch: &mut [u8]) -> Next {
        match client.read(scratch) {
            Input::Bytes(read_bytes) => self.discarded_bytes += read_bytes,
            Input::Nothing => {}
            Input::End => return Next::Close,
        }
        if self.discarded_bytes < MAX_LINGER_BYTES { Next::Poll(State::Lingering(self)) } else { Next::Close }
    }
}
