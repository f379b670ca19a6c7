//! Senders that deliver until they are stopped, and the proof that what was acknowledged is stored.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::{Address, Request};

/// The body of the delivery with this id: of many sizes, with white space that a parser would lose.
pub fn body_of(id: &str) -> String {
    let number = id.bytes().fold(7_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let size = if number.is_multiple_of(16) { 20_000 } else { number % 1_000 };
    let mut body = format!("{{ \"id\":\t\"{id}\",\n \"text\" : \"");
    for at in 0..size / 8 {
        let _ = write!(body, "{:08x}", number.wrapping_mul(at + 1) % (1 << 32));
    }
    body + "\"}\r\n"
}

/// Senders that each deliver one event after the other, and sometimes one twice.
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

    /// Stops the senders. The ids that were acknowledged while the program listened.
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

/// Each of them is exactly one row with exactly the bytes that were sent.
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
