//! The gate's thread: what it owns, and what it does each turn.

use super::blocks::Budget;
use super::body::READ_BYTES;
use super::connection::{Connection, ConnectionId, Context, EvictionRank, Progress, Request};
use super::limits::Limits;
use super::refusal::Refusal;
use super::upstream::pool::{self, Pool, UpstreamEvent};
use super::{Liveness, Settings};
use crate::http::Peer;
use crate::listen::{Listener, Stream};
use crate::log::rate_limited;
use log::Level;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

/// So that a flood of connections does not keep those that live from being served.
const ACCEPTS_PER_TURN: usize = 64;

/// Everything that the gate's thread owns.
pub struct EventLoop {
    limits: Limits,
    /// Closed as soon as the gate stops.
    listener: Option<Listener>,
    /// When to look at the listener again, if there is no room now.
    accept_at: Option<Instant>,
    stopped: UnixStream,
    stop_at: Option<Instant>,
    settings: Arc<Settings>,
    liveness: Arc<Liveness>,
    /// Told once, when the pool is complete; until then nobody is accepted.
    ready: Option<SyncSender<()>>,
    connections: BTreeMap<ConnectionId, Connection>,
    next_id: u64,
    queue: VecDeque<Request>,
    pool: Pool,
    context: Context,
    scratch: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Source {
    Stop,
    Listener,
    Slot(usize),
    Connection(ConnectionId),
}

enum Room {
    Free,
    Evict(ConnectionId),
    None,
}

impl EventLoop {
    pub fn new(
        limits: Limits,
        listener: Listener,
        stopped: UnixStream,
        pool: Pool,
        settings: Arc<Settings>,
        liveness: Arc<Liveness>,
        ready: SyncSender<()>,
    ) -> EventLoop {
        let context = Context {
            now: Instant::now(),
            deadlines: limits.deadlines,
            budget: Budget::default(),
            max_body_bytes: 0,
            is_stopping: false,
            is_crowded: false,
            traffic: Arc::clone(&settings.traffic),
        };
        EventLoop {
            limits,
            listener: Some(listener),
            accept_at: None,
            stopped,
            stop_at: None,
            settings,
            liveness,
            ready: Some(ready),
            connections: BTreeMap::new(),
            next_id: 0,
            queue: VecDeque::new(),
            pool,
            context,
            scratch: vec![0; READ_BYTES],
        }
    }

    /// Returns when the gate was stopped and no connection lives, or time is up.
    pub fn run(mut self) {
        while !self.is_done() {
            if let Err(error) = self.turn() {
                log::error!("the gate cannot wait for its connections: {error}");
                return;
            }
        }
    }

    fn is_done(&self) -> bool {
        self.stop_at.is_some_and(|stop_at| self.connections.is_empty() || stop_at <= self.context.now)
    }

    fn turn(&mut self) -> io::Result<()> {
        self.refresh();
        self.pool.open_one(&self.context);
        self.hand_over();
        let events = self.wait()?;
        self.refresh();
        for (source, flags) in events {
            self.serve(source, flags);
        }
        self.expire();
        Ok(())
    }

    fn refresh(&mut self) {
        self.context.now = Instant::now();
        self.accept_at = self.accept_at.filter(|accept_at| self.context.now < *accept_at);
        self.context.is_crowded = self.connections.len() >= self.limits.connections(self.context.now);
        self.context.max_body_bytes = self.settings.max_body_bytes.load(Ordering::Relaxed);
        if !self.queue.is_empty() || self.pool.has_request_in_flight() {
            self.liveness.note_waiting();
        }
        if self.pool.is_complete()
            && let Some(ready) = self.ready.take()
        {
            let _ = ready.send(()); // whoever no longer waits has stopped the gate
        }
    }

    fn hand_over(&mut self) {
        while self.pool.has_idle() {
            let Some(request) = self.next_request() else { return };
            let event = self.pool.begin(request, &mut self.scratch);
            self.settle(event);
        }
    }

    /// The oldest request that may go now: small ones pass the large ones, of which one at a time goes.
    fn next_request(&mut self) -> Option<Request> {
        let must_be_small = self.pool.has_large_in_flight();
        let at = self.queue.iter().position(|request| !(must_be_small && pool::is_large(request)))?;
        self.queue.remove(at)
    }

    /// Sleeps until something is ready or due. The listener comes last: what is ready may make room for it.
    fn wait(&mut self) -> io::Result<Vec<(Source, PollFlags)>> {
        let timeout = self.nearest_deadline().map(|deadline| timespec(deadline - self.context.now));
        let (sources, mut list): (Vec<Source>, Vec<PollFd<'_>>) =
            self.interests().map(|(source, fd, flags)| (source, PollFd::from_borrowed_fd(fd, flags))).unzip();
        match poll(&mut list, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let events = sources.into_iter().zip(list.iter().map(PollFd::revents));
        Ok(events.filter(|(_, flags)| !flags.is_empty()).collect())
    }

    fn interests(&self) -> impl Iterator<Item = (Source, BorrowedFd<'_>, PollFlags)> {
        let stop = (!self.context.is_stopping).then(|| (Source::Stop, self.stopped.as_fd(), PollFlags::IN));
        let slots = self.pool.interest().map(|(at, fd, flags)| (Source::Slot(at), fd, flags));
        let connections = self.connections.iter().filter_map(|(id, connection)| {
            let (fd, flags) = connection.interest()?;
            Some((Source::Connection(*id), fd, flags))
        });
        let listener = self.listener.iter().filter(|_| self.is_accepting());
        let listener = listener.map(|listener| (Source::Listener, listener.as_fd(), PollFlags::IN));
        stop.into_iter().chain(slots).chain(connections).chain(listener)
    }

    fn is_accepting(&self) -> bool {
        self.ready.is_none() && self.accept_at.is_none()
    }

    fn nearest_deadline(&self) -> Option<Instant> {
        let connections = self.connections.values().map(Connection::deadline);
        connections.chain(self.pool.deadline()).chain(self.accept_at).chain(self.stop_at).min()
    }

    fn serve(&mut self, source: Source, flags: PollFlags) {
        match source {
            Source::Stop => self.stop(),
            Source::Listener => self.accept(),
            Source::Slot(at) => {
                let event = self.pool.ready(at, flags, &mut self.scratch);
                self.settle(event);
            }
            Source::Connection(id) => {
                self.step(id, |connection, context, scratch| connection.ready(context, scratch));
                self.keep_budget();
            }
        }
    }

    fn settle(&mut self, event: UpstreamEvent) {
        match event {
            UpstreamEvent::Pending => {}
            UpstreamEvent::Answered(owner, response) => {
                self.liveness.note_answer();
                self.step(owner, |connection, context, _| connection.answer(&response, context));
            }
            UpstreamEvent::Lost(owner) => {
                let line = format_args!("the receiver closed a connection without an answer");
                rate_limited(Level::Warn, "", "connection lost by the receiver", line);
                self.refuse(owner, Refusal::ReceiverLost);
            }
            UpstreamEvent::Unsent(request) => self.queue.push_front(request),
        }
    }

    /// Lets a connection take one step, and draws the conclusion. One that is gone takes none.
    fn step(&mut self, id: ConnectionId, take: impl FnOnce(&mut Connection, &Context, &mut [u8]) -> Progress) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        match take(connection, &self.context, &mut self.scratch) {
            Progress::Pending => {}
            Progress::Complete(request) => self.queue.push_back(request),
            Progress::Closed => self.close(id),
        }
    }

    fn refuse(&mut self, id: ConnectionId, refusal: Refusal) {
        self.step(id, |connection, context, _| connection.refuse(refusal, context));
    }

    fn close(&mut self, id: ConnectionId) {
        self.connections.remove(&id);
        self.count_open();
        self.accept_at = None; // there is room again
    }

    /// To pause reading instead would let half-received bodies wait for each other. The largest one pays, so that small
    /// deliveries never do.
    fn keep_budget(&mut self) {
        while self.context.budget.held_bytes() > self.budget_bytes() {
            let bodies = self.connections.iter().map(|(id, connection)| (connection.unfinished_bytes(), *id));
            let Some((_, largest)) = bodies.filter(|(bytes, _)| *bytes > 0).max() else { return };
            self.refuse(largest, Refusal::Overloaded);
        }
    }

    /// Whatever the operator allows for one body must fit, even while another one is being handed over.
    fn budget_bytes(&self) -> usize {
        let two_bodies = usize::try_from(self.context.max_body_bytes.saturating_mul(2)).unwrap_or(usize::MAX);
        self.limits.budget_bytes.max(two_bodies)
    }

    fn expire(&mut self) {
        let is_due = |connection: &Connection| connection.deadline() <= self.context.now;
        let due: Vec<ConnectionId> =
            self.connections.iter().filter(|(_, connection)| is_due(connection)).map(|(id, _)| *id).collect();
        for id in due {
            self.expire_one(id);
        }
    }

    fn expire_one(&mut self, id: ConnectionId) {
        if !self.connections.get(&id).is_some_and(Connection::is_waiting) {
            return self.step(id, |connection, context, _| connection.expire(context));
        }
        if let Some(at) = self.queue.iter().position(|request| request.owner == id) {
            self.queue.remove(at);
            return self.refuse(id, Refusal::Overloaded);
        }
        self.pool.abandon(id);
        self.refuse(id, Refusal::ReceiverTooSlow);
    }

    fn accept(&mut self) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = &self.listener else { return };
            let room = self.room();
            if matches!(room, Room::None) {
                self.liveness.note_door();
                return self.pause_accepting();
            }
            match listener.accept() {
                Ok((stream, peer)) => self.admit(stream, peer, &room),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return self.cannot_accept(&error),
            }
        }
    }

    fn admit(&mut self, stream: Stream, peer: Peer, room: &Room) {
        if let Room::Evict(id) = room {
            self.shed_one(*id);
        }
        self.liveness.note_door();
        let id = ConnectionId(self.next_id);
        self.next_id += 1;
        self.connections.insert(id, Connection::new(id, stream, peer, &self.context));
        self.context.traffic.accepted.add(1);
        self.count_open();
    }

    fn count_open(&self) {
        self.context.traffic.open.set(self.connections.len() as u64);
    }

    fn shed_one(&mut self, id: ConnectionId) {
        self.context.traffic.shed.add(1);
        self.close(id);
    }

    fn room(&self) -> Room {
        if self.connections.len() < self.limits.connections(self.context.now) {
            return Room::Free;
        }
        self.most_dispensable().map_or(Room::None, Room::Evict)
    }

    fn most_dispensable(&self) -> Option<ConnectionId> {
        let rank = |(id, connection): (&ConnectionId, &Connection)| -> Option<((EvictionRank, Instant), ConnectionId)> {
            Some((connection.dispensable(&self.context)?, *id))
        };
        self.connections.iter().filter_map(rank).min().map(|(_, id)| id)
    }

    fn pause_accepting(&mut self) {
        self.accept_at = Some(self.context.now + self.context.deadlines.accept_pause);
    }

    /// The connection stays in the backlog, so that poll would report it again at once: hence the pause.
    fn cannot_accept(&mut self, error: &io::Error) {
        self.pause_accepting();
        if !is_shortage(error) {
            let line = format_args!("cannot accept a connection: {error}");
            return rate_limited(Level::Warn, "", "connection not accepted", line);
        }
        if !self.limits.is_short(self.context.now) {
            log::warn!("descriptors ran out ({error}): fewer connections for a while");
        }
        self.limits.note_shortage(self.connections.len(), self.context.now);
        self.shed();
    }

    fn shed(&mut self) {
        while self.connections.len() > self.limits.connections(self.context.now) {
            let Some(id) = self.most_dispensable() else { return };
            self.shed_one(id);
        }
    }

    fn stop(&mut self) {
        self.context.is_stopping = true;
        self.listener = None;
        self.stop_at = Some(self.context.now + self.context.deadlines.stop);
        let ids: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for id in ids {
            self.step(id, |connection, context, scratch| connection.stop(context, scratch));
        }
    }
}

/// Descriptors or memory for them ran out, here or in the whole machine.
fn is_shortage(error: &io::Error) -> bool {
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| shortages.contains(&errno))
}

/// A deadline that has passed is no wait at all; one beyond what the kernel counts is for ever.
fn timespec(wait: Duration) -> Timespec {
    Timespec { tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX), tv_nsec: i64::from(wait.subsec_nanos()) }
}
