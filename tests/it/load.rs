//! Many senders at once, and the system calls of the program. Nothing here asserts a speed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::support::{
    Address, Call, Home, Request, SOURCE, allow_descriptors, strace, take_turn_nearly_alone, wait_for,
};

/// `senders` at once, each with `each` deliveries on new connections. How many were acknowledged.
fn deliver(address: &Address, senders: usize, each: usize) -> usize {
    let body = format!(r#"{{"text":"{}"}}"#, "x".repeat(500));
    std::thread::scope(|scope| {
        let deliver = |sender: usize| {
            let body = &body;
            move || {
                let send = |n| address.send(&Request::github("push", &format!("id-{sender:03}-{n:03}"), body));
                (0..each).filter(|&n| send(n).status == 200).count()
            }
        };
        let threads: Vec<_> = (0..senders).map(|sender| scope.spawn(deliver(sender))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    })
}

#[test]
fn every_acknowledged_delivery_of_64_senders_is_a_row() {
    let hookbox = Home::new().start();
    assert_eq!(deliver(&hookbox.address(), 64, 10), 640);
    assert_eq!(hookbox.stored(), 640);
    hookbox.wait_until_done();
    assert_eq!(hookbox.stop().1.text().matches("Handling event").count(), 640);
}

#[test]
fn every_200_to_64_senders_follows_its_fsync_and_fsyncs_are_shared() {
    let Some(home) = strace(Home::new()) else { return };
    let hookbox = home.start();
    let deliveries = deliver(&hookbox.address(), 64, 4);
    assert_eq!(deliveries, 256);
    let (home, _) = hookbox.stop();
    let trace = home.path("trace");
    let ended = || std::fs::read_to_string(&trace).is_ok_and(|text| text.trim_end().ends_with("+++"));
    wait_for("strace to end", || ended().then_some(()));

    let calls = Call::read_all(&trace);
    let syncs = calls.iter().filter(|call| call.is_sync()).count();
    assert!(syncs < deliveries, "{syncs} fsyncs for {deliveries} deliveries");
    assert_eq!(answers_before_their_sync(&calls, deliveries), [] as [&str; 0]);
}

/// Follows each delivery through the calls: its id in a request read from a socket, in a page written to a file, a
/// sync of that file, and the 200 written to that socket. The ids whose 200 came before the sync.
fn answers_before_their_sync(calls: &[Call], deliveries: usize) -> Vec<&str> {
    let mut written: HashMap<&str, (usize, &str)> = HashMap::new();
    let mut synced: HashMap<&str, usize> = HashMap::new();
    let mut asked: HashMap<&str, &str> = HashMap::new();
    let mut answered: HashMap<&str, usize> = HashMap::new();
    for call in calls {
        if call.is_file_write() {
            for id in ids_in(&call.text) {
                written.entry(id).or_insert((call.ended, &call.fd));
            }
        } else if call.is_sync() {
            for (&id, &(ended, fd)) in &written {
                if fd == call.fd && ended < call.began {
                    synced.entry(id).or_insert(call.ended);
                }
            }
        } else if call.is_read() {
            if let Some(id) = ids_in(&call.text).next() {
                asked.insert(&call.fd, id);
            }
        } else if call.text.contains("HTTP/1.1 200")
            && let Some(&id) = asked.get(call.fd.as_str())
        {
            answered.entry(id).or_insert(call.began);
        }
    }
    assert_eq!(answered.len(), deliveries, "the trace shows every delivery and its answer");
    let too_early = answered.into_iter().filter(|(id, began)| synced.get(id).is_none_or(|ended| ended >= began));
    too_early.map(|(id, _)| id).collect()
}

/// Each `id-000-000` in the text.
fn ids_in(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("id-").filter_map(|(at, _)| text.get(at..at + 10)).filter(|id| {
        let digits = |part: Option<&str>| part.is_some_and(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
        digits(id.get(3..6)) && id.get(6..7) == Some("-") && digits(id.get(7..10))
    })
}

#[test]
fn every_200_to_one_sender_follows_an_fsync_of_its_own() {
    let Some(home) = strace(Home::new()) else { return };
    let hookbox = home.start();
    assert_eq!(deliver(&hookbox.address(), 1, 5), 5);
    let (home, _) = hookbox.stop();
    let trace = home.path("trace");
    wait_for("strace to end", || std::fs::read_to_string(&trace).ok()?.trim_end().ends_with("+++").then_some(()));
    assert_eq!(answers_before_their_sync(&Call::read_all(&trace), 5), [] as [&str; 0]);
}

#[test]
fn a_thousand_connections_opened_at_once_are_all_answered() {
    allow_descriptors(4096);
    let hookbox = Home::new().start();
    let mut connections: Vec<_> = (0..1000)
        .map(|n| {
            let mut connection = hookbox.connect();
            connection.send(&Request::github("push", &format!("d-{n}"), "{}").bytes());
            connection
        })
        .collect();
    for connection in &mut connections {
        assert_eq!(connection.response().status, 200);
    }
    assert_eq!(hookbox.stored(), 1000);
}

#[test]
fn sixty_four_kept_connections_are_all_answered() {
    let hookbox = Home::new().start();
    let mut connections: Vec<_> = (0..64).map(|_| hookbox.connect()).collect();
    for round in 0..3 {
        for (n, connection) in connections.iter_mut().enumerate() {
            connection.send(&Request::github("push", &format!("d-{round}-{n}"), "{}").bytes());
        }
        for connection in &mut connections {
            assert_eq!(connection.response().status, 200);
        }
    }
    assert_eq!(hookbox.stored(), 192);
}

#[test]
fn more_unfinished_senders_than_places_delay_no_delivery() {
    take_turn_nearly_alone();
    allow_descriptors(4096);
    let hookbox = Home::new().start();
    let half = Request::github("push", "half", "{}").head();
    let mut unfinished: Vec<_> = (0..1000).map(|_| hookbox.connect()).collect();
    for connection in &mut unfinished {
        connection.send_lossy(&half[..half.len() / 2]);
    }
    let start = Instant::now();
    for n in 0..20 {
        hookbox.deliver("push", &format!("d-{n}"), "{}");
        for connection in &mut unfinished[n * 50..(n + 1) * 50] {
            connection.send_lossy(b"x");
        }
    }
    // Not a speed: the unfinished ones end after 10 s, and no delivery may have waited for that.
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    assert_eq!(hookbox.stored(), 20);
}

#[test]
fn many_large_bodies_at_once_are_stored_or_refused_with_503() {
    let hookbox = Home::new().start();
    let body = format!(r#"{{"text":"{}"}}"#, "x".repeat(8 << 20));
    let request = Request::github("push", "", &body);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let send = |n: usize| {
            let request = request.clone().with("X-GitHub-Delivery", &format!("d-{n}"));
            let address = hookbox.address();
            scope.spawn(move || address.send(&request).status)
        };
        let senders: Vec<_> = (0..12).map(send).collect();
        senders.into_iter().map(|sender| sender.join().unwrap()).collect()
    });
    assert!(statuses.iter().all(|status| matches!(status, 200 | 503)), "{statuses:?}");
    let acknowledged = statuses.iter().filter(|&&status| status == 200).count();
    assert!(acknowledged > 0, "{statuses:?}");
    assert_eq!(hookbox.stored(), acknowledged as i64);
    hookbox.assert_alive();
}

#[test]
fn the_wal_stays_short_however_much_is_delivered() {
    for actions in ["[actions]\n", "[actions.print]\nkind = \"log\"\non = [\"*\"]\n"] {
        let hookbox = Home::with_config(&format!("{actions}{SOURCE}")).start();
        let body = format!(r#"{{"text":"{}"}}"#, "x".repeat(500_000));
        let mut longest = 0;
        for n in 0..160 {
            hookbox.deliver("push", &format!("d-{n}"), &body);
            longest = longest.max(std::fs::metadata(hookbox.path("webhooks.db-wal")).unwrap().len());
        }
        // 80 MB were written, and all of it went through the WAL.
        assert!(longest < 40 << 20, "{longest}");
    }
}
