//! One line on standard error for each thing worth telling.

mod flood;

use std::fmt;
use std::io::Write;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Instant;

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::clock::{self, Timestamp};
use flood::Flood;

/// What other crates say below this is about their insides.
const DEPENDENCIES: Level = Level::Warn;

/// systemd's variable: the device and inode of the stream that leads to the journal (systemd.exec(5)).
const JOURNAL_VARIABLE: &str = "JOURNAL_STREAM";

/// What strangers have caused lately.
static STRANGERS: Mutex<Flood> = Mutex::new(Flood::new());

static FORM: LazyLock<Form> = LazyLock::new(|| match std::env::var(JOURNAL_VARIABLE) {
    Ok(stream) if is_stderr(&stream) => Form::Journal,
    _ => Form::Plain,
});

/// What a line begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// The time and the level.
    Plain,
    /// The priority, which the journal takes off again (sd-daemon(3)); it has a time of its own.
    Journal,
}

struct Stderr(LevelFilter);

/// Begins to write lines of `level` and above.
pub fn start(level: LevelFilter) {
    // It is the only logger; a second call, from a test, changes nothing.
    if log::set_boxed_logger(Box::new(Stderr(level))).is_ok() {
        log::set_max_level(level);
    }
}

/// Logs what a stranger has caused: the first few lines of a kind, then their number only.
///
/// `source` is the source's name, empty where there is none; `what` tells kinds of the same source apart. Neither may be
/// a stranger's own words: kinds are kept in memory.
pub fn rate_limited(level: Level, source: &str, what: &'static str, line: fmt::Arguments<'_>) {
    if !log::log_enabled!(level) {
        return;
    }
    let now = Instant::now();
    let mut strangers = STRANGERS.lock().unwrap_or_else(PoisonError::into_inner);
    let summary = strangers.summary(now);
    let is_in_full = strangers.admits(source, what, now);
    drop(strangers);
    warn_of(summary);
    if is_in_full {
        log::log!(level, "{line}");
    }
}

/// Tells what was counted instead of written, if that is due. For a thread that wakes up anyway.
pub fn flush_suppressed() {
    let summary = STRANGERS.lock().unwrap_or_else(PoisonError::into_inner).summary(Instant::now());
    warn_of(summary);
}

/// Tells it now, because the process ends.
pub fn flush_suppressed_at_end() {
    let summary = STRANGERS.lock().unwrap_or_else(PoisonError::into_inner).close(Instant::now());
    warn_of(summary);
}

fn warn_of(summary: Option<String>) {
    if let Some(summary) = summary {
        log::warn!("{summary}");
    }
}

/// Says why the program ends, before or after [`start`]. It may be several lines.
pub fn fatal(text: &str) {
    // With standard error gone the exit code still tells.
    let _ = std::io::stderr().lock().write_all(last_lines(*FORM, text).as_bytes());
}

fn last_lines(form: Form, text: &str) -> String {
    let start = match form {
        Form::Plain => "",
        Form::Journal => priority(Level::Error),
    };
    text.lines().map(|line| format!("{start}{}\n", line.replace(is_unfit, "?"))).collect()
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
        let line = line(*FORM, clock::now(), record.level(), &record.args().to_string());
        // With standard error gone there is nobody left to tell.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

/// Senders choose some of the text; none of it may begin a line of its own, nor tell a terminal what to do.
fn line(form: Form, now: Timestamp, level: Level, text: &str) -> String {
    let text = text.replace(is_unfit, "?");
    match form {
        Form::Plain => format!("{now} {level:5} {text}\n"),
        Form::Journal => format!("{}{text}\n", priority(level)),
    }
}

/// Controls, line separators, and what turns the direction of the text that follows.
fn is_unfit(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn priority(level: Level) -> &'static str {
    match level {
        Level::Error => "<3>",
        Level::Warn => "<4>",
        Level::Info => "<6>",
        Level::Debug | Level::Trace => "<7>",
    }
}

/// The variable alone proves nothing: a shell under systemd inherits it, and standard error may lead elsewhere.
fn is_stderr(stream: &str) -> bool {
    rustix::fs::fstat(std::io::stderr()).is_ok_and(|stat| format!("{}:{}", stat.st_dev, stat.st_ino) == stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_start() -> Timestamp {
        Timestamp::from_unix_ms(1_738_324_800_000)
    }

    #[test]
    fn a_line_has_its_time_and_level() {
        let text = line(Form::Plain, at_start(), Level::Warn, "a local_address bangs");
        assert_eq!(text, "2025-01-31T12:00:00+00:00 WARN  a local_address bangs\n");
    }

    #[test]
    fn the_journal_gets_the_priority_alone() {
        let lines = [Level::Error, Level::Warn, Level::Info, Level::Debug]
            .map(|level| line(Form::Journal, at_start(), level, "a"));
        assert_eq!(lines, ["<3>a\n", "<4>a\n", "<6>a\n", "<7>a\n"]);
        assert_eq!(last_lines(Form::Journal, "one\ntwo"), "<3>one\n<3>two\n");
        assert_eq!(last_lines(Form::Plain, "one\ntwo"), "one\ntwo\n");
    }

    #[test]
    fn nobody_begins_a_line_of_his_own_or_speaks_to_the_terminal() {
        let hostile = "a\nb\r\u{1b}[2Jc\u{9b}d\u{7f}e\u{2028}f\u{202e}g\u{2066}h\u{200f}i\0j<0>";
        let text = line(Form::Journal, at_start(), Level::Info, hostile);
        assert_eq!(text, "<6>a?b??[2Jc?d?e?f?g?h?i?j<0>\n");
    }
}
