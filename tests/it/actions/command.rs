//! `kind = "command"`: its input, its end, and that no process of it stays.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::{
    deliver_and_wait, job, only_attempt, processes_with, shell, unique_sleep, wait_for_attempts, wait_for_state, with,
};
use crate::support::{Home, patient, take_turn, wait_for};

/// The largest payload that is taken.
const LARGEST_BYTES: usize = 25 << 20;

/// Many times what a pipe holds.
const PIPES_BYTES: usize = 1 << 20;

fn payload_of(bytes: usize) -> String {
    format!("\"{}\"", "x".repeat(bytes - 2))
}

/// Outcome and detail of one run of a shell script.
fn run_once(script: &str, keys: &str, payload: impl AsRef<[u8]>) -> (String, String) {
    let hookbox = with("command", &format!("{}\nattempts = 1\n{keys}", shell(script))).start();
    hookbox.deliver("push", "d-1", payload);
    wait_for_attempts(&hookbox, 1, "it", 1);
    only_attempt(&hookbox, 1)
}

#[test]
fn a_command_gets_the_exact_payload_on_stdin_and_facts_in_its_environment() {
    let script = "cat > body; env > env; echo done";
    let hookbox = with("command", &shell(script)).start();
    let body = "{ \"b\" : 1.50,\n\"a\":\"\\u00e9 \u{e9}\" }";
    deliver_and_wait(&hookbox, "issues", "d-1", body);
    assert_eq!(only_attempt(&hookbox, 1), ("success".to_owned(), "exit 0 done".to_owned()));
    assert_eq!(std::fs::read_to_string(hookbox.path("body")).unwrap(), body);
    let env = std::fs::read_to_string(hookbox.path("env")).unwrap();
    for fact in [
        "HOOKBOX_EVENT_ID=1\n",
        "HOOKBOX_SOURCE=github\n",
        "HOOKBOX_EVENT=issues\n",
        "HOOKBOX_DELIVERY_ID=d-1\n",
        "HOOKBOX_ATTEMPT=1\n",
        "HOOKBOX_IDEMPOTENCY_KEY=",
    ] {
        assert!(env.contains(fact), "no {fact} in {env}");
    }
}

#[test]
fn the_environment_of_a_command_holds_nothing_else() {
    let hookbox = with("command", &shell("env > env")).env("API_TOKEN", "hush").env("LANG", "C").start();
    deliver_and_wait(&hookbox, "issues", "d-1", "{}");
    let env = std::fs::read_to_string(hookbox.path("env")).unwrap();
    assert!(!env.contains("hush") && !env.contains("Secret"), "{env}");
    let names: BTreeSet<&str> = env.lines().filter_map(|line| line.split('=').next()).collect();
    let ours = |name: &&&str| !name.starts_with("HOOKBOX_");
    // The shell itself sets PWD, and some set OLDPWD, SHLVL and _.
    let shells = ["PWD", "OLDPWD", "SHLVL", "_"];
    let others: Vec<&&str> = names.iter().filter(ours).filter(|name| !shells.contains(name)).collect();
    assert_eq!(others, [&"HOME", &"LANG", &"PATH", &"TMPDIR"]);
}

/// The numbers in the output of `ls -l /proc/self/fd`.
fn descriptors(listing: &str) -> BTreeSet<String> {
    let links = listing.lines().filter_map(|line| line.split_once(" -> "));
    links.filter_map(|(link, _)| link.split(' ').next_back()).map(str::to_owned).collect()
}

#[test]
fn a_command_inherits_no_descriptor() {
    let hookbox = with("command", "run = [\"ls\", \"-l\", \"/proc/self/fd\"]").start();
    deliver_and_wait(&hookbox, "push", "d-1", "{}");
    let (_, detail) = only_attempt(&hookbox, 1);
    // The process that started the tests may have left some open.
    let ours = std::process::Command::new("ls").args(["-l", "/proc/self/fd"]).output().unwrap();
    let ours = descriptors(&String::from_utf8_lossy(&ours.stdout));
    let its = descriptors(&detail);
    assert!(its.contains("0") && its.is_subset(&ours), "{its:?} and we have {ours:?}: {detail}");
    assert!(!detail.contains("webhooks.db") && !detail.contains("socket:"), "{detail}");
}

#[test]
fn arguments_are_templates_and_no_shell_sees_them() {
    let hookbox = with("command", "run = [\"printf\", \"[%s]\", \"{{ payload.a }}\", \"{{ payload.none }}\"]").start();
    deliver_and_wait(&hookbox, "push", "d-1", r#"{"a":"$(id) `id`; a  b\n* \"'"}"#);
    let expected = "exit 0 [$(id) `id`; a  b\n* \"'][]";
    assert_eq!(only_attempt(&hookbox, 1), ("success".to_owned(), expected.to_owned()));
}

#[test]
fn a_payload_cannot_become_an_option() {
    let hookbox = with("command", "run = [\"echo\", \"{{ payload.a }}\"]").start();
    deliver_and_wait(&hookbox, "push", "d-1", r#"{"a":"--exec=evil"}"#);
    let (outcome, detail) = only_attempt(&hookbox, 1);
    assert_eq!(outcome, "give_up");
    assert!(detail.contains("{{ payload.a }}") && detail.contains("--exec=evil"), "{detail}");
    deliver_and_wait(&hookbox, "push", "d-2", r#"{"a":"a-b"}"#);
    assert_eq!(only_attempt(&hookbox, 2).1, "exit 0 a-b");
    let hookbox = with("command", "run = [\"echo\", \"-{{ payload.a }}\"]").start();
    deliver_and_wait(&hookbox, "push", "d-1", r#"{"a":"-x"}"#);
    assert_eq!(only_attempt(&hookbox, 1), ("success".to_owned(), "exit 0 --x".to_owned()), "the template begins so");
}

#[test]
fn an_argument_with_a_nul_or_too_long_gives_up_with_the_reason() {
    let hookbox = with("command", "run = [\"echo\", \"{{ payload.a }}\"]").start();
    deliver_and_wait(&hookbox, "push", "d-1", r#"{"a":"a\u0000b"}"#);
    assert!(only_attempt(&hookbox, 1).1.contains("NUL"));
    deliver_and_wait(&hookbox, "push", "d-2", format!(r#"{{"a":"{}"}}"#, "x".repeat(300_000)));
    let (outcome, detail) = only_attempt(&hookbox, 2);
    assert_eq!((outcome.as_str(), detail.contains("too long")), ("give_up", true), "{detail}");
}

#[test]
fn the_exit_code_decides_between_success_retry_and_giving_up() {
    for (code, outcome) in [(0, "success"), (1, "retry"), (75, "retry"), (255, "retry"), (3, "give_up"), (4, "give_up")]
    {
        let attempt = run_once(&format!("echo because; exit {code}"), "give_up = [3, 4, 75]", "{}");
        assert_eq!(attempt, (outcome.to_owned(), format!("exit {code} because")));
    }
}

#[test]
fn a_command_that_gives_up_is_not_retried() {
    let hookbox = with("command", &format!("{}\ngive_up = [3]", shell("exit 3"))).start();
    deliver_and_wait(&hookbox, "push", "d-1", "{}");
    assert_eq!(job(&hookbox, 1, "it")["state"], "dead");
    assert_eq!(only_attempt(&hookbox, 1).0, "give_up");
}

#[test]
fn a_command_killed_by_a_signal_is_retried() {
    assert_eq!(run_once("kill -9 $$", "", "{}"), ("retry".to_owned(), "killed by signal 9".to_owned()));
}

#[test]
fn a_missing_program_is_retried_and_named_in_the_error() {
    let hookbox = with("command", "run = [\"/nonexistent/deploy\"]\nattempts = 2").start();
    deliver_and_wait(&hookbox, "push", "d-1", "{}");
    let attempts = wait_for_attempts(&hookbox, 1, "it", 2);
    assert!(attempts[1]["detail"].as_str().unwrap().starts_with("cannot run /nonexistent/deploy: "), "{attempts:?}");
    // It may be installed in the meantime.
    assert_eq!(attempts[0]["outcome"], "retry");
}

#[test]
fn a_missing_directory_is_named_in_the_error_and_not_the_program() {
    let (outcome, detail) = run_once("true", "directory = \"/nonexistent/there\"", "{}");
    assert_eq!(outcome, "retry");
    assert!(detail.contains("/nonexistent/there: there is no such directory"), "{detail}");
}

#[test]
fn a_program_whose_name_renders_empty_is_not_searched_for() {
    let hookbox = with("command", "run = [\"{{ payload.program }}\"]").start();
    deliver_and_wait(&hookbox, "push", "d-1", "{}");
    let (outcome, detail) = only_attempt(&hookbox, 1);
    assert!(outcome == "give_up" && detail.contains("is empty when rendered"), "{outcome} {detail}");
}

#[test]
fn a_command_runs_in_the_configured_directory() {
    assert_eq!(run_once("pwd", "directory = \"/\"", "{}").1, "exit 0 /");
}

#[test]
fn the_whole_process_group_gets_sigterm_at_the_timeout() {
    let long = unique_sleep(86_391);
    let script = format!("sleep {long} & trap 'echo bye; exit 0' TERM; sleep {long} & wait");
    take_turn();
    let started = Instant::now();
    let (outcome, detail) = run_once(&script, "timeout = \"300ms\"", "{}");
    assert_eq!((outcome.as_str(), detail.as_str()), ("retry", "not done in time bye"));
    assert!(started.elapsed() < patient(Duration::from_secs(5)), "no SIGKILL was needed");
    assert_eq!(processes_with(&long), 0);
}

#[test]
fn a_command_that_ignores_sigterm_is_killed_with_its_children() {
    let long = unique_sleep(86_392);
    let script = format!("trap '' TERM; (trap '' TERM; sleep {long}) & sleep {long}; sleep {long}");
    let (outcome, _) = run_once(&script, "timeout = \"300ms\"", "{}");
    assert_eq!(outcome, "retry");
    assert_eq!(processes_with(&long), 0);
}

#[test]
fn children_left_behind_by_a_command_end_with_it_and_delay_nothing() {
    take_turn();
    let (long, started) = (unique_sleep(86_393), Instant::now());
    let attempt = run_once(&format!("(trap '' TERM; sleep {long}) & echo started"), "", "{}");
    assert_eq!(attempt, ("success".to_owned(), "exit 0 started".to_owned()));
    assert!(started.elapsed() < patient(Duration::from_secs(10)));
    assert_eq!(processes_with(&long), 0);
}

#[test]
fn a_child_in_another_process_group_that_keeps_the_pipe_open_delays_nothing() {
    let script = "setsid sh -c 'touch left; exec sleep 20' & while [ ! -e left ]; do sleep 0.02; done; echo started";
    // In TOML's basic quotes: the script has no double ones.
    let run = format!("run = [\"sh\", \"-c\", \"{script}\"]");
    let hookbox = with("command", &run).start();
    deliver_and_wait(&hookbox, "push", "d-1", "{}");
    assert_eq!(only_attempt(&hookbox, 1), ("success".to_owned(), "exit 0 started".to_owned()));
}

#[test]
fn endless_output_is_cut_and_uses_no_memory() {
    let script = "yes 'a line on standard output' | head -c 200000000; echo the end >&2";
    let hookbox = with("command", &shell(script)).start();
    deliver_and_wait(&hookbox, "push", "d-1", "{}");
    let (outcome, detail) = only_attempt(&hookbox, 1);
    assert_eq!(outcome, "success");
    assert!(
        detail.starts_with("exit 0 a line on standard output\na line") && detail.len() <= 4096 + 8,
        "{}",
        detail.len()
    );
    hookbox.assert_peak_below(32);
}

#[test]
fn a_command_may_read_all_of_the_largest_payload() {
    let all = format!("exit 0 {LARGEST_BYTES}");
    assert_eq!(run_once("wc -c", "", payload_of(LARGEST_BYTES)), ("success".to_owned(), all));
}

#[test]
fn a_command_may_read_all_some_or_nothing_of_a_large_payload() {
    let all = format!("exit 0 {PIPES_BYTES}");
    for (script, detail) in [
        ("sleep 0.2; wc -c", all.as_str()),
        ("head -c 10 > /dev/null; exec <&-; sleep 0.2; echo enough", "exit 0 enough"),
        ("exec <&-; echo closed", "exit 0 closed"),
        ("sleep 0.2; echo unread", "exit 0 unread"),
        ("cat > /dev/null & yes | head -c 1000000 > /dev/null; wait; echo both", "exit 0 both"),
    ] {
        let attempt = run_once(script, "", payload_of(PIPES_BYTES));
        assert_eq!(attempt, ("success".to_owned(), detail.to_owned()), "{script}");
    }
}

#[test]
fn a_command_that_closes_its_pipes_and_stays_is_awaited() {
    let (outcome, detail) = run_once("exec <&- >&- 2>&-; sleep 0.3; exit 9", "", "{}");
    assert_eq!((outcome.as_str(), detail.as_str()), ("retry", "exit 9"));
    let long = unique_sleep(86_394);
    let script = format!("exec <&- >&- 2>&-; sleep {long}");
    assert_eq!(run_once(&script, "timeout = \"300ms\"", "{}").0, "retry");
    assert_eq!(processes_with(&long), 0);
}

#[test]
fn a_command_that_reads_nothing_and_stays_is_timed_out() {
    let long = unique_sleep(86_397);
    let attempt = run_once(&format!("exec sleep {long}"), "timeout = \"300ms\"", payload_of(PIPES_BYTES));
    assert_eq!(attempt, ("retry".to_owned(), "not done in time".to_owned()));
    assert_eq!(processes_with(&long), 0);
}

#[test]
fn commands_of_one_action_never_overlap() {
    let hookbox = with("command", &shell("mkdir lock || exit 1; sleep 0.05; rmdir lock")).start();
    for n in 1..=8 {
        hookbox.deliver("push", &format!("d-{n}"), "{}");
    }
    hookbox.wait_until_done();
    assert_eq!(hookbox.query::<i64>("SELECT count(*) FROM attempts WHERE outcome <> 'success'"), [0]);
}

#[test]
fn commands_of_one_action_overlap_up_to_its_concurrency() {
    let script = "touch here-$HOOKBOX_EVENT_ID; while [ $(ls here-* | wc -l) -lt 3 ]; do sleep 0.02; done";
    let hookbox = with("command", &format!("{}\nconcurrency = 3\ntimeout = \"20s\"", shell(script))).start();
    for n in 1..=3 {
        hookbox.deliver("push", &format!("d-{n}"), "{}");
    }
    hookbox.wait_until_done();
    assert_eq!(hookbox.query::<i64>("SELECT count(*) FROM attempts WHERE outcome = 'success'"), [3]);
}

#[test]
fn a_long_command_delays_no_other_action_and_no_acknowledgement() {
    let other = super::action("quick", "command", "run = [\"true\"]");
    let slow = super::action("slow", "command", &shell("while [ ! -e go ]; do sleep 0.02; done"));
    let hookbox = Home::with_config(&super::config(&(slow + &other))).start();
    for n in 1..=5 {
        hookbox.deliver("push", &format!("d-{n}"), "{}");
    }
    wait_for_state(&hookbox, 5, "quick", "succeeded");
    assert_eq!(job(&hookbox, 1, "slow")["state"], "running");
    hookbox.write("go", "");
    wait_for("the slow ones", || (super::status(&hookbox, 5) == "processed").then_some(()));
}
