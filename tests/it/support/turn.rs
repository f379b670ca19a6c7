//! Which tests run at the same time. There are many more test threads than cores, because most tests wait most of the time
//! (`.cargo/config.toml` says how many). Those that do more than wait take turns, so that no test is slowed down by a crowd
//! of others.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::available_parallelism;

/// How many ordinary tests run at once on each core.
const PER_CORE: usize = 3;

/// How many ordinary tests may run beside one that measures how long something takes, and while it waits for its turn.
const BESIDE: usize = 2;

static TURNS: Turns = Turns {
    state: Mutex::new(State { running: Vec::new(), waiting: VecDeque::new(), next: 0 }),
    changed: Condvar::new(),
};

thread_local! {
    /// The turn that the thread of a test has, until it ends.
    static OWN: RefCell<Option<Turn>> = const { RefCell::new(None) };
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Ordinary,
    /// One at a time, since a browser keeps a core busy.
    Browser,
    /// One at a time, beside few others.
    NearlyAlone,
    /// At any time, beside all others.
    Waiting,
}

struct Turns {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    running: Vec<Kind>,
    /// Tickets of those that wait, in order.
    waiting: VecDeque<(u64, Kind)>,
    next: u64,
}

impl State {
    fn may_begin(&self, ticket: u64, kind: Kind) -> bool {
        let is_first = self.waiting.iter().find(|(_, other)| *other == kind).is_some_and(|(first, _)| *first == ticket);
        is_first && self.has_room_for(kind)
    }

    fn has_room_for(&self, kind: Kind) -> bool {
        match kind {
            Kind::Ordinary => self.others() < self.limit(),
            Kind::Browser => self.others() < self.limit() && !self.running.contains(&kind),
            Kind::NearlyAlone => self.others() <= BESIDE && !self.running.contains(&kind),
            Kind::Waiting => true,
        }
    }

    /// How many tests run that neither only wait nor run nearly alone.
    fn others(&self) -> usize {
        self.running.iter().filter(|kind| matches!(kind, Kind::Ordinary | Kind::Browser)).count()
    }

    fn limit(&self) -> usize {
        let mut all = self.running.iter().chain(self.waiting.iter().map(|(_, kind)| kind));
        if all.any(|kind| *kind == Kind::NearlyAlone) { BESIDE } else { cores() * PER_CORE }
    }
}

/// Given back when it is dropped.
struct Turn(Kind);

impl Turn {
    fn take(kind: Kind) -> Turn {
        let mut state = TURNS.state.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = state.next;
        state.next += 1;
        state.waiting.push_back((ticket, kind));
        while !state.may_begin(ticket, kind) {
            state = TURNS.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting.retain(|(other, _)| *other != ticket);
        state.running.push(kind);
        TURNS.changed.notify_all();
        Turn(kind)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = TURNS.state.lock().unwrap_or_else(PoisonError::into_inner);
        let position = state.running.iter().position(|kind| *kind == self.0);
        position.map(|position| state.running.swap_remove(position));
        TURNS.changed.notify_all();
    }
}

fn cores() -> usize {
    available_parallelism().map_or(1, usize::from)
}

/// Waits for a turn, which the test keeps until it ends. A test must not start or measure anything before it has one.
pub fn take_turn() {
    if OWN.with_borrow(Option::is_none) {
        take(Kind::Ordinary);
    }
}

/// For a test with a browser: waits until no other has one.
pub fn take_turn_with_browser() {
    take(Kind::Browser);
}

/// For a test that measures how long something takes: waits until hardly any other test runs, and keeps others from
/// beginning.
pub fn take_turn_nearly_alone() {
    take(Kind::NearlyAlone);
}

/// For a test that only waits, and for long: others run meanwhile. It begins at once if it calls this first.
pub fn needs_no_turn() {
    take(Kind::Waiting);
}

fn take(kind: Kind) {
    OWN.set(None);
    let turn = Turn::take(kind);
    OWN.set(Some(turn));
}
