//! The processes of commands: what may outlive them, who reaps them, and what they cannot see.

use std::fs;

use rustix::fs::chown;
use rustix::process::geteuid;

use super::{deliver_and_wait, only_attempt, processes_with, shell, unique_sleep, wait_for_attempts, with};
use crate::support::{Home, is_installed, runner, wait_for};

/// A user without a name, which no other test uses.
const USER: u32 = 61_871;

#[test]
fn what_a_script_sends_into_a_session_of_its_own_last_lives_on_every_time() {
    let keys = shell("setsid sh -c 'sleep 0.4; echo late >> late' >/dev/null 2>&1 &");
    let hookbox = with("command", &keys).start();
    for n in 1..=20 {
        hookbox.deliver("push", &format!("d-{n}"), "{}");
    }
    hookbox.wait_until_done();
    wait_for("all that was to live on", || (hookbox.line_count("late") == 20).then_some(()));
    assert_eq!(hookbox.query::<i64>("SELECT count(*) FROM attempts WHERE outcome = 'success'"), [20]);
}

#[test]
fn what_stays_in_the_group_of_a_script_ends_although_another_has_left_it() {
    let (stays, leaves) = (unique_sleep(86_381), unique_sleep(86_382));
    let script = format!("sleep {stays} & setsid sleep {leaves} & echo done");
    let hookbox = with("command", &shell(&script)).start();
    deliver_and_wait(&hookbox, "push", "d-1", "{}");
    assert_eq!(only_attempt(&hookbox, 1).1, "exit 0 done");
    assert_eq!((processes_with(&stays), processes_with(&leaves)), (0, 1));
    let own = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .find(|entry| fs::read_to_string(entry.path().join("cmdline")).is_ok_and(|line| line.contains(&leaves)));
    let pid = own.and_then(|entry| entry.file_name().to_str()?.parse().ok()).and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(pid.unwrap(), rustix::process::Signal::KILL).unwrap();
}

/// The children of a process, each with the letter of its state.
fn children_of(parent: i32) -> Vec<(i32, char)> {
    let child = |entry: fs::DirEntry| {
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let (_, fields) = stat.rsplit_once(") ")?;
        let (state, rest) = fields.split_once(' ')?;
        let is_child = rest.split(' ').next()?.parse() == Ok(parent);
        is_child.then_some((entry.file_name().to_str()?.parse().ok()?, state.chars().next()?))
    };
    fs::read_dir("/proc").unwrap().flatten().filter_map(child).collect()
}

#[test]
fn process_1_of_a_container_reaps_orphans_and_loses_no_exit_code() {
    let container = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
    let is_possible = geteuid().is_root() && runner().is_empty();
    if !is_possible || !is_installed(container[0], &["--pid", "--fork", "--mount-proc", "true"]) {
        println!("skipped: needs root, and a program that is not emulated");
        return;
    }
    let script = "setsid sleep 0.3 & sleep 0.05; exit $((HOOKBOX_EVENT_ID % 2))";
    let keys = format!("{}\nattempts = 1\nconcurrency = 4", shell(script));
    let hookbox = with("command", &keys).wrapped_in(&container).start();
    let [(init, _)] = children_of(hookbox.pid().as_raw_nonzero().get())[..] else { panic!("no child of unshare") };
    for n in 1..=20 {
        hookbox.deliver("push", &format!("d-{n}"), "{}");
    }
    hookbox.wait_until_done();
    let outcomes = "SELECT event_id || ' ' || detail FROM attempts ORDER BY event_id";
    let expected: Vec<String> = (1..=20).map(|n| format!("{n} exit {}", n % 2)).collect();
    assert_eq!(hookbox.query::<String>(outcomes), expected);
    wait_for("every orphan to be reaped", || children_of(init).is_empty().then_some(()));
}

/// Runs the program as a user without rights, even if the tests run as root. `None` if that cannot be arranged.
fn as_a_user(home: Home) -> Option<Home> {
    let home = home.without_env("HOOKBOX_DUMPABLE");
    if !geteuid().is_root() {
        return Some(home);
    }
    if !is_installed("setpriv", &["--version"]) || !runner().is_empty() {
        println!("skipped: needs setpriv, and a program that is not emulated");
        return None;
    }
    home.copy_program();
    chown(home.path("."), Some(rustix::fs::Uid::from_raw(USER)), None).unwrap();
    let become_it = "shift; exec ./hookbox \"$@\"";
    let user = format!("--reuid={USER}");
    Some(home.wrapped_in(&["setpriv", &user, "--clear-groups", "sh", "-c", become_it, "sh"]))
}

#[test]
fn a_command_cannot_read_the_environment_the_memory_or_the_descriptors_of_hookbox() {
    let script = "cat /proc/$PPID/environ /proc/$PPID/maps; ls /proc/$PPID/fd; exit 0";
    let Some(home) = as_a_user(with("command", &shell(script))) else { return };
    let hookbox = home.env("API_TOKEN", "hush-hush").start();
    deliver_and_wait(&hookbox, "push", "d-1", "{}");
    let (outcome, detail) = only_attempt(&hookbox, 1);
    assert_eq!((outcome.as_str(), detail.matches("ermission denied").count()), ("success", 3), "{detail}");
    assert!(!detail.contains("hush-hush"), "{detail}");
}

#[test]
fn when_memory_runs_out_a_command_ends_before_hookbox() {
    let script = "sleep 0.2; cat /proc/self/oom_score_adj /proc/$PPID/oom_score_adj";
    let hookbox = with("command", &shell(script)).start();
    deliver_and_wait(&hookbox, "push", "d-1", "{}");
    let ours = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    assert_eq!(only_attempt(&hookbox, 1).1, format!("exit 0 500\n{}", ours.trim()));
}

#[test]
fn a_command_that_leaves_nothing_behind_is_over_when_it_ends() {
    let hookbox = with("command", &format!("{}\nattempts = 1", shell("true"))).start();
    hookbox.deliver("push", "d-1", "{}");
    let attempts = wait_for_attempts(&hookbox, 1, "it", 1);
    assert!(attempts[0]["duration_ms"].as_i64().unwrap() < 2000, "it waited for nothing: {attempts:?}");
}
