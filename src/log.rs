//! The log: one line on standard error for each message.
//!
//! A command writes its lines itself. `serve` queues them for a thread, because standard error may lead to a pipe or a
//! terminal that is not read: then lines are dropped and counted, and everything else goes on.

mod queue;
mod rate_limit;

use std::fmt;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::{Level, LevelFilter, Log, Metadata, Record};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::clock::{self, Timestamp};
use crate::text::{cut, one_line};
use queue::Queue;
use rate_limit::RateLimiter;

/// Below this level, other crates log internals.
const DEPENDENCY_LEVEL: Level = Level::Warn;

/// With the time and the level it is what a pipe takes in one piece (`PIPE_BUF`, 4096 bytes), so that the lines of several
/// writers do not mix.
pub const MAX_LINE_BYTES: usize = 4000;

/// How long the end of the process waits for the last lines to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

static QUEUE: Queue = Queue::new();

/// Counts the lines that untrusted clients have caused.
static UNTRUSTED: Mutex<RateLimiter> = Mutex::new(RateLimiter::new());

static FORMAT: LazyLock<Format> = LazyLock::new(|| match std::env::var("JOURNAL_STREAM") {
    Ok(stream) if is_stderr(&stream) => Format::Journal,
    _ => Format::Plain,
});

/// The prefix of each line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// The time and the level.
    Plain,
    /// The priority, which the journal removes again (sd-daemon(3)); it adds its own time.
    Journal,
}

struct Stderr(LevelFilter);

/// Starts to write lines of `level` and above.
pub fn start(level: LevelFilter) {
    // Only a test calls this twice; the second call changes nothing.
    if log::set_boxed_logger(Box::new(Stderr(level))).is_ok() {
        log::set_max_level(level);
    }
}

/// From now on the calling process's lines are queued, and a thread must run [`write_queued`].
pub fn queue_lines() {
    // The standard library's own hook would wait for standard error.
    std::panic::set_hook(Box::new(|panic| {
        log::error!("{}", panic.to_string().replace('\n', " "));
        if std::thread::current().name() == Some("main") {
            flush(); // a panic of the main thread ends the process
        }
    }));
    QUEUE.open();
}

/// The body of the log's thread: writes what is queued, until the process ends.
pub fn write_queued() {
    loop {
        QUEUE.write(write_line, notice);
    }
}

fn notice(dropped: u64) -> String {
    let text = format!("{dropped} lines were dropped, because standard error was not read");
    line(*FORMAT, clock::now(), Level::Warn, &text)
}

/// Waits, for a bounded time, until what is queued is written.
pub fn flush() {
    QUEUE.flush(FLUSH_TIMEOUT);
}

/// How many lines were dropped since the start.
pub fn dropped_lines() -> u64 {
    QUEUE.dropped()
}

/// Logs a line that an untrusted client can cause: the first few of a kind, then only their number.
///
/// A kind is the name of a source (empty where there is none) and `what`. Neither may be chosen by a client, because kinds
/// are kept in memory.
pub fn rate_limited(level: Level, source: &str, what: &'static str, line: fmt::Arguments<'_>) {
    if !log::log_enabled!(level) {
        return;
    }
    let now = Instant::now();
    let mut limiter = limiter();
    let summary = limiter.summary(now);
    let is_within_limit = limiter.admit(source, what, now);
    drop(limiter);
    log_summary(summary);
    if is_within_limit {
        log::log!(level, "{line}");
    }
}

/// Logs the number of suppressed lines, if that is due. Called by a thread that wakes up anyway.
pub fn flush_suppressed() {
    let summary = limiter().summary(Instant::now());
    log_summary(summary);
}

/// Logs the number of suppressed lines now, because the process ends.
pub fn flush_suppressed_at_end() {
    let summary = limiter().close(Instant::now());
    log_summary(summary);
}

fn limiter() -> MutexGuard<'static, RateLimiter> {
    UNTRUSTED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn log_summary(summary: Option<String>) {
    if let Some(summary) = summary {
        log::warn!("{summary}");
    }
}

/// Writes why the program ends, before or after [`start`]; one or more lines. [`flush`] follows.
pub fn fatal(text: &str) {
    if let Err(lines) = QUEUE.push_last(fatal_lines(*FORMAT, text)) {
        // Without standard error, the exit code remains.
        let _ = write_line(&lines);
    }
}

fn fatal_lines(format: Format, text: &str) -> String {
    let prefix = match format {
        Format::Plain => "",
        Format::Journal => priority(Level::Error),
    };
    text.lines().map(|line| format!("{prefix}{}\n", one_line(line))).collect()
}

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let is_ours = metadata.target().starts_with(env!("CARGO_PKG_NAME"));
        metadata.level() <= self.0 && (is_ours || metadata.level() <= DEPENDENCY_LEVEL)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let line = line(*FORMAT, clock::now(), record.level(), &record.args().to_string());
        if let Err(line) = QUEUE.push(line) {
            // Without standard error there is no other place for it.
            let _ = write_line(&line);
        }
    }

    fn flush(&self) {}
}

/// Clients choose a part of the text: it must not start a line of its own, nor control a terminal.
fn line(format: Format, now: Timestamp, level: Level, text: &str) -> String {
    let text = cut(&one_line(text), MAX_LINE_BYTES);
    match format {
        Format::Plain => format!("{now} {level:5} {text}\n"),
        Format::Journal => format!("{}{text}\n", priority(level)),
    }
}

fn write_line(line: &str) -> io::Result<()> {
    write_all(io::stderr(), line.as_bytes())
}

/// Writes all of it, also to a pipe or a terminal that another program has made non-blocking.
pub fn write_all(to: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(&to, bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                // An error of its own is one of the next write.
                let _ = poll(&mut [PollFd::new(&to, PollFlags::OUT)], None);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn priority(level: Level) -> &'static str {
    match level {
        Level::Error => "<3>",
        Level::Warn => "<4>",
        Level::Info => "<6>",
        Level::Debug | Level::Trace => "<7>",
    }
}

/// systemd's variable has the device and inode of the stream that leads to the journal (systemd.exec(5)). Alone it proves
/// nothing: a shell under systemd inherits it, and standard error may lead elsewhere.
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
        let text = line(Format::Plain, at_start(), Level::Warn, "the disk is full");
        assert_eq!(text, "2025-01-31T12:00:00+00:00 WARN  the disk is full\n");
    }

    #[test]
    fn the_journal_gets_the_priority_alone() {
        let lines = [Level::Error, Level::Warn, Level::Info, Level::Debug]
            .map(|level| line(Format::Journal, at_start(), level, "a"));
        assert_eq!(lines, ["<3>a\n", "<4>a\n", "<6>a\n", "<7>a\n"]);
        assert_eq!(fatal_lines(Format::Journal, "one\ntwo"), "<3>one\n<3>two\n");
        assert_eq!(fatal_lines(Format::Plain, "one\ntwo"), "one\ntwo\n");
    }

    #[test]
    fn no_text_starts_a_line_or_controls_the_terminal() {
        let hostile = "a\nb\r\u{1b}[2Jc\u{9b}d\u{7f}e\u{2028}f\u{202e}g\u{2066}h\u{200f}i\0j<0>";
        let text = line(Format::Journal, at_start(), Level::Info, hostile);
        assert_eq!(text, "<6>a?b??[2Jc?d?e?f?g?h?i?j<0>\n");
    }
}
