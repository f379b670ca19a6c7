//! Start, stop and kill.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::time::Duration;

use crate::support::{Address, Home, Hookbox, Request, SOURCE, Signal, needs_no_turn, runner, wait_for};

#[test]
fn sigterm_and_sigint_stop_the_server_with_exit_0_and_a_checkpoint() {
    for signal in [Signal::TERM, Signal::INT] {
        let hookbox = Home::new().start();
        hookbox.deliver("push", "d-1", "{}");
        hookbox.signal(signal);
        let (home, output) = hookbox.wait();
        assert_eq!(output.code, Some(0), "{output}");
        let left = home.path("webhooks.db-wal").metadata().map_or(0, |file| file.len());
        assert_eq!(left, 0, "everything is in the database itself");
        assert_eq!(home.stored(), 1);
    }
}

#[test]
fn idle_and_unfinished_senders_do_not_delay_the_stop() {
    let hookbox = Home::new().start();
    let mut kept = hookbox.connect();
    kept.send(&Request::get("/healthz").bytes());
    assert_eq!(kept.response().status, 200);
    let mut half = hookbox.connect();
    half.send(&Request::github("push", "d-1", "{}").head());
    let _silent = hookbox.connect();
    // `stop` waits for twice what is promised.
    let (_, output) = hookbox.stop();
    assert_eq!(output.code, Some(0), "{output}");
}

/// Delivers until the program is gone. The ids that were acknowledged.
fn deliver_until_it_ends(address: &Address, sender: usize) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for n in 0.. {
        let id = format!("d-{sender}-{n}");
        let Ok(mut connection) = address.try_connect() else { break };
        connection.send_lossy(&Request::github("push", &id, "{}").bytes());
        match connection.try_response() {
            Ok(response) if response.status == 200 => acknowledged.push(id),
            Ok(response) => assert_eq!(response.status, 503, "{}", response.text()),
            Err(_) => {}
        }
    }
    acknowledged
}

/// 16 senders deliver while `end` ends the program: everything that it acknowledged must be there afterwards.
#[track_caller]
fn assert_nothing_is_lost(end: impl FnOnce(Hookbox) -> Home) -> Home {
    let hookbox = Home::new().start();
    let address = hookbox.address();
    let deliver = |sender| {
        let address = address.clone();
        std::thread::spawn(move || deliver_until_it_ends(&address, sender))
    };
    let senders: Vec<_> = (0..16).map(deliver).collect();
    wait_for("deliveries to be under way", || (hookbox.stored() > 100).then_some(()));
    let home = end(hookbox);
    let acknowledged: Vec<String> = senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect();
    let stored: HashSet<String> = home.query("SELECT delivery_id FROM webhook_events").into_iter().collect();
    let lost: Vec<_> = acknowledged.iter().filter(|id| !stored.contains(*id)).collect();
    assert!(acknowledged.len() > 50 && lost.is_empty(), "of {} lost {lost:?}", acknowledged.len());
    home.assert_sound();
    home
}

#[test]
fn a_stop_under_load_loses_nothing() {
    assert_nothing_is_lost(|hookbox| {
        let (home, output) = hookbox.stop();
        assert_eq!(output.code, Some(0), "{output}");
        home
    });
}

#[test]
fn a_kill_under_load_loses_nothing_and_leaves_nothing_undone() {
    let hookbox = assert_nothing_is_lost(Hookbox::kill9).start();
    hookbox.wait_until_done();
    hookbox.assert_alive();
}

#[test]
fn a_second_server_on_one_database_is_refused_with_the_reason() {
    let hookbox = Home::new().start();
    let output = hookbox.start_in_vain();
    assert!(matches!(output.code, Some(1 | 2)), "{output}");
    assert!(output.stderr.contains("webhooks.db"), "{output}");
    hookbox.deliver("push", "d-1", "{}");
    hookbox.wait_for_stdout("(delivery d-1)");
}

#[test]
fn the_database_is_free_again_after_a_kill() {
    let mut home = Home::new();
    for n in 0..3 {
        let hookbox = home.start();
        hookbox.deliver("push", &format!("d-{n}"), "{}");
        home = hookbox.kill9();
    }
    assert_eq!(home.start().stored(), 3);
}

#[test]
fn an_address_in_use_is_refused_with_the_address() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = Home::new().listen(&address).start_in_vain();
    assert!(matches!(output.code, Some(1 | 2)), "{output}");
    assert!(output.stderr.contains(&address), "{output}");
}

fn with_socket() -> Home {
    let home = Home::new();
    let listen = format!("unix:{}", home.path("http.sock").display());
    home.listen(&listen)
}

#[test]
fn a_unix_socket_is_removed_at_the_stop() {
    let (home, _) = with_socket().start().stop();
    assert!(!home.path("http.sock").exists());
}

#[test]
fn a_unix_socket_left_by_a_kill_is_replaced() {
    let home = with_socket().start().kill9();
    assert!(home.path("http.sock").exists());
    home.start().assert_alive();
}

#[test]
fn a_unix_socket_in_use_is_left_alone() {
    let hookbox = with_socket().start();
    let output =
        hookbox.run(["--listen", &format!("unix:{}", hookbox.path("http.sock").display()), "--database", "b.db"]);
    assert!(matches!(output.code, Some(1 | 2)), "{output}");
    assert!(output.stderr.contains("http.sock"), "{output}");
    hookbox.assert_alive();
}

#[test]
fn a_file_in_the_place_of_the_unix_socket_is_left_alone() {
    let home = with_socket();
    home.write("http.sock", "precious");
    let output = home.start_in_vain();
    assert!(matches!(output.code, Some(1 | 2)), "{output}");
    assert_eq!(std::fs::read(home.path("http.sock")).unwrap(), b"precious");
}

#[test]
fn nothing_is_left_in_the_temporary_directory() {
    let (home, _) = Home::new().start().stop();
    let left: Vec<_> = std::fs::read_dir(home.path(".")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name.to_string_lossy().starts_with("webhooks.db")), "{left:?}");
}

/// By SIGSTOP, or with the virtual machine that it runs in.
#[test]
fn a_process_frozen_beyond_the_watchdogs_timeout_continues() {
    needs_no_turn();
    let hookbox = Home::new().env("WATCHDOG_USEC", "100000").start();
    let mut half = hookbox.connect();
    let request = Request::github("push", "half", "{}").bytes();
    let (beginning, rest) = request.split_at(request.len() / 2);
    half.send(beginning);
    hookbox.signal(Signal::STOP);
    let mut whole = hookbox.connect();
    whole.send(&Request::github("push", "whole", "{}").bytes());
    // Longer than a request may take, and than the watchdog waits.
    std::thread::sleep(Duration::from_secs(11));
    hookbox.signal(Signal::CONT);
    assert_eq!(whole.response().status, 200);
    half.send_lossy(rest);
    assert!(matches!(half.response().status, 200 | 408));
    hookbox.assert_alive();
}

/// The nice value of background threads.
const BACKGROUND: i32 = 10;

/// The nice value of each thread by its name: the nineteenth field of its `stat` (proc(5)).
fn niceness(hookbox: &Hookbox) -> BTreeMap<String, i32> {
    let tasks = fs::read_dir(format!("/proc/{}/task", hookbox.pid().as_raw_nonzero())).unwrap();
    let of = |task: fs::DirEntry| {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap();
        let (before, after) = stat.rsplit_once(") ").unwrap();
        let (_, name) = before.split_once(" (").unwrap();
        (name.to_owned(), after.split(' ').nth(16).unwrap().parse().unwrap())
    };
    tasks.map(|task| of(task.unwrap())).collect()
}

#[test]
fn background_threads_have_a_lower_priority_and_commands_do_not_inherit_it() {
    if !runner().is_empty() {
        return println!("skipped: the threads would be the emulator's");
    }
    let print = "[actions.print]\nkind = \"log\"\non = [\"*\"]\n";
    let run = "[actions.run]\nkind = \"command\"\nrun = [\"nice\"]\non = [\"*\"]\n";
    let hookbox = Home::with_config(&format!("{SOURCE}{print}{run}")).start();
    hookbox.deliver("push", "d-1", "{}");
    hookbox.wait_until_done();
    let niceness = niceness(&hookbox);
    let own = niceness["receiver"];
    for name in ["gate", "action run"] {
        assert_eq!(niceness[name], own, "{name}: {niceness:?}");
    }
    // A program that was itself started with this nice value has no lower priority to give.
    let is_lower = |name| niceness[name] > own || own >= BACKGROUND;
    for name in ["router", "housekeeper", "checker", "action print"] {
        assert!(is_lower(name), "{name}: {niceness:?}");
    }
    assert_eq!(hookbox.query::<String>("SELECT detail FROM attempts WHERE action = 'run'"), [format!("exit 0 {own}")]);
}

#[test]
fn background_threads_of_a_very_nice_program_do_not_get_a_higher_priority() {
    if !runner().is_empty() {
        return println!("skipped: the threads would be the emulator's");
    }
    let hookbox = Home::new().wrapped_in(&["nice", "-n", "15"]).start();
    let background = ["router", "housekeeper", "action log"];
    // A thread has its name when it begins to run, which may take long at this nice value.
    let niceness = wait_for("the threads", || {
        let niceness = niceness(&hookbox);
        background.iter().chain(&["receiver"]).all(|name| niceness.contains_key(*name)).then_some(niceness)
    });
    let own = niceness["receiver"];
    assert!(own > BACKGROUND, "{niceness:?}");
    for name in background {
        assert_eq!(niceness[name], own, "{name}: {niceness:?}");
    }
}
