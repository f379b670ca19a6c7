//! Asks at the program's own public socket whether anybody is in. Whatever it is that hangs, a thread or the way to it,
//! senders would get no answer either, and only a restart helps.
//!
//! It is about life, not about health: any answer of the receiver's will do. A full disk is no reason to restart.

use std::fmt;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use crate::listen::Door;
use crate::stop::{Bell, Stop};

/// Each question wakes half a dozen threads once; at this pace that is less than one wake-up a second.
const ASK_EVERY: Duration = Duration::from_secs(10);

/// How long there may be no answer. A slow card or another program's lock delays one by a few seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// After a question that was refused or cut off, the next one; so that there are at least three before it ends badly.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(3);

const QUESTION: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: watchdog\r\nConnection: close\r\n\r\n";

/// The length of `HTTP/1.1 200`.
const STATUS_BYTES: usize = 12;

/// The watchdog thread's all.
pub struct Watchdog {
    door: Door,
    bell: Bell,
    stop: Stop,
    ask_every: Duration,
    patience: Duration,
    ask_again_after: Duration,
}

/// There was no answer for too long, and what the last attempt met with.
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
    /// Asks at `door`. To end it, set `stop` and ring `bell`.
    ///
    /// `limit` is how long the service manager waits for a sign of life, where it does: it gets at least two in that time.
    pub fn new(door: Door, bell: Bell, stop: Stop, limit: Option<Duration>) -> Watchdog {
        let ask_every = limit.map_or(ASK_EVERY, |limit| ASK_EVERY.min(limit / 2));
        Watchdog { door, bell, stop, ask_every, patience: PATIENCE, ask_again_after: ASK_AGAIN_AFTER }
    }

    /// Watches until it is stopped, and calls `on_answer` after each answer. Errs when there is none.
    pub fn run(&self, on_answer: impl Fn()) -> Result<(), Unanswered> {
        loop {
            self.bell.wait(self.ask_every);
            if self.stop.is_set() {
                return Ok(());
            }
            self.await_answer()?;
            on_answer();
        }
    }

    /// One question may wait as long as there is patience: it is answered in turn, and a second one later than it.
    fn await_answer(&self) -> Result<(), Unanswered> {
        let deadline = Instant::now() + self.patience;
        loop {
            match self.ask(deadline.saturating_duration_since(Instant::now())) {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() + self.ask_again_after >= deadline => {
                    return Err(Unanswered(self.patience, error));
                }
                Err(_) => self.bell.wait(self.ask_again_after),
            }
            if self.stop.is_set() {
                return Ok(());
            }
        }
    }

    fn ask(&self, timeout: Duration) -> io::Result<()> {
        let mut connection = self.door.connect(timeout)?;
        connection.write_all(QUESTION)?;
        let mut status = [0; STATUS_BYTES];
        connection.read_exact(&mut status)?;
        judge(&status)
    }
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

    fn watchdog(door: Door) -> (Watchdog, Stop) {
        let stop = Stop::default();
        let (bell, ask_every, ask_again_after) = (Bell::default(), Duration::from_millis(5), PATIENCE / 4);
        (Watchdog { door, bell, stop: stop.clone(), ask_every, patience: PATIENCE, ask_again_after }, stop)
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
        let (watchdog, _) = watchdog(listener.door().unwrap());
        let start = Instant::now();
        let error = watchdog.run(|| panic!("no answer was given")).unwrap_err();
        assert!(start.elapsed() >= PATIENCE, "{:?}", start.elapsed());
        assert!(error.to_string().contains("restart"), "{error}");
    }

    #[test]
    fn a_door_that_is_shut_is_tried_several_times() {
        let listener = listener();
        let (watchdog, _) = watchdog(listener.door().unwrap());
        drop(listener);
        let start = Instant::now();
        assert!(watchdog.run(|| ()).is_err());
        assert!(start.elapsed() >= PATIENCE / 2, "{:?}", start.elapsed());
    }

    #[test]
    fn any_answer_of_the_receiver_is_life() {
        for text in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 503 Service Unavailable\r\n\r\n"] {
            let listener = listener();
            let (watchdog, stop) = watchdog(listener.door().unwrap());
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
    fn what_the_gate_says_in_the_receivers_place_is_no_life() {
        for text in
            ["HTTP/1.1 502 Bad Gateway\r\n\r\n", "HTTP/1.1 504 Gateway Timeout\r\n\r\n", "220 smtp ready, go\r\n"]
        {
            let listener = listener();
            let (watchdog, stop) = watchdog(listener.door().unwrap());
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
        let door = listener.door().unwrap();
        let waiting: Vec<_> = (0..8).map_while(|_| door.connect(Duration::from_millis(20)).ok()).collect();
        assert!(waiting.len() < 8, "the backlog is not full");
        let (watchdog, _) = watchdog(door);
        let start = Instant::now();
        assert!(watchdog.run(|| ()).is_err());
        assert!(start.elapsed() < 20 * PATIENCE, "{:?}", start.elapsed());
    }
}
