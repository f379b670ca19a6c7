//! The lines that wait for the log's own thread, so that no other thread ever waits for standard error: a terminal that was
//! stopped with Ctrl-S does not read on, nor does a log driver that hangs.

use std::collections::VecDeque;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Some two thousand lines: far more than a reader that is only slow leaves waiting.
const MAX_BYTES: usize = 256 << 10;

pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    lines: VecDeque<String>,
    bytes: usize,
    /// Not yet reported in the log.
    untold: u64,
    /// Since the start.
    dropped: u64,
    has_writer: bool,
    is_writing: bool,
}

impl Queue {
    pub const fn new() -> Queue {
        let lines = VecDeque::new();
        let state = State { lines, bytes: 0, untold: 0, dropped: 0, has_writer: false, is_writing: false };
        Queue { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// From now on lines are queued: a thread calls [`Queue::write`].
    pub fn open(&self) {
        self.state().has_writer = true;
    }

    /// Queues a line, or drops and counts it where too many wait. Gives it back where nothing writes the queue.
    pub fn push(&self, line: String) -> Result<(), String> {
        self.push_within(MAX_BYTES, line)
    }

    /// Queues a line however many wait.
    pub fn push_last(&self, line: String) -> Result<(), String> {
        self.push_within(usize::MAX, line)
    }

    fn push_within(&self, max_bytes: usize, line: String) -> Result<(), String> {
        let mut state = self.state();
        if !state.has_writer {
            return Err(line);
        }
        if state.bytes.saturating_add(line.len()) > max_bytes {
            state.untold += 1;
            state.dropped += 1;
            return Ok(());
        }
        let is_asleep = state.lines.is_empty() && !state.is_writing;
        state.bytes += line.len();
        state.lines.push_back(line);
        if is_asleep {
            self.changed.notify_all();
        }
        Ok(())
    }

    /// Waits for lines and writes them. Where lines were dropped, `notice` follows those that were queued before.
    pub fn write(&self, mut write: impl FnMut(&str) -> io::Result<()>, notice: impl Fn(u64) -> String) {
        let (lines, untold) = self.take();
        let failed = lines.iter().filter(|line| write(line).is_err()).count() as u64;
        let untold = untold + failed;
        let is_told = untold == 0 || write(&notice(untold)).is_ok();
        let mut state = self.state();
        state.dropped += failed;
        state.untold += if is_told { 0 } else { untold };
        state.is_writing = false;
        if state.lines.is_empty() {
            self.changed.notify_all();
        }
    }

    /// All lines that wait, at least one, and how many were dropped after them.
    fn take(&self) -> (VecDeque<String>, u64) {
        let waited = self.changed.wait_while(self.state(), |state| state.lines.is_empty());
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_writing = true;
        state.bytes = 0;
        (std::mem::take(&mut state.lines), std::mem::take(&mut state.untold))
    }

    /// Waits until everything is written, or for `timeout`.
    pub fn flush(&self, timeout: Duration) {
        let is_busy = |state: &mut State| state.has_writer && (state.is_writing || !state.lines.is_empty());
        drop(self.changed.wait_timeout_while(self.state(), timeout, is_busy));
    }

    /// How many lines were dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.state().dropped
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(dropped: u64) -> String {
        format!("{dropped} dropped")
    }

    fn push(queue: &Queue, line: &str) {
        assert_eq!(queue.push(line.to_owned()), Ok(()));
    }

    /// What is written of the lines that wait.
    fn written(queue: &Queue, works: impl Fn(&str) -> bool) -> Vec<String> {
        let mut written = Vec::new();
        let write = |line: &str| {
            if !works(line) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            written.push(line.to_owned());
            Ok(())
        };
        queue.write(write, notice);
        written
    }

    #[test]
    fn without_a_writer_a_line_is_given_back() {
        let queue = Queue::new();
        assert_eq!(queue.push("a".to_owned()), Err("a".to_owned()));
        queue.flush(Duration::MAX);
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_told_after_what_does() {
        let (queue, long) = (Queue::new(), "x".repeat(MAX_BYTES / 2));
        queue.open();
        for line in [&long, &long, "one", "two"] {
            push(&queue, line);
        }
        assert_eq!(queue.push_last("last".to_owned()), Ok(()));
        assert_eq!(written(&queue, |_| true), [&long, &long, "last", "2 dropped"]);
        push(&queue, "later");
        assert_eq!(written(&queue, |_| true), ["later"]);
        assert_eq!(queue.dropped(), 2);
    }

    #[test]
    fn what_could_not_be_written_is_told_once_that_works_again() {
        let queue = Queue::new();
        queue.open();
        push(&queue, "lost");
        push(&queue, "lost too");
        assert_eq!(written(&queue, |_| false), [""; 0]);
        push(&queue, "lost as well");
        push(&queue, "here");
        assert_eq!(written(&queue, |line| !line.contains("lost")), ["here", "3 dropped"]);
        push(&queue, "again");
        assert_eq!(written(&queue, |_| true), ["again"]);
        assert_eq!(queue.dropped(), 3);
    }

    #[test]
    fn a_flush_ends_in_time_while_nothing_is_written() {
        let queue = Queue::new();
        queue.open();
        push(&queue, "a");
        queue.flush(Duration::from_millis(10));
        assert_eq!(written(&queue, |_| true), ["a"]);
        queue.flush(Duration::MAX);
    }
}
