//! Limits of the process that ended it, or that its own threads used up.

use crate::support::{Connection, Home, Request, SOURCE, allow_descriptors};

/// The usual soft limit on descriptors, below a hard one.
const SOFT_LIMIT: &str = "ulimit -Sn 1024 && exec \"$0\" \"$@\"";

/// A configuration with 320 workers, each of which has the database open, and during an attempt a few more files.
fn with_many_workers() -> String {
    let mut config = SOURCE.to_owned();
    for n in 0..20 {
        let action = "kind = \"http\"\nurl = \"http://127.0.0.1:9/\"\non = [\"x:y\"]\nconcurrency = 16\n";
        config.push_str(&format!("[actions.a{n}]\n{action}"));
    }
    config
}

/// Some units have such a limit (`LimitFSIZE=`), and some file systems.
#[test]
fn a_limit_on_the_size_of_a_file_killed_the_process() {
    let home = Home::new().wrapped_in(&["sh", "-c", "ulimit -f 1024 && exec \"$0\" \"$@\""]);
    let hookbox = home.start();
    let body = format!("\"{}\"", "x".repeat(100_000));
    let send = |n: i64| hookbox.send(&Request::github("push", &format!("d-{n}"), &body)).status;
    let fitting = (0..).find(|n| send(*n) != 200).unwrap();
    assert_eq!(send(fitting), 503);
    hookbox.wait_for_stderr("deliveries are refused");
    assert_eq!(hookbox.stored(), fitting);
}

#[test]
fn a_reload_made_no_room_for_the_descriptors_of_new_workers() {
    allow_descriptors(4096);
    let hookbox = Home::with_config(SOURCE).wrapped_in(&["sh", "-c", SOFT_LIMIT]).start();
    hookbox.reload(with_many_workers());
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", hookbox.pid().as_raw_nonzero())).unwrap();
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    assert!(soft.unwrap().parse::<u64>().unwrap() > 320 * 6, "{limits}");
}

#[test]
fn many_workers_used_up_the_descriptors_of_the_senders() {
    allow_descriptors(4096);
    let hookbox = Home::with_config(&with_many_workers()).wrapped_in(&["sh", "-c", SOFT_LIMIT]).start();
    let idle: Vec<Connection> = (0..600).map(|_| hookbox.connect()).collect();
    hookbox.deliver("push", "among the idle", "{}");
    assert!(!hookbox.stderr().contains("descriptors ran out"), "{} are open", hookbox.descriptors());
    drop(idle);
}
