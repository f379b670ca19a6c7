//! `kill -9` between any two system calls of a lone delivery, from its arrival to its end.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::rounds;
use crate::support::{
    Home, Hookbox, Random, Request, SOURCE, Signal, Stub, Tracer, can_trace, needs_no_turn, wait_for,
};

/// What is seen from outside of the process, or waits for that. Between two others nothing changes that a kill could leave.
const CALLS: &str = "pwrite64,fsync,fdatasync,ftruncate,openat,?unlink,unlinkat,write,writev,sendto,sendmsg,recvfrom,\
    connect,?accept,accept4,clone,clone3,?vfork,kill,wait4,waitid";

/// One action of each kind that is here.
const ACTIONS: [&str; 4] = ["log", "http", "slack", "command"];

/// How many are tried at once: most of the time each waits.
const AT_ONCE: usize = 6;

/// Before the n-th call of this name by this thread.
#[derive(Debug)]
struct Step {
    thread: String,
    call: String,
    nth: usize,
}

#[test]
fn a_lone_delivery_is_stored_and_done_once_after_a_kill_between_any_two_system_calls() {
    if !can_trace() {
        return;
    }
    let mut steps = all_steps();
    let count = steps.len();
    shuffle(&mut steps);
    steps.truncate(usize::try_from(rounds(24)).unwrap());
    let (tried, killed) = (steps.len(), AtomicUsize::new(0));
    let steps = Mutex::new(steps);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                needs_no_turn();
                let next = || steps.lock().unwrap().pop();
                while let Some(step) = next() {
                    killed.fetch_add(usize::from(kill_before(&step)), Ordering::SeqCst);
                }
            });
        }
    });
    let killed = killed.into_inner();
    println!("{count} steps, {tried} tried, {killed} kills");
    // The order of the threads differs from run to run, and with it what each of them still has to do: about a quarter of
    // the steps does not come again.
    assert!(killed * 2 >= tried, "only {killed} of {tried} steps came");
}

fn shuffle<T>(items: &mut [T]) {
    let mut random = Random::new();
    for at in (1..items.len()).rev() {
        items.swap(at, random.below(at + 1));
    }
}

/// All steps of a delivery that nothing interrupts.
fn all_steps() -> Vec<Step> {
    let stub = Stub::http();
    let hookbox = home(&stub).start();
    let threads = threads(&hookbox);
    let trace = hookbox.path("trace");
    let calls = format!("trace={CALLS}");
    let tracer = Tracer::attach(pid(&hookbox), &["-f", "-e", &calls, "-o", &trace.display().to_string()]);
    assert!(deliver(&hookbox));
    wait_for("the end of the delivery", || is_done(&hookbox).then_some(()));
    drop(tracer);
    let mut counts: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for line in std::fs::read_to_string(trace).unwrap().lines() {
        let Some((thread, call)) = line.split_once('(').and_then(|(begin, _)| begin.split_once(' ')) else { continue };
        let (name, call) = (thread.parse().ok().and_then(|thread: u32| threads.get(&thread)), call.trim());
        // Neither a signal nor the end of a call that another thread has interrupted in the trace.
        if let (Some(name), true) = (name, CALLS.contains(call)) {
            *counts.entry((name, call.to_owned())).or_default() += 1;
        }
    }
    let steps = counts.into_iter().flat_map(|((thread, call), count)| {
        (1..=count).map(move |nth| Step { thread: thread.to_owned(), call: call.clone(), nth })
    });
    steps.collect()
}

/// Delivers, kills the program before that call, and starts it again. False if the call did not come, and the program was
/// killed when all was done.
fn kill_before(step: &Step) -> bool {
    let stub = Stub::http();
    let hookbox = home(&stub).start();
    let thread = threads(&hookbox).into_iter().find(|(_, name)| *name == step.thread).unwrap().0;
    let inject = format!("inject={}:signal=KILL:when={}", step.call, step.nth);
    let tracer = Tracer::attach(thread, &["-e", &inject, "-o", "/dev/null"]);
    let is_acknowledged = deliver(&hookbox);
    let has_ended = || is_zombie(pid(&hookbox));
    let was_killed = wait_for("the kill, or the end", || match has_ended() {
        true => Some(true),
        false => is_done(&hookbox).then_some(false),
    });
    hookbox.signal(Signal::KILL);
    drop(tracer);
    let (home, first) = hookbox.wait();

    let found = Found::in_copy_of(&home);
    let context = format!("{step:?}, acknowledged: {is_acknowledged}, {found:?}");
    assert!(found.events <= 1 && (!is_acknowledged || found.events == 1), "{context}");
    let hookbox = home.start();
    // The provider's retry.
    hookbox.deliver("push", "d-1", "{}");
    hookbox.wait_until_done();
    assert_eq!(hookbox.query::<String>("SELECT status FROM webhook_events"), ["processed"], "{context}");
    assert_eq!(hookbox.query::<i64>("SELECT count(*) FROM unrouted"), [0], "{context}");
    let successes = "SELECT action FROM attempts WHERE outcome = 'success' ORDER BY action";
    assert_eq!(hookbox.query::<String>(successes), ["command", "http", "log", "slack"], "{context}");
    let (home, second) = hookbox.stop();
    home.assert_sound();
    for action in ACTIONS {
        let runs = match action {
            "log" => (first.text() + &second.text()).matches("(delivery d-1)").count(),
            "command" => home.line_count("ran"),
            _ => stub.received().iter().filter(|request| request.target == format!("/{action}")).count(),
        };
        let most = if found.succeeded.iter().any(|name| name == action) { 1 } else { 2 };
        assert!((1..=most).contains(&runs), "{action} ran {runs} times: {context}");
    }
    was_killed
}

fn home(stub: &Stub) -> Home {
    let retry = "on = [\"*\"]\nbackoff = \"100ms\"\nbackoff_max = \"100ms\"\n";
    let keys = |action: &str| match action {
        "log" => "on = [\"*\"]\n".to_owned(),
        "command" => format!("run = [\"sh\", \"-c\", \"echo >> ran\"]\n{retry}"),
        _ => format!("url = \"{}\"\n{retry}", stub.url(&format!("/{action}"))),
    };
    let actions = ACTIONS.map(|kind| format!("[actions.{kind}]\nkind = \"{kind}\"\n{}", keys(kind)));
    Home::with_config(&format!("poll_interval = \"100ms\"\n{SOURCE}{}", actions.concat()))
}

/// Whether it was acknowledged.
fn deliver(hookbox: &Hookbox) -> bool {
    let Ok(mut connection) = hookbox.address().try_connect() else { return false };
    connection.send_lossy(&Request::github("push", "d-1", "{}").bytes());
    connection.try_response().is_ok_and(|response| response.status == 200)
}

fn pid(hookbox: &Hookbox) -> u32 {
    hookbox.pid().as_raw_nonzero().get().unsigned_abs()
}

/// The threads that have a name of their own.
fn threads(hookbox: &Hookbox) -> HashMap<u32, String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", pid(hookbox))).unwrap().flatten();
    let names = tasks.map(|task| {
        let name = std::fs::read_to_string(task.path().join("comm")).unwrap().trim().to_owned();
        (task.file_name().to_string_lossy().parse().unwrap(), name)
    });
    names.filter(|(_, name)| name != "hookbox").collect()
}

fn is_zombie(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with('Z'))
}

/// What is in the database.
#[derive(Debug, Default)]
struct Found {
    events: i64,
    done: i64,
    succeeded: Vec<String>,
}

impl Found {
    /// In a copy, because a connection to the database itself would tidy up after the program.
    fn in_copy_of(home: &Home) -> Found {
        Found::try_in_copy_of(home).unwrap()
    }

    fn try_in_copy_of(home: &Home) -> rusqlite::Result<Found> {
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("copy.db");
        let from = |name: &str, to: &Path| drop(std::fs::copy(home.path(name), to));
        from("webhooks.db", &copy);
        from("webhooks.db-wal", &directory.path().join("copy.db-wal"));
        let db = rusqlite::Connection::open(copy)?;
        let count = |sql: &str| db.query_row(sql, [], |row| row.get(0));
        let mut statement = db.prepare("SELECT action FROM jobs WHERE state = 'succeeded'")?;
        let succeeded = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        Ok(Found {
            events: count("SELECT count(*) FROM webhook_events")?,
            done: count("SELECT count(*) FROM webhook_events WHERE status = 'processed'")?,
            succeeded,
        })
    }
}

/// While the program runs, a copy may be of two moments, and useless.
fn is_done(hookbox: &Hookbox) -> bool {
    Found::try_in_copy_of(hookbox).is_ok_and(|found| found.done == 1)
}
