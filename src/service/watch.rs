//! The watchdog's thread while hookbox serves, and what it tells the service manager.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use log::error;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sd_notify::NotifyState;

use super::{Failure, Guard, Message, spawn};
use crate::gate::Liveness;
use crate::listen::LocalAddress;
use crate::stop::{Stop, Waker};
use crate::store::{Database, Queue};
use crate::systemd;
use crate::watchdog::{Unanswered, Watchdog};

/// How long the last words may take: standard error may be what hangs.
const LAST_WORDS: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Starts the watchdog on our own front local_address.
pub(super) fn guard(
    local_address: LocalAddress,
    liveness: Arc<Liveness>,
    database: &Database,
    messages: &Sender<Message>,
) -> Result<Guard, Failure> {
    let (stop, waker) = (Stop::default(), Waker::default());
    let is_stopping = stop.clone();
    let watchdog = Watchdog::new(local_address, liveness, waker.clone(), stop.clone(), sd_notify::watchdog_enabled());
    // A connection costs memory, and is for the counts alone.
    let queue = systemd::is_managed().then(|| database.queue()).transpose()?;
    let thread = spawn("watchdog", messages, move || {
        let tell_counts = || {
            if let Some(queue) = &queue {
                systemd::notify(&[NotifyState::Status(&status_of(queue))]);
            }
        };
        // Whoever has just started it looks before the first question.
        tell_counts();
        // First the sign of life: the counts may take their time on a slow disk.
        let on_life = || {
            systemd::notify(&[NotifyState::Watchdog]);
            tell_counts();
            crate::log::flush_suppressed();
        };
        match watchdog.run(on_life) {
            Err(unanswered) if !is_stopping.is_set() => end_process(&unanswered),
            _ => {}
        }
    })?;
    Ok(Guard { stop, waker, thread })
}

/// What is open, in a line for `systemctl status`.
fn status_of(queue: &Queue) -> String {
    match queue.open_events() {
        Ok((unprocessed, failed)) => format!("{unprocessed} events unprocessed, {failed} in error"),
        Err(error) => error.to_string(),
    }
}

/// Ends the process without its orderly end, which would wait for what hangs; without a word if that would wait too.
fn end_process(why: &Unanswered) {
    let stderr = std::io::stderr();
    let mut list = [PollFd::new(&stderr, PollFlags::OUT)];
    if poll(&mut list, Some(&LAST_WORDS)).is_ok_and(|writable| writable > 0) {
        error!("{why}");
    }
    std::process::exit(1);
}
