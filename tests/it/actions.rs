//! After the acknowledgement: each kind of action, and the life of its jobs.

mod claims;
mod command;
mod crash;
mod destinations;
mod forward;
mod hold;
mod http;
mod input;
mod key;
mod pause;
mod preview;
mod processes;
mod programs;
mod recipes;
pub mod reload;
pub mod replay;
mod retry;
mod slack;
mod stop;
mod success;
mod template;
mod when;

use std::time::Duration;

use serde_json::Value;

use crate::support::{Home, Hookbox, SOURCE, wait_longer_for};

/// More than the five seconds that a command has between SIGTERM and SIGKILL, on a busy machine.
pub const JOB_DEADLINE: Duration = Duration::from_secs(30);

/// The built-in source, a short poll interval, and these actions.
pub fn config(actions: &str) -> String {
    format!("poll_interval = \"100ms\"\nstop_timeout = \"1s\"\n{SOURCE}{actions}")
}

/// An action for all events, with these further keys and a short backoff.
pub fn action(name: &str, kind: &str, keys: &str) -> String {
    format!("[actions.{name}]\nkind = \"{kind}\"\non = [\"*\"]\nbackoff = \"100ms\"\nbackoff_max = \"100ms\"\n{keys}\n")
}

/// One action, `it`.
pub fn with(kind: &str, keys: &str) -> Home {
    Home::with_config(&config(&action("it", kind, keys)))
}

pub fn shell(script: &str) -> String {
    format!("run = [\"sh\", \"-c\", '''{script}''']")
}

pub fn show(home: &Home, event: i64) -> Value {
    home.run(["show", &event.to_string(), "--json"]).ok().json()
}

/// The job of an action for an event, as `hookbox show --json` prints it; null if there is none.
pub fn job(home: &Home, event: i64, action: &str) -> Value {
    let is_it = |job: &&Value| job["action"] == action;
    show(home, event)["jobs"].as_array().unwrap().iter().find(is_it).cloned().unwrap_or_default()
}

#[track_caller]
pub fn wait_for_state(home: &Home, event: i64, action: &str, state: &str) -> Value {
    let what = format!("the job of {action} for event {event} to be {state}");
    wait_longer_for(&what, JOB_DEADLINE, || Some(job(home, event, action)).filter(|job| job["state"] == state))
}

/// Waits for this many recorded attempts.
#[track_caller]
pub fn wait_for_attempts(home: &Home, event: i64, action: &str, count: usize) -> Vec<Value> {
    let what = format!("attempt {count} of {action} for event {event}");
    wait_longer_for(&what, JOB_DEADLINE, || {
        let attempts = job(home, event, action)["attempts"].as_array().cloned().unwrap_or_default();
        (attempts.len() >= count).then_some(attempts)
    })
}

/// Outcome and detail of the only attempt of action `it` for an event.
#[track_caller]
pub fn only_attempt(home: &Home, event: i64) -> (String, String) {
    let attempts = wait_for_attempts(home, event, "it", 1);
    assert_eq!(attempts.len(), 1, "{attempts:?}");
    let text = |key: &str| attempts[0][key].as_str().unwrap().to_owned();
    (text("outcome"), text("detail"))
}

pub fn status(home: &Home, event: i64) -> String {
    show(home, event)["status"].as_str().unwrap().to_owned()
}

/// Runs a command that must succeed, and gives what it printed.
#[track_caller]
pub fn done(home: &Home, command: &str) -> String {
    home.run(command.split(' ')).ok().text()
}

/// The header of `hookbox list`, and the line of the newest event.
pub fn listed(home: &Home) -> (String, String) {
    let text = done(home, "list");
    let lines: Vec<&str> = text.lines().collect();
    (lines[0].to_owned(), lines[lines.len() - 1].to_owned())
}

/// An argument of `sleep` that no other process of this machine has, to find the process by.
pub fn unique_sleep(tests_own: u32) -> String {
    format!("{tests_own}.{}", std::process::id())
}

/// How many processes have this argument.
pub fn processes_with(word: &str) -> usize {
    let command_line = |entry: std::fs::DirEntry| std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
    let has_word = |line: &Vec<u8>| line.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes());
    std::fs::read_dir("/proc").unwrap().flatten().map(command_line).filter(has_word).count()
}

/// Delivers and waits until all of it is processed or in error.
#[track_caller]
pub fn deliver_and_wait(hookbox: &Hookbox, event: &str, id: &str, body: impl AsRef<[u8]>) {
    hookbox.deliver(event, id, body);
    hookbox.wait_until_done();
}
