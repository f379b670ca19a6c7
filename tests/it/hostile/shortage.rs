//! A shortage of descriptors or threads, or a slow disk: the server recovers by itself, or ends and
//! says why, so that the service manager can start it again.

use std::os::unix::fs::chown;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{ANSWERED_WITHIN, deliver_during};
use crate::support::{
    Connection, Home, Request, allow_descriptors, is_installed, needs_no_turn, patient, runner, strace_injecting,
    take_turn_nearly_alone, wait_for,
};

/// How soon the server must have recovered.
const RECOVERY: Duration = Duration::from_secs(10);

fn with_descriptors(count: &str) -> Home {
    let limit = format!("ulimit -n {count} && exec \"$0\" \"$@\"");
    Home::new().wrapped_in(&["sh", "-c", &limit])
}

#[test]
fn more_idle_connections_than_descriptors_delay_deliveries_only_briefly() {
    take_turn_nearly_alone();
    allow_descriptors(8192);
    let hookbox = with_descriptors("200").start();
    let idle: Vec<Connection> = (0..600).map(|_| hookbox.connect()).collect();
    let start = Instant::now();
    hookbox.deliver("push", "among the idle", "{}");
    println!("answered after {:?}", start.elapsed());
    assert!(start.elapsed() < patient(RECOVERY), "{:?}", start.elapsed());
    deliver_during(&hookbox, "few descriptors", || std::thread::sleep(Duration::from_secs(1)));
    drop(idle);
}

/// Lowered while it runs, below what is open already: nothing can be opened any more.
#[test]
fn deliveries_continue_once_descriptors_are_free_again() {
    let hookbox = Home::new().start();
    let limit = |count: usize| {
        let pid = hookbox.pid().to_string();
        let limit = format!("--nofile={count}:20000");
        assert!(Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap().success());
    };
    if !is_installed("prlimit", &["--version"]) {
        return;
    }
    limit(hookbox.descriptors() - 10);
    let mut waiting: Vec<Connection> = (0..50).map(|_| hookbox.connect()).collect();
    for (n, connection) in waiting.iter_mut().enumerate() {
        connection.send(&Request::github("push", &format!("d-{n}"), "{}").bytes());
    }
    hookbox.wait_for_stderr("descriptors ran out");
    let start = Instant::now();
    limit(4096);
    for connection in &mut waiting {
        assert_eq!(connection.response().status, 200);
    }
    println!("recovered after {:?}", start.elapsed());
    assert!(start.elapsed() < patient(RECOVERY), "{:?}", start.elapsed());
    let told = hookbox.stderr().matches("descriptors ran out").count();
    assert!(told < 5, "told {told} times");
}

#[test]
fn with_too_few_descriptors_the_start_is_refused_with_the_reason() {
    for count in ["12", "16", "20", "40", "80", "143"] {
        let start = Instant::now();
        with_descriptors(count).start_in_vain().refused(1, &[count, "descriptors", "LimitNOFILE="]);
        println!("{count} descriptors: {:?}", start.elapsed());
    }
    with_descriptors("144").start().deliver("push", "just enough", "{}");
}

/// A place and a copy of the program that belong to `user`, who may have so many threads. `None` where we are not root:
/// limits on threads do not bind root, and only root can become another user.
fn with_threads(user: u32, count: u32) -> Option<Home> {
    if !rustix::process::geteuid().is_root()
        || !is_installed("setpriv", &["--version"])
        || !is_installed("prlimit", &["--version"])
        || !runner().is_empty()
    {
        println!("skipped: needs root, and a program that is not emulated");
        return None;
    }
    let home = Home::new();
    home.copy_program();
    chown(home.path("."), Some(user), None).unwrap();
    let (nproc, uid) = (format!("--nproc={count}"), format!("--reuid={user}"));
    // The words that follow are the program that tests start; the copy takes its place.
    let copy = "shift; exec ./hookbox \"$@\"";
    let words = ["setpriv", &uid, "--clear-groups", "prlimit", &nproc, "sh", "-c", copy, "sh"];
    Some(home.wrapped_in(&words))
}

/// Users without a name, one for each test: the kernel counts threads by user.
const USERS: [u32; 2] = [61_873, 61_874];

#[test]
fn with_too_few_threads_the_start_fails_with_the_reason() {
    needs_no_turn();
    for count in [1, 3, 10] {
        let Some(home) = with_threads(USERS[0], count) else { return };
        let start = Instant::now();
        let output = home.start_in_vain();
        assert!(!matches!(output.code, Some(0 | 2) | None), "{count}: {output}");
        let says = ["thread", "os error 11", "receiver did not answer"].iter().any(|word| output.stderr.contains(word));
        assert!(says, "{count}: {output}");
        println!("{count} threads: {:?}: {}", start.elapsed(), output.stderr.lines().last().unwrap_or_default());
    }
}

#[test]
fn exhausted_threads_delay_no_delivery() {
    take_turn_nearly_alone();
    allow_descriptors(8192);
    let Some(home) = with_threads(USERS[1], 4096) else { return };
    let hookbox = home.start();
    // Only the user whose process it is may lower its limits where root is bound too, as in a container.
    let (user, pid) = (format!("--reuid={}", USERS[1]), hookbox.pid().to_string());
    let words = [&user, "--clear-groups", "prlimit", "--pid", &pid, "--nproc=1:1"];
    assert!(Command::new("setpriv").args(words).status().unwrap().success());
    let hostile = || {
        let mut connections: Vec<Connection> = (0..600).map(|_| hookbox.connect()).collect();
        for connection in &mut connections {
            connection.send_lossy(&Request::get("/nowhere").bytes());
        }
        connections.iter_mut().all(|connection| connection.response().status == 404)
    };
    assert!(deliver_during(&hookbox, "threads used up", hostile).0);
}

#[test]
fn a_slow_disk_delays_only_requests_that_are_stored() {
    needs_no_turn();
    let Some(home) = strace_injecting(Home::new(), "fsync,fdatasync:delay_exit=2000000:when=12+") else { return };
    let hookbox = home.start();
    let address = hookbox.address();
    wait_for("a commit that is slow", || {
        let start = Instant::now();
        hookbox.deliver("push", &format!("{:?}", start), "{}");
        (start.elapsed() > Duration::from_secs(1)).then_some(())
    });
    let rows = hookbox.stored();
    std::thread::scope(|scope| {
        let address = &address;
        let deliver =
            |n: usize| scope.spawn(move || address.send(&Request::github("push", &format!("slow-{n}"), "{}")).status);
        let senders: Vec<_> = (0..64).map(deliver).collect();
        // The gate answers by itself at once.
        let start = Instant::now();
        let mut malformed = address.connect();
        malformed.send(b"GET nowhere HTTP/1.1\r\n\r\n");
        assert_eq!(malformed.response().status, 400);
        assert!(start.elapsed() < patient(ANSWERED_WITHIN), "{:?}", start.elapsed());
        assert!(senders.into_iter().all(|sender| sender.join().unwrap() == 200));
    });
    assert_eq!(hookbox.stored(), rows + 64);
}
