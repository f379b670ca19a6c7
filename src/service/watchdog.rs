//! Checks through the program's own public socket that it is alive. Where nothing answers, senders get no answer either,
//! whichever thread hangs, and only a restart helps.
//!
//! It checks life, not health: any answer of the receiver will do. These are no reason to restart: a full disk; a crowd at
//! the public socket, where the check is not accepted while other clients are answered; a slow disk, because nothing can
//! end a thread that waits for one, and the next process would wait for the same.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use log::error;
use sd_notify::NotifyState;

use super::error::Result;
use super::thread::{Message, Thread};
use crate::ask;
use crate::gate::{Liveness, Traffic};
use crate::listen::LocalAddress;
use crate::stop::{Stop, Waker};
use crate::store::{Database, Queue};
use crate::systemd;

/// Each check wakes four threads about twice; at this pace that is half a wake-up a second.
const CHECK_EVERY: Duration = Duration::from_secs(15);

/// How long there may be no answer. A slow card or another program's lock delays one by a few seconds.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The pause after a check that was refused or cut off: at least three fail before the process ends.
const RETRY_AFTER: Duration = Duration::from_secs(3);

/// How often, and with which pause, to check whether a thread waits for the disk: one that writes a lot runs between two
/// waits.
const DISK_CHECKS: usize = 20;
const DISK_CHECK_PAUSE: Duration = Duration::from_millis(10);

/// Starts a watchdog of the listener at `local_address`. It ends the process when there is no sign of life, unless `ending`
/// is set: then it ends anyway, and a command under way keeps its time. The service manager is still notified.
pub(super) fn start(
    local_address: LocalAddress,
    traffic: Arc<Traffic>,
    database: &Database,
    ending: Stop,
    messages: &Sender<Message>,
) -> Result<Thread> {
    let (stop, waker) = (Stop::default(), Waker::default());
    // The service manager gets at least two signs of life in the time that it waits for one.
    let check_every = sd_notify::watchdog_enabled().map_or(CHECK_EVERY, |limit| CHECK_EVERY.min(limit / 2));
    let watchdog = Watchdog {
        local_address,
        traffic,
        waker: waker.clone(),
        stop: stop.clone(),
        check_every,
        timeout: TIMEOUT,
        retry_after: RETRY_AFTER,
    };
    // Only a service manager shows the counts; without one the memory of a connection is saved.
    let queue = systemd::is_managed().then(|| database.queue()).transpose()?;
    let watch = move || {
        // At once: `systemctl start` is often followed by `systemctl status`, before the first check.
        report_counts(queue.as_ref());
        if let Err(why) = watchdog.run(|| report_life(queue.as_ref()))
            && !watchdog.stop.is_set()
            && !ending.is_set()
        {
            end_process(&why);
        }
    };
    Thread::spawn("watchdog", &stop, move || waker.wake(), messages, watch)
}

fn report_life(queue: Option<&Queue>) {
    systemd::notify(&[NotifyState::Watchdog]);
    // Only now, because the counts may take their time on a slow disk.
    report_counts(queue);
    crate::log::flush_suppressed();
}

/// Shows what is open in a line of `systemctl status`.
fn report_counts(queue: Option<&Queue>) {
    let Some(queue) = queue else { return };
    let status = match queue.open_events() {
        Ok((unprocessed, failed)) => format!("{unprocessed} events unprocessed, {failed} in error"),
        Err(error) => error.to_string(),
    };
    systemd::notify(&[NotifyState::Status(&status)]);
}

/// Ends the process at once, because an orderly end would wait for the thread that hangs.
fn end_process(why: &str) {
    error!("{why}");
    crate::log::flush();
    std::process::exit(1);
}

struct Watchdog {
    local_address: LocalAddress,
    traffic: Arc<Traffic>,
    waker: Waker,
    stop: Stop,
    check_every: Duration,
    timeout: Duration,
    retry_after: Duration,
}

impl Watchdog {
    /// Watches until it is stopped, and calls `on_life` after each sign of life. Errs with a text when there is none.
    fn run(&self, on_life: impl Fn()) -> Result<(), String> {
        loop {
            self.waker.wait(self.check_every);
            if self.stop.is_set() {
                return Ok(());
            }
            self.await_life()?;
            on_life();
        }
    }

    /// A check may take all of the time: it is answered in turn, and a second one would be answered later.
    fn await_life(&self) -> Result<(), String> {
        let before = self.traffic.liveness();
        let deadline = Instant::now() + self.timeout;
        loop {
            let error = match self.check(deadline.saturating_duration_since(Instant::now())) {
                Err(error) if !self.stop.is_set() => error,
                _ => return Ok(()),
            };
            if Instant::now() + self.retry_after >= deadline {
                let is_alive = is_alive(before, self.traffic.liveness(), waits_for_disk);
                return if is_alive { Ok(()) } else { Err(self.unanswered(&error)) };
            }
            self.waker.wait(self.retry_after);
        }
    }

    fn unanswered(&self, error: &io::Error) -> String {
        let timeout = self.timeout;
        format!("no answer at my own public socket for {timeout:?} ({error}); the service manager should restart me")
    }

    fn check(&self, timeout: Duration) -> io::Result<()> {
        match ask::health(&self.local_address, timeout)?.status {
            // The gate's answers where the receiver does not answer.
            502 | 504 => Err(io::Error::new(io::ErrorKind::TimedOut, "the receiver is silent")),
            _ => Ok(()),
        }
    }
}

/// The check's own connection counts as accepted once it is, and from then on it awaits the receiver, so that a program
/// that hangs does not seem alive.
fn is_alive(before: Liveness, now: Liveness, waits_for_disk: impl FnOnce() -> bool) -> bool {
    let is_accepting = now.accept_attempts != before.accept_attempts;
    let is_receiver_busy = now.answers != before.answers || !now.is_awaited;
    is_accepting && (is_receiver_busy || waits_for_disk())
}

/// True if a thread of ours is in uninterruptible sleep, which is how Linux waits for disks (`D` in proc_pid_stat(5)).
fn waits_for_disk() -> bool {
    (0..DISK_CHECKS).any(|_| {
        std::thread::sleep(DISK_CHECK_PAUSE);
        let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let states = threads.map(|thread| std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default());
        // The thread's name comes before, in parentheses.
        states.into_iter().any(|stat| stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('D')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::{self, Listener};
    use std::io::Write;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const TIMEOUT: Duration = Duration::from_millis(400);

    fn watchdog(local_address: LocalAddress) -> (Watchdog, Stop) {
        let stop = Stop::default();
        let watchdog = Watchdog {
            local_address,
            traffic: Arc::default(),
            waker: Waker::default(),
            stop: stop.clone(),
            check_every: Duration::from_millis(5),
            timeout: TIMEOUT,
            retry_after: TIMEOUT / 4,
        };
        (watchdog, stop)
    }

    fn listener() -> Listener {
        listen::bind(&"127.0.0.1:0".parse().unwrap()).unwrap()
    }

    /// Answers every check with this.
    fn answer(listener: Listener, text: &'static str, stop: Stop) {
        std::thread::spawn(move || {
            while !stop.is_set() {
                let Ok((mut stream, _)) = listener.accept() else {
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                };
                let _ = stream.write_all(text.as_bytes());
            }
        });
    }

    #[test]
    fn a_listener_that_never_answers_ends_it_in_time() {
        let listener = listener();
        let (watchdog, _) = watchdog(listener.local_address());
        let start = Instant::now();
        let error = watchdog.run(|| panic!("no answer was given")).unwrap_err();
        assert!(start.elapsed() >= TIMEOUT, "{:?}", start.elapsed());
        assert!(error.to_string().contains("restart"), "{error}");
    }

    #[test]
    fn a_socket_that_refuses_connections_is_tried_several_times() {
        let listener = listener();
        let (watchdog, _) = watchdog(listener.local_address());
        drop(listener);
        let start = Instant::now();
        assert!(watchdog.run(|| ()).is_err());
        assert!(start.elapsed() >= TIMEOUT / 2, "{:?}", start.elapsed());
    }

    #[test]
    fn any_answer_of_the_receiver_is_life() {
        for text in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 503 Service Unavailable\r\n\r\n"] {
            let listener = listener();
            let (watchdog, stop) = watchdog(listener.local_address());
            answer(listener, text, stop.clone());
            let answers = AtomicUsize::new(0);
            let on_answer = || {
                if answers.fetch_add(1, Ordering::Relaxed) == 3 {
                    stop.set();
                }
            };
            assert!(watchdog.run(on_answer).is_ok(), "{text}");
        }
    }

    #[test]
    fn without_an_answer_other_signs_of_life_count() {
        let before = Liveness { accept_attempts: 1, answers: 1, is_awaited: false };
        let silent = Liveness { accept_attempts: 2, is_awaited: true, ..before };
        let table = [
            ("no connection was accepted", before, true, false),
            ("only connections from before are served", Liveness { answers: 9, ..before }, true, false),
            ("a crowd that says nothing", Liveness { accept_attempts: 9, ..before }, false, true),
            ("a crowd that is answered", Liveness { answers: 9, ..silent }, false, true),
            ("a receiver that hangs", silent, false, false),
            ("a slow disk", silent, true, true),
        ];
        for (what, now, waits_for_disk, is_alive) in table {
            assert_eq!(super::is_alive(before, now, || waits_for_disk), is_alive, "{what}");
        }
    }

    #[test]
    fn an_answer_of_the_gate_alone_is_no_life() {
        for text in
            ["HTTP/1.1 502 Bad Gateway\r\n\r\n", "HTTP/1.1 504 Gateway Timeout\r\n\r\n", "220 smtp ready, go\r\n"]
        {
            let listener = listener();
            let (watchdog, stop) = watchdog(listener.local_address());
            answer(listener, text, stop.clone());
            assert!(watchdog.run(|| ()).is_err(), "{text}");
            stop.set();
        }
    }

    #[test]
    fn a_full_backlog_of_a_unix_socket_is_waited_for_in_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let listener = listen::bind(&listen::Listen::Unix(path.clone())).unwrap();
        rustix::net::listen(&listener, 1).unwrap();
        let local_address = listener.local_address();
        let waiting: Vec<_> = (0..8).map_while(|_| local_address.connect(Duration::from_millis(20)).ok()).collect();
        assert!(waiting.len() < 8, "the backlog is not full");
        let (watchdog, _) = watchdog(local_address);
        let start = Instant::now();
        assert!(watchdog.run(|| ()).is_err());
        assert!(start.elapsed() < 20 * TIMEOUT, "{:?}", start.elapsed());
    }
}
