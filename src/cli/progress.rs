//! How far long work has come, on a line of the terminal that is written over and over. Where standard error is no
//! terminal there is none.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Fast enough to look alive, slow enough to cost nothing.
const EVERY: Duration = Duration::from_millis(200);

/// Back to the start of the line, and clear it.
const CLEAR: &str = "\r\x1b[K";

/// The line. It is cleared at the end.
pub(super) struct Progress {
    is_shown: bool,
    last: Instant,
}

impl Progress {
    pub(super) fn new() -> Progress {
        Progress { is_shown: io::stderr().is_terminal(), last: Instant::now() }
    }

    /// Shows the text, if it is time for it.
    pub(super) fn show(&mut self, text: impl FnOnce() -> String) {
        if self.is_shown && self.last.elapsed() >= EVERY {
            self.last = Instant::now();
            // A terminal that is gone is no reason to end the work.
            let _ = write!(io::stderr(), "{CLEAR}{}", text());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "{CLEAR}");
        }
    }
}
