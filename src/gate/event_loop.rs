//! The gate's thread: its state, and its work in each iteration.

use super::Settings;
use super::body::READ_BYTES;
use super::connection::{Connection, EvictionRank};
use super::fairness::Shares;
use super::limits::Limits;
use super::refusal::Refusal;
use super::request::{ConnectionId, Context, Request};
use super::upstream::pool::{Pool, UpstreamEvent};
use crate::http::Peer;
use crate::http::blocks::Budget;
use crate::http::bodies::{Bodies, UnreadBody};
use crate::listen::{Listener, Stream};
use crate::log::rate_limited;
use log::Level;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::time::Instant;

/// Keeps a flood of new connections from delaying the existing ones.
const ACCEPTS_PER_ITERATION: usize = 64;

/// So often that all of the listener's backlog is accepted.
const BACKLOG_ITERATIONS: usize = 64;

/// Everything that the gate's thread owns.
pub struct EventLoop {
    limits: Limits,
    /// `None` once draining comes to its end.
    listener: Option<Listener>,
    /// When to poll the listener again, if there is no room now.
    accept_at: Option<Instant>,
    /// Readable once the gate is to stop.
    stop_signal: UnixStream,
    draining: Option<Draining>,
    settings: Arc<Settings>,
    /// Notified once, when the pool is complete; nothing is accepted before.
    ready: Option<SyncSender<()>>,
    connections: BTreeMap<ConnectionId, Connection>,
    /// Those that discard what a refused client sends.
    discarding: BTreeSet<ConnectionId>,
    next_id: u64,
    queue: VecDeque<Request>,
    pool: Pool,
    context: Context,
    scratch: Vec<u8>,
}

/// A stopping gate accepts connections first, and then closes.
#[derive(Clone, Copy)]
enum Draining {
    /// Until the connections below this id are closed, or until then.
    Accepting { first_new: ConnectionId, until: Instant },
    /// Connections that wait for nothing are closed at `at`, all others at `at_last`.
    Closing { at: Instant, at_last: Instant },
}

#[derive(Clone, Copy)]
enum EventSource {
    Stop,
    Listener,
    Upstream(usize),
    Client(ConnectionId),
}

impl EventLoop {
    pub fn new(
        limits: Limits,
        listener: Listener,
        stop_signal: UnixStream,
        pool: Pool,
        bodies: Bodies,
        settings: Arc<Settings>,
        ready: SyncSender<()>,
    ) -> EventLoop {
        let context = Context {
            now: Instant::now(),
            timeouts: limits.timeouts,
            budget: Budget::default(),
            bodies,
            max_body_bytes: 0,
            trusted_proxies: Arc::default(),
            is_draining: false,
            is_crowded: false,
            traffic: Arc::clone(&settings.traffic),
        };
        EventLoop {
            limits,
            listener: Some(listener),
            accept_at: None,
            stop_signal,
            draining: None,
            settings,
            ready: Some(ready),
            connections: BTreeMap::new(),
            discarding: BTreeSet::new(),
            next_id: 0,
            queue: VecDeque::new(),
            pool,
            context,
            scratch: vec![0; READ_BYTES],
        }
    }

    /// Returns when the gate has drained, or the time for that is up.
    pub fn run(mut self) {
        while !self.is_done() {
            if let Err(error) = self.run_once() {
                log::error!("the gate cannot poll its connections: {error}");
                return;
            }
        }
    }

    fn is_done(&self) -> bool {
        let Some(Draining::Closing { at, at_last }) = self.draining else { return false };
        let is_over = at <= self.context.now && !self.connections.values().any(Connection::is_waiting);
        self.connections.is_empty() || is_over || at_last <= self.context.now
    }

    fn run_once(&mut self) -> io::Result<()> {
        self.refresh();
        self.pool.open_one(&self.context);
        self.forward_queued();
        let events = self.wait()?;
        self.refresh();
        for (source, flags) in events {
            self.handle(source, flags);
        }
        self.expire();
        self.limit_discarding();
        self.go_on_draining();
        Ok(())
    }

    fn refresh(&mut self) {
        self.context.now = Instant::now();
        self.accept_at = self.accept_at.filter(|accept_at| self.context.now < *accept_at);
        self.context.is_crowded = self.is_full();
        self.context.max_body_bytes = self.settings.max_body_bytes.load(Ordering::Relaxed);
        self.context.trusted_proxies = self.settings.trusted_proxies.get();
        if !self.queue.is_empty() || self.pool.has_request_in_flight() {
            self.context.traffic.note_waiting();
        }
        if self.pool.is_complete()
            && let Some(ready) = self.ready.take()
        {
            let _ = ready.send(()); // fails after the start has timed out, and then the gate stops
        }
    }

    fn is_full(&self) -> bool {
        self.connections.len() - self.discarding.len() >= self.limits.connections(self.context.now)
    }

    fn forward_queued(&mut self) {
        while let Some(at) = self.pool.idle()
            && let Some(request) = self.next_request()
        {
            let outcome = self.pool.begin(at, request, &mut self.scratch);
            self.handle_upstream(outcome);
        }
    }

    /// The oldest request that may be forwarded: one large request at a time, which small ones overtake.
    fn next_request(&mut self) -> Option<Request> {
        let must_be_small = self.pool.has_large_in_flight();
        let at = self.queue.iter().position(|request| !(must_be_small && request.is_large))?;
        self.queue.remove(at)
    }

    /// Sleeps until an event or the next deadline. The listener comes last: the other events may make room for what it
    /// accepts.
    fn wait(&mut self) -> io::Result<Vec<(EventSource, PollFlags)>> {
        // A longer wait than the kernel can express is forever.
        let timeout = self.next_deadline().and_then(|deadline| Timespec::try_from(deadline - self.context.now).ok());
        let (sources, mut list): (Vec<EventSource>, Vec<PollFd<'_>>) =
            self.interests().map(|(source, fd, flags)| (source, PollFd::from_borrowed_fd(fd, flags))).unzip();
        match poll(&mut list, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let events = sources.into_iter().zip(list.iter().map(PollFd::revents));
        Ok(events.filter(|(_, flags)| !flags.is_empty()).collect())
    }

    fn interests(&self) -> impl Iterator<Item = (EventSource, BorrowedFd<'_>, PollFlags)> {
        let stop = (!self.context.is_draining).then(|| (EventSource::Stop, self.stop_signal.as_fd(), PollFlags::IN));
        let upstream = self.pool.interest().map(|(at, fd, flags)| (EventSource::Upstream(at), fd, flags));
        let clients = self.connections.iter().filter_map(|(id, connection)| {
            let (fd, flags) = connection.interest()?;
            Some((EventSource::Client(*id), fd, flags))
        });
        let listener = self.listener.iter().filter(|_| self.ready.is_none() && self.accept_at.is_none());
        let listener = listener.map(|listener| (EventSource::Listener, listener.as_fd(), PollFlags::IN));
        stop.into_iter().chain(upstream).chain(clients).chain(listener)
    }

    fn next_deadline(&self) -> Option<Instant> {
        let connections = self.connections.values().map(Connection::deadline);
        connections.chain(self.pool.deadline()).chain(self.accept_at).chain(self.end_of_draining()).min()
    }

    fn end_of_draining(&self) -> Option<Instant> {
        match self.draining? {
            Draining::Accepting { until, .. } => Some(until),
            Draining::Closing { at, at_last } => Some(if at > self.context.now { at } else { at_last }),
        }
    }

    fn handle(&mut self, source: EventSource, flags: PollFlags) {
        match source {
            EventSource::Stop => self.drain(),
            EventSource::Listener => self.accept(),
            EventSource::Upstream(at) => {
                let outcome = self.pool.ready(at, flags, &mut self.scratch);
                self.handle_upstream(outcome);
            }
            EventSource::Client(id) => {
                self.step(id, |connection, context, scratch| connection.ready(context, scratch));
                self.enforce_budget();
            }
        }
    }

    fn handle_upstream(&mut self, event: UpstreamEvent) {
        match event {
            UpstreamEvent::Pending => {}
            UpstreamEvent::Answered(owner, response) => {
                self.context.traffic.note_answer();
                self.step(owner, |connection, context, _| connection.answer(&response, context));
            }
            UpstreamEvent::Lost(owner) => {
                let line = format_args!("the receiver closed a connection without an answer");
                rate_limited(Level::Warn, "", "connection lost by the receiver", line);
                self.refuse(owner, Refusal::UpstreamLost);
            }
            UpstreamEvent::Unsent(request) => self.queue.push_front(request),
        }
    }

    /// Steps a connection, unless it was closed, and handles the result.
    fn step(&mut self, id: ConnectionId, take: impl FnOnce(&mut Connection, &Context, &mut [u8])) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        take(connection, &self.context, &mut self.scratch);
        self.queue.extend(connection.take_request());
        if connection.is_discarding() {
            self.discarding.insert(id);
        } else if connection.is_closed() {
            self.close(id);
        }
    }

    fn refuse(&mut self, id: ConnectionId, refusal: Refusal) {
        self.step(id, |connection, context, _| connection.refuse(refusal, context));
    }

    fn close(&mut self, id: ConnectionId) {
        self.connections.remove(&id);
        self.discarding.remove(&id);
        self.count_open();
        self.accept_at = None; // there is room again
    }

    /// If reading were paused instead, unfinished bodies would wait for each other.
    fn enforce_budget(&mut self) {
        while self.context.budget.held_bytes() > self.budget_bytes() {
            let Some(id) = self.dearest_body() else { return };
            self.queue.retain(|request| request.owner != id);
            self.refuse(id, Refusal::Overloaded);
        }
    }

    /// Of the client whose bodies hold the most: the largest unfinished one, so that small deliveries are never refused, or
    /// the largest that waits to be forwarded.
    fn dearest_body(&self) -> Option<ConnectionId> {
        let unfinished = self.connections.iter().map(|(id, connection)| (true, connection.unfinished_bytes(), *id));
        let held_bytes = |request: &Request| request.body.as_ref().map_or(0, UnreadBody::held_bytes);
        let queued = self.queue.iter().map(|request| (false, held_bytes(request), request.owner));
        let bodies = unfinished.chain(queued).filter(|(_, bytes, _)| *bytes > 0);
        let of_client = |body: (bool, usize, ConnectionId)| Some((self.connections.get(&body.2)?.client_key(), body));
        let bodies: Vec<_> = bodies.filter_map(of_client).collect();
        let shares: Shares = bodies.iter().map(|(client, (_, bytes, _))| (*client, *bytes)).collect();
        let greediest = shares.greediest();
        bodies.into_iter().filter(|(client, _)| greediest.has(*client)).map(|(_, body)| body).max().map(|(.., id)| id)
    }

    /// A body of any allowed size must fit, even while another one is being forwarded.
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
        self.refuse(id, Refusal::UpstreamTooSlow);
    }

    fn accept(&mut self) {
        self.limit_discarding();
        for _ in 0..ACCEPTS_PER_ITERATION {
            let Some(listener) = &self.listener else { return };
            let evicted = if self.is_full() { self.eviction_candidate() } else { None };
            if self.is_full() && evicted.is_none() {
                self.context.traffic.accept_attempts.add(1);
                return self.pause_accepting();
            }
            match listener.accept() {
                Ok((stream, peer)) => self.add(stream, peer, evicted),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return self.handle_accept_error(&error),
            }
        }
    }

    fn add(&mut self, stream: Stream, peer: Peer, evicted: Option<ConnectionId>) {
        if let Some(id) = evicted {
            self.evict(id);
        }
        self.context.traffic.accept_attempts.add(1);
        let id = ConnectionId(self.next_id);
        self.next_id += 1;
        self.connections.insert(id, Connection::new(id, stream, peer, &self.context));
        self.context.traffic.accepted.add(1);
        self.count_open();
    }

    fn count_open(&self) {
        self.context.traffic.open.set(self.connections.len() as u64);
    }

    fn evict(&mut self, id: ConnectionId) {
        self.context.traffic.shed.add(1);
        self.step(id, |connection, context, _| connection.evict(context));
        self.limit_discarding();
    }

    /// The connection that makes room. Only the client with the most connections loses one that it still uses; if it has
    /// none that may be evicted now, there is room again in a moment.
    fn eviction_candidate(&self) -> Option<ConnectionId> {
        let counted = self.connections.values().filter(|connection| !connection.is_discarding());
        let greediest = Shares::count(counted.map(Connection::client_key)).greediest();
        let owners = greediest.by_owner();
        let candidates = self.connections.values().filter_map(|connection| {
            let (rank, since, id) = connection.eviction_rank(&self.context)?;
            let client = connection.client_key();
            let is_meant = rank == EvictionRank::Closing || greediest.has(client);
            is_meant.then(|| (rank, Reverse(owners.of(client.owner())), since, id))
        });
        candidates.min().map(|(.., id)| id)
    }

    /// Closes connections of refused clients that are too many to discard what they send.
    fn limit_discarding(&mut self) {
        while self.discarding.len() > self.limits.discarding_connections(self.context.now) {
            let connections = || self.discarding.iter().filter_map(|id| Some((*id, self.connections.get(id)?)));
            let greediest = Shares::count(connections().map(|(_, connection)| connection.client_key())).greediest();
            let theirs = connections().filter(|(_, connection)| greediest.has(connection.client_key()));
            let Some((oldest, _)) = theirs.min_by_key(|(_, connection)| connection.since()) else { return };
            self.close(oldest);
        }
    }

    fn pause_accepting(&mut self) {
        self.accept_at = Some(self.context.now + self.context.timeouts.accept_pause);
    }

    /// The connection stays in the backlog, and poll would report it again immediately: hence the pause.
    fn handle_accept_error(&mut self, error: &io::Error) {
        self.pause_accepting();
        if !is_shortage(error) {
            let line = format_args!("cannot accept a connection: {error}");
            return rate_limited(Level::Warn, "", "connection not accepted", line);
        }
        if self.limits.note_shortage(self.connections.len(), self.context.now) {
            log::warn!("descriptors ran out ({error}): fewer connections for a while");
        }
        self.limit_discarding();
        while self.connections.len() > self.limits.connections(self.context.now) {
            let Some(id) = self.eviction_candidate() else { return };
            self.evict(id);
        }
    }

    fn drain(&mut self) {
        self.context.is_draining = true;
        let until = self.context.now + self.context.timeouts.stop;
        self.draining = Some(Draining::Accepting { first_new: ConnectionId(self.next_id), until });
        self.drain_connections();
    }

    fn go_on_draining(&mut self) {
        let Some(Draining::Accepting { first_new, until }) = self.draining else { return };
        let has_old = self.connections.first_key_value().is_some_and(|(id, _)| *id < first_new);
        if has_old && self.context.now < until {
            return;
        }
        // Those that wait at a socket of the service manager are for the next process; those at a socket of ours would be
        // reset.
        if self.listener.as_ref().is_some_and(|listener| !listener.outlives_process()) {
            self.accept_all();
        }
        self.listener = None;
        let (at, at_last) = (self.context.timeouts.close, self.context.timeouts.stop);
        self.draining = Some(Draining::Closing { at: self.context.now + at, at_last: self.context.now + at_last });
        self.drain_connections();
    }

    /// Accepts what waits now, as far as there is room.
    fn accept_all(&mut self) {
        for _ in 0..BACKLOG_ITERATIONS {
            let before = self.next_id;
            self.accept();
            if self.next_id == before {
                return;
            }
        }
    }

    fn drain_connections(&mut self) {
        let ids: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for id in ids {
            self.step(id, |connection, context, scratch| connection.drain(context, scratch));
        }
    }
}

/// Descriptors, or memory for them, ran out in this process or in the whole system.
fn is_shortage(error: &io::Error) -> bool {
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| shortages.contains(&errno))
}
