//! A bad line between a receiver and its engine: slow, stalled, and cut anywhere, also in the middle of a message.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::Random;

/// Of so many blocks one is cut in its middle, another is lost with the connection, and a third comes late.
const ONE_OF: usize = 60;

/// Of so many late ones one comes later than a receiver waits for an answer of NATS.
const TOO_LATE_ONE_OF: usize = 10;

const LATE: Duration = Duration::from_millis(200);
const TOO_LATE: Duration = Duration::from_millis(3500);

/// The way to one engine for one receiver.
pub struct BadLine {
    pub port: u16,
    counts: Arc<Counts>,
}

/// What happened on it.
#[derive(Debug, Default)]
struct Counts {
    cut: AtomicUsize,
    lost: AtomicUsize,
    late: AtomicUsize,
}

impl BadLine {
    pub fn to(port: u16, seed: u64) -> BadLine {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let line = BadLine { port: listener.local_addr().unwrap().port(), counts: Arc::default() };
        let (counts, mut random) = (Arc::clone(&line.counts), Random::from_seed(seed));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // While the engine is down the connection is closed at once.
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let (counts, random) = (Arc::clone(&counts), Random::from_seed(random.next()));
                    thread::spawn(move || pass(from, to, random, &counts));
                }
            }
        });
        line
    }

    /// Everything that can happen has happened.
    #[track_caller]
    pub fn assert_bad(&self) {
        let Counts { cut, lost, late } = &*self.counts;
        assert!([cut, lost, late].iter().all(|count| count.load(Ordering::SeqCst) > 0), "{:?}", self.counts);
        println!("{:?}", self.counts);
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, mut random: Random, counts: &Counts) {
    let mut block = [0; 4096];
    while let Ok(bytes @ 1..) = from.read(&mut block) {
        thread::sleep(Duration::from_micros(random.below(3000) as u64));
        match random.below(ONE_OF) {
            0 => {
                counts.cut.fetch_add(1, Ordering::SeqCst);
                let _ = to.write_all(&block[..random.below(bytes)]);
                break;
            }
            1 => {
                counts.lost.fetch_add(1, Ordering::SeqCst);
                break;
            }
            2 => {
                counts.late.fetch_add(1, Ordering::SeqCst);
                thread::sleep(if random.below(TOO_LATE_ONE_OF) == 0 { TOO_LATE } else { LATE });
            }
            _ => {}
        }
        if to.write_all(&block[..bytes]).is_err() {
            break;
        }
    }
    let _ = [from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both)];
}
