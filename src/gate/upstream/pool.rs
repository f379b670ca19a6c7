//! The connections between gate and receiver: a fixed number, opened one after another, each carrying one request at a
//! time. tiny_http starves connections that are opened at once and goes deaf when it cannot accept; connections that
//! stay open keep it from both.

use super::super::blocks::Blocks;
use super::super::connection::{ConnectionId, Context, Request, is_transient};
use super::response::Answer;
use rustix::event::PollFlags;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Instant;

/// A stranger's target begins with `/`: nobody but the gate can send this.
const PROBE: &[u8] = b"OPTIONS * HTTP/1.1\r\nHost: gate\r\nContent-Length: 0\r\n\r\n";

/// Larger requests are handed over one at a time: each keeps the receiver busy for long.
const LARGE_BYTES: u64 = 1024 * 1024;

pub struct Pool {
    inner: PathBuf,
    slots: Vec<Slot>,
    reopen_at: Option<Instant>,
}

enum Slot {
    Closed,
    Idle(UnixStream),
    Busy(Exchange),
}

/// One request and its answer. The answer may be there before the request is written to its end: the receiver need not
/// read a body that it refuses.
struct Exchange {
    stream: UnixStream,
    carried: InFlight,
    blocks: Blocks,
    was_written: bool,
    input: Vec<u8>,
}

#[derive(Clone, Copy)]
enum InFlight {
    Probe { deadline: Instant },
    Request { owner: ConnectionId, is_head: bool },
}

/// What became of a slot in one step.
pub enum Outcome {
    Pending,
    Answered(ConnectionId, Answer),
    /// The slot is lost, and the request may have reached the receiver.
    Lost(ConnectionId),
    /// The slot was lost before the request: another one can take it.
    Unsent(Request),
}

/// Where one exchange stands.
enum Step {
    Pending,
    Done(Answer),
    Broken,
}

pub fn is_large(request: &Request) -> bool {
    request.blocks.appended_bytes() > LARGE_BYTES
}

impl Pool {
    pub fn new(inner: PathBuf, slots: usize) -> Pool {
        Pool { inner, slots: (0..slots).map(|_| Slot::Closed).collect(), reopen_at: None }
    }

    /// True once every slot is open and proven.
    pub fn is_complete(&self) -> bool {
        !self.slots.iter().any(|slot| matches!(slot, Slot::Closed)) && !self.is_probing()
    }

    pub fn carries_large(&self) -> bool {
        self.slots.iter().any(|slot| matches!(slot, Slot::Busy(it) if it.blocks.appended_bytes() > LARGE_BYTES))
    }

    /// True while a request waits for the receiver.
    pub fn carries_any(&self) -> bool {
        let is_request = |carried: &InFlight| matches!(carried, InFlight::Request { .. });
        self.slots.iter().any(|slot| matches!(slot, Slot::Busy(it) if is_request(&it.carried)))
    }

    pub fn has_idle(&self) -> bool {
        self.idle().is_some()
    }

    fn idle(&self) -> Option<usize> {
        self.slots.iter().position(|slot| matches!(slot, Slot::Idle(_)))
    }

    fn is_probing(&self) -> bool {
        self.probe_deadline().is_some()
    }

    fn probe_deadline(&self) -> Option<Instant> {
        self.slots.iter().find_map(|slot| match slot {
            Slot::Busy(Exchange { carried: InFlight::Probe { deadline }, .. }) => Some(*deadline),
            _ => None,
        })
    }

    /// When [`Pool::open_one`] has something to do although no slot is ready.
    pub fn deadline(&self) -> Option<Instant> {
        self.probe_deadline().or(self.reopen_at)
    }

    /// Opens a closed slot and begins to prove it, unless another one is being proven; gives up on a probe that is not
    /// answered.
    pub fn open_one(&mut self, context: &Context) {
        if self.probe_deadline().is_some_and(|deadline| deadline <= context.now) {
            self.close_where(|carried| matches!(carried, InFlight::Probe { .. }));
        }
        let Some(at) = self.slots.iter().position(|slot| matches!(slot, Slot::Closed)) else { return };
        if self.is_probing() || self.reopen_at.is_some_and(|at| context.now < at) {
            return;
        }
        // Whatever becomes of this one, the next attempt has its distance, unless the probe succeeds.
        self.reopen_at = Some(context.now + context.timeouts.reopen);
        let Ok(stream) = self.connect() else { return };
        let mut blocks = Blocks::new(&context.budget);
        blocks.prepend(PROBE.to_vec());
        let carried = InFlight::Probe { deadline: context.now + context.timeouts.probe };
        self.slots[at] = Slot::Busy(Exchange { stream, carried, blocks, was_written: false, input: Vec::new() });
    }

    /// Non-blocking from the start: a receiver whose backlog is full must not stop the gate.
    fn connect(&self) -> io::Result<UnixStream> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        connect(&socket, &SocketAddrUnix::new(&self.inner)?)?;
        Ok(socket.into())
    }

    /// Gives `request` to an idle slot and begins to write it.
    pub fn begin(&mut self, request: Request, scratch: &mut [u8]) -> Outcome {
        let Some(at) = self.idle() else { return Outcome::Unsent(request) };
        let Slot::Idle(stream) = std::mem::replace(&mut self.slots[at], Slot::Closed) else {
            return Outcome::Unsent(request);
        };
        let Request { owner, blocks, is_head } = request;
        let carried = InFlight::Request { owner, is_head };
        self.slots[at] = Slot::Busy(Exchange { stream, carried, blocks, was_written: false, input: Vec::new() });
        self.ready(at, PollFlags::OUT, scratch)
    }

    /// What to poll for, by slot. An idle slot is watched too: whatever comes from it is its end.
    pub fn interest(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>, PollFlags)> {
        self.slots.iter().enumerate().filter_map(|(at, slot)| match slot {
            Slot::Closed => None,
            Slot::Idle(stream) => Some((at, stream.as_fd(), PollFlags::IN)),
            Slot::Busy(exchange) => Some((at, exchange.stream.as_fd(), exchange.interest())),
        })
    }

    /// The slot's socket is ready for `flags`.
    pub fn ready(&mut self, at: usize, flags: PollFlags, scratch: &mut [u8]) -> Outcome {
        match std::mem::replace(&mut self.slots[at], Slot::Closed) {
            Slot::Closed | Slot::Idle(_) => Outcome::Pending,
            Slot::Busy(mut exchange) => {
                let step = exchange.advance(flags, scratch);
                self.settle(at, exchange, step)
            }
        }
    }

    fn settle(&mut self, at: usize, exchange: Exchange, step: Step) -> Outcome {
        match (step, exchange.carried) {
            (Step::Pending, _) => {
                self.slots[at] = Slot::Busy(exchange);
                Outcome::Pending
            }
            (Step::Done(answer), InFlight::Probe { .. }) if answer.is_proof() => {
                self.slots[at] = Slot::Idle(exchange.stream);
                self.reopen_at = None;
                Outcome::Pending
            }
            (_, InFlight::Probe { .. }) => Outcome::Pending,
            (Step::Done(answer), InFlight::Request { owner, .. }) => {
                self.slots[at] = Slot::Idle(exchange.stream);
                Outcome::Answered(owner, answer)
            }
            (Step::Broken, InFlight::Request { owner, .. }) if exchange.was_written => Outcome::Lost(owner),
            (Step::Broken, InFlight::Request { owner, is_head }) => {
                Outcome::Unsent(Request { owner, blocks: exchange.blocks, is_head })
            }
        }
    }

    /// Closes the slot that carries the request of `owner`: its answer would come too late.
    pub fn abandon(&mut self, owner: ConnectionId) {
        self.close_where(|carried| matches!(carried, InFlight::Request { owner: it, .. } if it == owner));
    }

    fn close_where(&mut self, is_meant: impl Fn(InFlight) -> bool) {
        for slot in &mut self.slots {
            if matches!(slot, Slot::Busy(exchange) if is_meant(exchange.carried)) {
                *slot = Slot::Closed;
            }
        }
    }
}

impl Exchange {
    fn interest(&self) -> PollFlags {
        if self.blocks.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT }
    }

    fn advance(&mut self, flags: PollFlags, scratch: &mut [u8]) -> Step {
        if flags.contains(PollFlags::OUT) && !self.blocks.is_empty() {
            match self.blocks.write_to(&mut self.stream) {
                Ok(_) => self.was_written = true,
                Err(error) if is_transient(&error) => {}
                Err(_) => return Step::Broken,
            }
        }
        if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            match self.stream.read(scratch) {
                Ok(0) => return Step::Broken,
                Ok(read_bytes) => self.input.extend_from_slice(&scratch[..read_bytes]),
                Err(error) if is_transient(&error) => {}
                Err(_) => return Step::Broken,
            }
        }
        self.judge()
    }

    fn judge(&self) -> Step {
        let is_to_head = matches!(self.carried, InFlight::Request { is_head: true, .. });
        match Answer::parse(&self.input, is_to_head) {
            Ok(Some(answer)) if self.blocks.is_empty() => Step::Done(answer),
            Ok(_) => Step::Pending,
            Err(_) => Step::Broken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::blocks::Budget;
    use super::super::super::limits::Timeouts;
    use super::*;

    fn request(budget: &Budget) -> Request {
        let mut blocks = Blocks::new(budget);
        blocks.prepend(b"GET / HTTP/1.1\r\n\r\n".to_vec());
        Request { owner: ConnectionId(7), blocks, is_head: false }
    }

    fn pool_of(slot: Slot) -> Pool {
        Pool { inner: PathBuf::new(), slots: vec![slot], reopen_at: None }
    }

    #[test]
    fn a_request_that_meets_a_stale_slot_is_given_back_whole() -> io::Result<()> {
        let (ours, theirs) = UnixStream::pair()?;
        drop(theirs);
        let mut pool = pool_of(Slot::Idle(ours));
        let outcome = pool.begin(request(&Budget::default()), &mut [0; 16]);
        let Outcome::Unsent(mut request) = outcome else { return Err(io::ErrorKind::InvalidData.into()) };
        let mut bytes = Vec::new();
        request.blocks.write_to(&mut bytes)?;
        assert_eq!((request.owner, bytes.as_slice()), (ConnectionId(7), &b"GET / HTTP/1.1\r\n\r\n"[..]));
        assert!(!pool.has_idle() && !pool.is_complete());
        Ok(())
    }

    #[test]
    fn a_request_that_was_begun_is_lost_with_its_slot() -> io::Result<()> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut pool = pool_of(Slot::Idle(ours));
        assert!(matches!(pool.begin(request(&Budget::default()), &mut [0; 16]), Outcome::Pending));
        drop(theirs);
        assert!(matches!(pool.ready(0, PollFlags::IN, &mut [0; 16]), Outcome::Lost(ConnectionId(7))));
        Ok(())
    }

    #[test]
    fn a_receiver_that_is_not_there_is_tried_again_after_a_while() {
        let timeouts = Timeouts::default();
        let mut context = Context {
            now: Instant::now(),
            timeouts,
            budget: Budget::default(),
            max_body_bytes: 0,
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
