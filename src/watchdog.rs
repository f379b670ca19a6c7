//! Asks at the program's own public socket whether anybody is in. Whatever it is that hangs, a thread or the way to it,
//! senders would get no answer either, and only a restart helps.
//!
//! It is about life, not about health: any answer of the receiver's will do. A full disk is no reason to restart. Nor is a
//! crowd at the local_address, in which the question does not get in while others are answered; nor a slow disk: nothing can end a
//! thread that waits for one, and whoever came after us would wait for the same.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::gate::{Liveness, Snapshot};
use crate::listen::LocalAddress;
use crate::stop::{Stop, Waker};

/// Each question wakes four threads, twice or so; at this pace that is half a wake-up a second.
const ASK_EVERY: Duration = Duration::from_secs(15);

/// How long there may be no answer. A slow card or another program's lock delays one by a few seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// After a question that was refused or cut off, the next one; so that there are at least three before it ends badly.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(3);

/// How often to look whether a thread waits for the disk, and when to look again: who writes a lot runs between two waits.
const LOOKS_AT_THREADS: usize = 20;
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(10);

const QUESTION: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: watchdog\r\nConnection: close\r\n\r\n";

/// The length of `HTTP/1.1 200`.
const STATUS_BYTES: usize = 12;

/// The watchdog thread's all.
pub struct Watchdog {
    local_address: LocalAddress,
    liveness: Arc<Liveness>,
    waker: Waker,
    stop: Stop,
    ask_every: Duration,
    patience: Duration,
    ask_again_after: Duration,
}

/// There was no sign of life for too long, and what the last attempt met with.
#[derive(Debug)]
pub struct Unanswered(Duration, io::Error);

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no answer at my own public socket for {:?} ({}); the service manager should restart me",
            self.0, self.1
        )
    }
}

impl Watchdog {
    /// Asks at `local_address`, and looks at `liveness` where there is no answer. To end it, set `stop` and ring `waker`.
    ///
    /// `limit` is how long the service manager waits for a sign of life, where it does: it gets at least two in that time.
    pub fn new(
        local_address: LocalAddress,
        liveness: Arc<Liveness>,
        waker: Waker,
        stop: Stop,
        limit: Option<Duration>,
    ) -> Watchdog {
        let ask_every = limit.map_or(ASK_EVERY, |limit| ASK_EVERY.min(limit / 2));
        Watchdog {
            local_address,
            liveness,
            waker,
            stop,
            ask_every,
            patience: PATIENCE,
            ask_again_after: ASK_AGAIN_AFTER,
        }
    }

    /// Watches until it is stopped, and calls `on_life` after each sign of life. Errs when there is none.
    pub fn run(&self, on_life: impl Fn()) -> Result<(), Unanswered> {
        loop {
            self.waker.wait(self.ask_every);
            if self.stop.is_set() {
                return Ok(());
            }
            self.await_life()?;
            on_life();
        }
    }

    /// One question may wait as long as there is patience: it is answered in turn, and a second one later than it.
    fn await_life(&self) -> Result<(), Unanswered> {
        let before = self.liveness.snapshot();
        let deadline = Instant::now() + self.patience;
        loop {
            match self.ask(deadline.saturating_duration_since(Instant::now())) {
                Ok(()) => return Ok(()),
                Err(_) if self.stop.is_set() => return Ok(()),
                Err(error) if Instant::now() + self.ask_again_after >= deadline => {
                    let is_alive = has_life(before, self.liveness.snapshot(), waits_for_disk);
                    return if is_alive { Ok(()) } else { Err(Unanswered(self.patience, error)) };
                }
                Err(_) => self.waker.wait(self.ask_again_after),
            }
            if self.stop.is_set() {
                return Ok(());
            }
        }
    }

    fn ask(&self, timeout: Duration) -> io::Result<()> {
        let mut connection = self.local_address.connect(timeout)?;
        connection.write_all(QUESTION)?;
        let mut status = [0; STATUS_BYTES];
        connection.read_exact(&mut status)?;
        judge(&status)
    }
}

/// The question itself beats once it is let in, and then somebody waits for the receiver: so nothing that hangs looks alive.
fn has_life(before: Snapshot, now: Snapshot, waits_for_disk: impl FnOnce() -> bool) -> bool {
    let is_door_open = now.accept_attempts != before.accept_attempts;
    let is_receiver_busy = now.answers != before.answers || !now.is_awaited;
    is_door_open && (is_receiver_busy || waits_for_disk())
}

/// True if a thread of ours is in uninterruptible sleep, which is how Linux waits for disks (`D` in proc_pid_stat(5)).
fn waits_for_disk() -> bool {
    (0..LOOKS_AT_THREADS).any(|_| {
        std::thread::sleep(LOOK_AGAIN_AFTER);
        let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let states = threads.map(|thread| std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default());
        // The thread's name comes before, in parentheses.
        states.into_iter().any(|stat| stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('D')))
    })
}

/// The gate answers 502 and 504 in the place of a receiver that does not.
fn judge(status: &[u8; STATUS_BYTES]) -> io::Result<()> {
    match status.strip_prefix(b"HTTP/1.1 ") {
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "not HTTP")),
        Some(b"502" | b"504") => Err(io::Error::new(io::ErrorKind::TimedOut, "the receiver is silent")),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::{self, Listener};
    use std::sync::atomic::{AtomicUsize, Ordering};

    const PATIENCE: Duration = Duration::from_millis(400);

    fn watchdog(local_address: LocalAddress) -> (Watchdog, Stop) {
        let stop = Stop::default();
        let (waker, ask_every, ask_again_after) = (Waker::default(), Duration::from_millis(5), PATIENCE / 4);
        let liveness = Arc::default();
        (
            Watchdog {
                local_address,
                liveness,
                waker,
                stop: stop.clone(),
                ask_every,
                patience: PATIENCE,
                ask_again_after,
            },
            stop,
        )
    }

    fn listener() -> Listener {
        listen::bind(&"127.0.0.1:0".parse().unwrap()).unwrap()
    }

    /// Answers every question with this.
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
        let (watchdog, _) = watchdog(listener.local_address().unwrap());
        let start = Instant::now();
        let error = watchdog.run(|| panic!("no answer was given")).unwrap_err();
        assert!(start.elapsed() >= PATIENCE, "{:?}", start.elapsed());
        assert!(error.to_string().contains("restart"), "{error}");
    }

    #[test]
    fn a_door_that_is_shut_is_tried_several_times() {
        let listener = listener();
        let (watchdog, _) = watchdog(listener.local_address().unwrap());
        drop(listener);
        let start = Instant::now();
        assert!(watchdog.run(|| ()).is_err());
        assert!(start.elapsed() >= PATIENCE / 2, "{:?}", start.elapsed());
    }

    #[test]
    fn any_answer_of_the_receiver_is_life() {
        for text in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 503 Service Unavailable\r\n\r\n"] {
            let listener = listener();
            let (watchdog, stop) = watchdog(listener.local_address().unwrap());
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
    fn what_shows_life_in_the_place_of_an_answer() {
        let before = Snapshot { accept_attempts: 1, answers: 1, is_awaited: false };
        let silent = Snapshot { accept_attempts: 2, is_awaited: true, ..before };
        let table = [
            ("nobody was let in", before, true, false),
            ("only those are served who are in", Snapshot { answers: 9, ..before }, true, false),
            ("a crowd that says nothing", Snapshot { accept_attempts: 9, ..before }, false, true),
            ("a crowd that is answered", Snapshot { answers: 9, ..silent }, false, true),
            ("a receiver that hangs", silent, false, false),
            ("a slow disk", silent, true, true),
        ];
        for (what, now, waits_for_disk, is_alive) in table {
            assert_eq!(has_life(before, now, || waits_for_disk), is_alive, "{what}");
        }
    }

    #[test]
    fn what_the_gate_says_in_the_receivers_place_is_no_life() {
        for text in
            ["HTTP/1.1 502 Bad Gateway\r\n\r\n", "HTTP/1.1 504 Gateway Timeout\r\n\r\n", "220 smtp ready, go\r\n"]
        {
            let listener = listener();
            let (watchdog, stop) = watchdog(listener.local_address().unwrap());
            answer(listener, text, stop.clone());
            assert!(watchdog.run(|| ()).is_err(), "{text}");
            stop.set();
        }
    }

    #[test]
    fn a_full_backlog_of_a_unix_socket_is_waited_for_no_longer_than_patience() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let listener = listen::bind(&listen::Listen::Unix(path.clone())).unwrap();
        rustix::net::listen(&listener, 1).unwrap();
        let local_address = listener.local_address().unwrap();
        let waiting: Vec<_> = (0..8).map_while(|_| local_address.connect(Duration::from_millis(20)).ok()).collect();
        assert!(waiting.len() < 8, "the backlog is not full");
        let (watchdog, _) = watchdog(local_address);
        let start = Instant::now();
        assert!(watchdog.run(|| ()).is_err());
        assert!(start.elapsed() < 20 * PATIENCE, "{:?}", start.elapsed());
    }
}
