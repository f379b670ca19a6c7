//! The watchdog ends a server that hangs, and no other.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{
    Address, Connection, Home, Hookbox, Request, Signal, allow_descriptors, needs_no_turn, strace_injecting, wait_for,
    wait_longer_for,
};

/// It sends a request every 15 s and waits 10 s for the answer.
const GIVES_UP_WITHIN: Duration = Duration::from_secs(26);

/// With room for a busy machine.
const WATCHED: Duration = Duration::from_secs(60);

/// Three times as many as there are places.
const CROWD: usize = 1600;

#[test]
fn the_watchdog_ends_a_receiver_that_hangs() {
    needs_no_turn();
    let fault = "fsync,fdatasync:delay_exit=300000000:when=12+";
    let Some(home) = strace_injecting(Home::new(), fault) else { return };
    let hookbox = home.start();
    let address = hookbox.address();
    std::thread::spawn(move || deliver_until_it_ends(&address));
    let start = Instant::now();
    let told = || hookbox.stderr().contains("no answer at my own public socket").then_some(());
    wait_longer_for("the watchdog to give up", WATCHED, told);
    println!("given up after {:?}", start.elapsed());
    hookbox.kill_tracer();
    let (_, output) = hookbox.wait();
    assert_eq!(output.code, Some(1), "{output}");
}

/// strace counts the calls of each thread separately: it takes several commits until the receiver hangs.
fn deliver_until_it_ends(address: &Address) {
    let mut asking = Vec::new();
    while let Ok(mut connection) = address.try_connect() {
        connection.send_lossy(&Request::github("push", &format!("d-{}", asking.len()), "{}").bytes());
        asking.push(connection);
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The reader of standard error may be what hangs: then lines of the log are lost, and no answer.
#[test]
fn the_watchdog_does_not_end_a_server_whose_standard_error_is_not_read() {
    needs_no_turn();
    let home = Home::new();
    let mut command = home.command();
    command.args(["--listen", "unix:s"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = Child(command.spawn().unwrap());
    let address = Address::Unix(home.path("s"));
    let mut connection = wait_for("the socket", || address.try_connect().ok());
    let start = Instant::now();
    let mut sent = 0;
    // Each stored event is a log line with its id; a pipe holds 64 KiB of them.
    while sent < 500 || start.elapsed() < GIVES_UP_WITHIN {
        connection.send(&Request::github("push", &format!("{sent}-{:x>200}", ""), "{}").bytes());
        assert_eq!(connection.response().status, 200);
        sent += 1;
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(child.0.try_wait().unwrap(), None);
}

#[test]
fn the_watchdog_does_not_end_a_server_whose_database_is_locked() {
    needs_no_turn();
    let hookbox = Home::new().start();
    let lock = hookbox.lock_database();
    // Longer than the watchdog waits, with deliveries that wait too.
    let start = Instant::now();
    while start.elapsed() < GIVES_UP_WITHIN {
        assert_eq!(hookbox.send(&Request::github("push", "locked", "{}")).status, 503);
    }
    drop(lock);
    hookbox.deliver("push", "free", "{}");
}

/// More connections than places, each with a request; while the database is locked, about thirty are answered a second.
fn crowd(hookbox: &Hookbox) -> Vec<Connection> {
    allow_descriptors(4096);
    let ask = |n| {
        let mut connection = hookbox.connect();
        connection.send_lossy(&Request::github("push", &format!("d-{n}"), "{}").bytes());
        connection
    };
    (0..CROWD).map(ask).collect()
}

#[test]
fn the_watchdog_does_not_end_a_server_that_serves_a_crowd_slowly() {
    needs_no_turn();
    let hookbox = Home::new().start();
    let lock = hookbox.lock_database();
    let crowd = crowd(&hookbox);
    // The watchdog's request waits behind them.
    std::thread::sleep(GIVES_UP_WITHIN + Duration::from_secs(4));
    drop((lock, crowd));
    hookbox.deliver("push", "after", "{}");
}

#[test]
fn a_stop_does_not_wait_for_the_watchdogs_request() {
    let hookbox = Home::new().env("WATCHDOG_USEC", "400000").start();
    let lock = hookbox.lock_database();
    let crowd = crowd(&hookbox);
    // It sends five requests a second: one waits by now, for almost ten seconds.
    std::thread::sleep(Duration::from_secs(1));
    hookbox.signal(Signal::TERM);
    let start = Instant::now();
    wait_longer_for("the listener to be closed", WATCHED, || hookbox.address().try_connect().is_err().then_some(()));
    let closed_after = start.elapsed();
    drop((lock, crowd));
    let (_, output) = hookbox.wait();
    assert_eq!(output.code, Some(0), "{output}");
    // It goes on accepting while older connections are open, for five seconds at most.
    assert!(closed_after < Duration::from_secs(8), "{closed_after:?}");
}

struct Child(std::process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
