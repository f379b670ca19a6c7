//! The log: its levels and forms, and that untrusted clients can neither fill nor forge it.

use std::time::Duration;

use crate::support::{Home, Hookbox, Request, SOURCE, Signal, needs_no_turn, wait_longer_for};

/// Summaries are written every half minute, by a thread that wakes every ten seconds.
const SUMMARY_DEADLINE: Duration = Duration::from_secs(120);

/// The words before the counts in a summary.
const SUMMARY: &str = "similar lines suppressed: ";

fn lines_with(text: &str, words: &str) -> usize {
    text.lines().filter(|line| line.contains(words)).count()
}

fn forged(id: &str) -> Request {
    Request::github("push", id, "{}").with("X-Hub-Signature-256", &format!("sha256={}", "0".repeat(64)))
}

/// Sends a request this many times, one after the other on one connection.
#[track_caller]
fn flood(hookbox: &Hookbox, request: &Request, times: usize, status: u16) {
    let mut connection = hookbox.connect();
    for _ in 0..times {
        connection.send(&request.bytes());
        assert_eq!(connection.response().status, status);
    }
}

#[test]
fn five_thousand_rejections_are_a_few_lines_and_a_count() {
    let hookbox = Home::with_config(SOURCE).start();
    flood(&hookbox, &forged("flood"), 5000, 401);
    flood(&hookbox, &Request::new("POST", "/webhooks/nobody"), 20, 404);
    hookbox.deliver("push", "genuine", "{}");
    let (_, output) = hookbox.stop();
    let log = output.stderr;
    let summaries: Vec<&str> = log.lines().filter(|line| line.contains(SUMMARY)).collect();
    // A machine that is slow enough takes more than one interval.
    let counted = |what: &str| -> usize {
        let counts = summaries.iter().filter_map(|line| line.split(SUMMARY).nth(1));
        let kinds = counts.flat_map(|counts| counts.split(", ")).filter_map(|kind| kind.split_once(" x "));
        kinds.filter(|(_, kind)| *kind == what).map(|(count, _)| count.parse::<usize>().unwrap()).sum()
    };
    let in_full = lines_with(&log, "rejected /webhooks/github from 127.0.0.1: the signature does not match");
    assert!((5..=20).contains(&in_full), "{log}");
    assert_eq!(in_full + counted("github: signature wrong"), 5000, "{log}");
    let unknown = lines_with(&log, "rejected /webhooks/nobody from 127.0.0.1: no such source");
    assert_eq!((unknown, unknown + counted("no such source")), (5, 20), "{log}");
    assert_eq!(lines_with(&log, "stored event"), 1);
    assert!(log.lines().count() < 60, "{log}");
}

#[test]
fn suppressed_lines_are_summarised_while_serving() {
    needs_no_turn();
    let hookbox = Home::with_config(SOURCE).start();
    flood(&hookbox, &forged("flood"), 100, 401);
    wait_longer_for("a summary", SUMMARY_DEADLINE, || {
        hookbox.stderr().contains("95 x github: signature wrong").then_some(())
    });
}

#[test]
fn unsigned_handshakes_are_rate_limited() {
    let config = "[sources.events]\nprovider = \"cloudevents\"\nverify = \"none\"\nallowed_origins = \"a.example\"\n";
    let hookbox = Home::with_config(config).start();
    let handshake = Request::new("OPTIONS", "/webhooks/events").header("WebHook-Request-Origin", "a.example");
    flood(&hookbox, &handshake, 50, 200);
    let (_, output) = hookbox.stop();
    assert_eq!(lines_with(&output.stderr, "answered a handshake at"), 5, "{output}");
    assert!(output.stderr.contains("45 x events: handshake"), "{output}");
}

#[test]
fn repeated_deliveries_are_rate_limited() {
    let hookbox = Home::with_config(SOURCE).start();
    flood(&hookbox, &Request::github("push", "again", "{}"), 51, 200);
    let (_, output) = hookbox.stop();
    assert_eq!(lines_with(&output.stderr, "came again"), 5, "{output}");
    assert!(output.stderr.contains("45 x github: known delivery"), "{output}");
}

#[test]
fn unverified_deliveries_are_rate_limited() {
    let hookbox = Home::with_config("[sources.bell]\nprovider = \"token\"\nverify = \"none\"\n").start();
    flood(
        &hookbox,
        &Request::new("POST", "/webhooks/bell").body("{}").header("Content-Type", "application/json"),
        50,
        200,
    );
    hookbox.wait_until_done();
    let (home, output) = hookbox.stop();
    assert_eq!((home.stored(), lines_with(&output.stderr, "stored event")), (50, 5), "{output}");
    assert!(output.stderr.contains("45 x bell: stored unverified"), "{output}");
}

#[test]
fn requests_refused_by_the_gate_are_logged_and_rate_limited() {
    let hookbox = Home::with_config(&format!("max_body = \"1MiB\"\n{SOURCE}")).start();
    for _ in 0..12 {
        let mut connection = hookbox.connect();
        connection.send_lossy(b"POST /webhooks/github HTTP/1.1\r\nHost: h\r\nContent-Length: 1048577\r\n\r\n");
        assert_eq!(connection.response().status, 413);
    }
    let (_, output) = hookbox.stop();
    let line = "rejected /webhooks/github from 127.0.0.1: body too large: larger than max_body (Content-Length)";
    assert_eq!(lines_with(&output.stderr, line), 5, "{output}");
    assert!(output.stderr.contains("7 x github: larger than max_body"), "{output}");
}

#[test]
fn a_log_record_is_one_line_with_time_and_level() {
    let bell = "[sources.bell]\nprovider = \"token\"\nverify = \"none\"\nevent = \"json:/kind\"\n";
    let hookbox = Home::with_config(&format!("{SOURCE}{bell}")).start();
    hookbox.send(&forged("one"));
    hookbox.send(&Request::new("POST", "/webhooks/a%0aINFO%20forged"));
    // An unverified client names the event here. With control characters it would be refused.
    let named = Request::new("POST", "/webhooks/bell").header("Content-Type", "application/json");
    let response = hookbox.send(&named.body("{\"kind\": \"ring\\u2028ERROR forged\\u202e\"}"));
    assert_eq!(response.status, 200);
    hookbox.wait_for_stderr("ring?ERROR forged? from bell");
    let (_, output) = hookbox.stop();
    for line in output.stderr.lines() {
        let (time, rest) = line.split_at(26);
        assert!(time.starts_with("20") && time.ends_with("+00:00 "), "{line}");
        assert!(["ERROR ", "WARN  ", "INFO  "].contains(&&rest[..6]), "{line}");
        assert!(!line.contains(|c: char| c.is_control() || ['\u{2028}', '\u{202e}'].contains(&c)), "{line:?}");
    }
}

/// Started as by systemd with the journal at standard error.
fn journaled(home: Home) -> Home {
    let tell = "JOURNAL_STREAM=$(stat -L -c %d:%i /dev/fd/2) exec \"$0\" \"$@\"";
    home.wrapped_in(&["sh", "-c", tell])
}

#[test]
fn the_journal_gets_priorities_instead_of_times() {
    let hookbox = journaled(Home::with_config(SOURCE)).start();
    hookbox.send(&forged("one"));
    hookbox.write("hookbox.toml", "listne = 1\ndatabaes = 2\n");
    hookbox.signal(Signal::HUP);
    hookbox.wait_for_stderr("databaes");
    let (home, output) = hookbox.stop();
    assert!(output.stderr.contains("<4>rejected /webhooks/github from 127.0.0.1: "), "{output}");
    assert!(output.stderr.contains("<6>stopped\n"), "{output}");
    assert_eq!(lines_with(&output.stderr, "<3>keeping the old config: "), 2, "{output}");
    assert!(output.stderr.lines().all(|line| line.starts_with('<')), "{output}");
    let refused = home.run(["check"]);
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.stderr.lines().count() == 2 && refused.stderr.lines().all(|line| line.starts_with("<3>")),
        "{refused}"
    );
}

#[test]
fn a_standard_error_other_than_the_journal_gets_no_priorities() {
    let home = Home::with_config(SOURCE).env("JOURNAL_STREAM", "8:1234567");
    let (_, output) = home.start().stop();
    assert!(output.stderr.lines().all(|line| line.starts_with("20")), "{output}");
}

#[test]
fn the_level_comes_from_the_option_then_the_variable_then_is_info() {
    let levels = |home: Home| {
        let hookbox = home.start();
        hookbox.send(&forged("one"));
        let stderr = hookbox.stop().1.stderr;
        ["INFO ", "WARN "].map(|level| stderr.contains(level))
    };
    // The tests wait for a line of the level info, so that a quieter one is seen by a command below.
    assert_eq!(levels(Home::with_config(SOURCE)), [true, true]);
    assert_eq!(levels(Home::with_config(SOURCE).env("HOOKBOX_LOG", "")), [true, true]);
    assert_eq!(levels(Home::with_config(SOURCE).env("HOOKBOX_LOG", "error").arg("--log-level=info")), [true, true]);
    let home = Home::with_config(SOURCE).env("HOOKBOX_LOG", "loud");
    home.run(["check"]).refused(2, &["HOOKBOX_LOG", "loud", "error, warn, info, debug"]);
    home.run(["check", "--log-level", "warn"]).ok();
}

#[test]
fn a_quieter_level_logs_less() {
    let home =
        Home::with_config("[sources.lab]\nprovider = \"github\"\nverify = \"none\"\n").env("HOOKBOX_LOG", "warn");
    let mut child =
        home.command().args(["--listen", "127.0.0.1:0"]).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    let mut stderr = child.stderr.take().unwrap();
    let mut said = vec![0; 4096];
    let read = std::io::Read::read(&mut stderr, &mut said).unwrap();
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    child.wait().unwrap();
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut stderr, &mut rest).unwrap();
    let text = String::from_utf8_lossy(&said[..read]).into_owned() + &rest;
    assert!(text.contains(" WARN  POST /webhooks/lab") && !text.contains(" INFO "), "{text}");
}
