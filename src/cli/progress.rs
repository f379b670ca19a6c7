//! A progress line on standard error, where that is a terminal.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Fast enough to be seen moving, and slow enough to cost nothing.
const EVERY: Duration = Duration::from_millis(200);

/// Back to the start of the line, and clear it.
const CLEAR: &str = "\r\x1b[K";

/// The line. It is cleared on drop.
pub(super) struct Progress {
    is_shown: bool,
    last: Instant,
}

impl Progress {
    pub(super) fn new() -> Progress {
        Progress { is_shown: io::stderr().is_terminal(), last: Instant::now() }
    }

    /// Shows the text, unless another was shown a moment ago.
    pub(super) fn show(&mut self, text: impl FnOnce() -> String) {
        // The work never waits for a terminal that was stopped with Ctrl-S.
        if self.is_shown && self.last.elapsed() >= EVERY && takes_text() {
            self.last = Instant::now();
            let _ = write!(io::stderr(), "{CLEAR}{}", text());
        }
    }
}

fn takes_text() -> bool {
    let stderr = io::stderr();
    poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], Some(&Timespec::default())).is_ok_and(|writable| writable > 0)
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown && takes_text() {
            let _ = write!(io::stderr(), "{CLEAR}");
        }
    }
}
