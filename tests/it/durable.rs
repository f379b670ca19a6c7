//! What was acknowledged is stored, exactly once and byte for byte, whatever happens to the process, the machine, the disk,
//! the clock, or by the hand of other programs.
//!
//! `HOOKBOX_ROUNDS` is how often the program is killed, and the power cut; `HOOKBOX_SEED` repeats the choice of the moments.
//! Where a test needs root, a loop device or libfaketime and has none, it says so.

pub mod clock;
mod contention;
mod crash;
mod disk;
mod moved;
pub mod mount;
mod power;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::Connection;

use crate::support::{Address, Request};

/// From `HOOKBOX_ROUNDS`, or a few.
fn rounds(few: u64) -> u64 {
    std::env::var("HOOKBOX_ROUNDS").map_or(few, |rounds| rounds.parse().unwrap())
}

/// Small, seeded, and good enough to choose moments (xorshift64*).
struct Random(u64);

impl Random {
    /// Says its seed, for a repeat.
    fn new() -> Random {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos().into();
        let seed: u64 = std::env::var("HOOKBOX_SEED").map_or_else(|_| now(), |seed| seed.parse().unwrap());
        println!("HOOKBOX_SEED={seed}");
        Random(seed | 1 << 63)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % limit
    }
}

/// What a delivery of that id carries: of many sizes, with white space that a parser would lose.
pub fn body_of(id: &str) -> String {
    let number = id.bytes().fold(7_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let size = if number.is_multiple_of(16) { 20_000 } else { number % 1_000 };
    let mut body = format!("{{ \"id\":\t\"{id}\",\n \"text\" : \"");
    for at in 0..size / 8 {
        let _ = write!(body, "{:08x}", number.wrapping_mul(at + 1) % (1 << 32));
    }
    body + "\"}\r\n"
}

/// Senders at work, each with one delivery after the other, and sometimes one again.
pub struct Senders {
    threads: Vec<JoinHandle<Vec<String>>>,
    stop: Arc<AtomicBool>,
}

impl Senders {
    pub fn start(count: usize, name: &str, address: &Address) -> Senders {
        let stop = Arc::new(AtomicBool::new(false));
        let start = |sender: usize| {
            let (address, stop, prefix) = (address.clone(), Arc::clone(&stop), format!("{name}-{sender}"));
            std::thread::spawn(move || deliver(&address, &stop, &prefix))
        };
        Senders { threads: (0..count).map(start).collect(), stop }
    }

    /// The ids that were acknowledged, until the senders were stopped or nobody listened any more.
    pub fn acknowledged(self) -> Vec<String> {
        self.stop.store(true, Ordering::SeqCst);
        self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    }
}

fn deliver(address: &Address, stop: &AtomicBool, prefix: &str) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for n in 0.. {
        let id = format!("{prefix}-{}", n - n / 8);
        let Ok(mut connection) = address.try_connect() else { break };
        connection.send_lossy(&Request::github("push", &id, body_of(&id)).bytes());
        match connection.try_response() {
            Ok(response) if response.status == 200 => acknowledged.push(id),
            Ok(response) => assert_eq!(response.status, 503, "{}", response.text()),
            Err(_) => {}
        }
        if stop.load(Ordering::SeqCst) {
            break;
        }
    }
    acknowledged
}

/// Every one of them is a row, and only one, with exactly the bytes that were sent.
#[track_caller]
pub fn assert_stored(db: &Connection, acknowledged: &[String]) {
    let mut find =
        db.prepare("SELECT payload_json FROM webhook_events WHERE source = 'github' AND delivery_id = ?1").unwrap();
    let mut wrong = Vec::new();
    for id in acknowledged.iter().collect::<HashSet<_>>() {
        let rows = find.query_map([id], |row| row.get::<_, String>(0)).unwrap();
        let bodies: Vec<String> = rows.collect::<Result<_, _>>().unwrap();
        if bodies != [body_of(id)] {
            wrong.push(format!("{id}: {} rows", bodies.len()));
        }
    }
    assert!(wrong.is_empty(), "of {} acknowledged, {} are lost or spoilt: {wrong:?}", acknowledged.len(), wrong.len());
}

#[track_caller]
pub fn assert_sound(db: &Connection) {
    let found: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(found, "ok");
}
