//! Which tests run at the same time. There are many more test threads than cores, because most tests wait most of the time
//! (`.cargo/config.toml` says how many). Those that do more than wait take turns, so that no test is slowed down by a crowd of
//! others.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::available_parallelism;

/// How many ordinary tests run at once on each core.
const PER_CORE: usize = 3;

/// How many ordinary tests may run beside one that measures how long something takes.
const BESIDE: usize = 2;

static TURNS: Turns =
    Turns { state: Mutex::new(State { taken: 0, waiting: VecDeque::new(), next: 0 }), changed: Condvar::new() };

thread_local! {
    /// What the thread of a test has taken, until it ends.
    static OWN: RefCell<Option<Turn>> = const { RefCell::new(None) };
}

struct Turns {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    taken: usize,
    /// Tickets of those that wait, in order.
    waiting: VecDeque<u64>,
    next: u64,
}

/// As many turns as it says, given back when it is dropped.
struct Turn(usize);

impl Turn {
    fn take(weight: usize) -> Turn {
        let mut state = TURNS.state.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = state.next;
        state.next += 1;
        state.waiting.push_back(ticket);
        while state.waiting.front() != Some(&ticket) || state.taken + weight > all() {
            state = TURNS.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting.pop_front();
        state.taken += weight;
        TURNS.changed.notify_all();
        Turn(weight)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        TURNS.state.lock().unwrap_or_else(PoisonError::into_inner).taken -= self.0;
        TURNS.changed.notify_all();
    }
}

fn all() -> usize {
    available_parallelism().map_or(1, usize::from) * PER_CORE
}

/// Waits for a turn, which the test keeps until it ends.
pub fn take_turn() {
    if OWN.with_borrow(Option::is_none) {
        take(1);
    }
}

/// For a test that measures how long something takes: waits until hardly any other test runs, and keeps others from beginning.
pub fn take_turn_nearly_alone() {
    OWN.set(None);
    take(all().saturating_sub(BESIDE).max(1));
}

/// For a test that only waits, and for long: others run meanwhile.
pub fn needs_no_turn() {
    OWN.set(Some(Turn(0)));
}

fn take(weight: usize) {
    let turn = Turn::take(weight);
    OWN.set(Some(turn));
}
