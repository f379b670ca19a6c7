//! One line on standard error for each thing worth telling.

use std::io::Write;

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::clock;

/// What other crates say below this is about their insides.
const DEPENDENCIES: Level = Level::Warn;

struct Stderr(LevelFilter);

/// Begins to write lines of `level` and above.
pub fn start(level: LevelFilter) {
    // It is the only logger; a second call, from a test, changes nothing.
    if log::set_boxed_logger(Box::new(Stderr(level))).is_ok() {
        log::set_max_level(level);
    }
}

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let is_ours = metadata.target().starts_with(env!("CARGO_PKG_NAME"));
        metadata.level() <= self.0 && (is_ours || metadata.level() <= DEPENDENCIES)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        // Senders choose some of the text; none of it may begin a line of its own.
        let text = record.args().to_string().replace(char::is_control, "?");
        let line = format!("{} {:5} {text}\n", clock::now(), record.level());
        // With standard error gone there is nobody left to tell.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}
