//! `success_when`: what a service has answered, or a program has printed, decides beside the status or exit code.

use super::{config, deliver_and_wait, done, only_attempt, shell, show, with};
use crate::support::{Answer, Home, Stub};

/// Outcome and detail of one request, and of the answer to it.
fn judged(condition: &str, answer: Answer) -> (String, String) {
    judged_as("http", condition, answer)
}

fn judged_as(kind: &str, condition: &str, answer: Answer) -> (String, String) {
    let stub = Stub::http();
    stub.answer(answer);
    let keys = format!("url = \"{}\"\nsuccess_when = '''{condition}'''\nattempts = 1", stub.url("/"));
    let hookbox = with(kind, &keys).start();
    deliver_and_wait(&hookbox, "push", "d-1", r#"{"want":"yes"}"#);
    only_attempt(&hookbox, 1)
}

/// The same for one run of a shell script.
fn ran(condition: &str, script: &str, keys: &str) -> (String, String) {
    let keys = format!("{}\nsuccess_when = '''{condition}'''\nattempts = 1\n{keys}", shell(script));
    let hookbox = with("command", &keys).start();
    deliver_and_wait(&hookbox, "push", "d-1", "{}");
    only_attempt(&hookbox, 1)
}

#[track_caller]
fn assert_outcome(judged: (String, String), outcome: &str, detail: &str) {
    assert!(judged.0 == outcome && judged.1.contains(detail), "{judged:?}, and not {outcome} {detail}");
}

#[test]
fn a_service_that_answers_200_to_a_failure_has_failed_and_its_answer_is_stored() {
    let rqlite = "not (answer.json.results | selectattr('error'))";
    for (condition, body, outcome) in [
        ("answer.json.routed", r#"{"routed":false}"#, "retry"),
        ("answer.json.routed", r#"{"routed":true}"#, "success"),
        ("answer.json", "[]", "retry"),
        ("answer.json", r#"[{"entity_id":"automation.a"}]"#, "success"),
        (rqlite, r#"{"results":[{"rows_affected":1},{"error":"no such table: t"}]}"#, "retry"),
        (rqlite, r#"{"results":[{"rows_affected":1}]}"#, "success"),
        ("answer.json.ok", r#"{"ok":false,"error":"channel_not_found"}"#, "retry"),
        ("answer.json.ok", r#"{"ok":true}"#, "success"),
        ("answer.body == payload.want", "yes", "success"),
        ("answer.json.routed", "\u{feff}{\"routed\":true}", "success"),
    ] {
        let (got, detail) = judged(condition, Answer::body(200, body));
        assert_eq!(got, outcome, "{condition} {body}: {detail}");
        let start = if outcome == "success" { "200 OK " } else { "success_when is false: 200 OK " };
        assert_eq!(detail, format!("{start}{}", body.replace('\u{feff}', "?")));
    }
}

/// Telegram, Pushover, Matrix and Discord, as they document their errors.
#[test]
fn an_error_with_a_status_of_its_own_is_not_retried_and_its_text_is_stored() {
    for (condition, status, body, outcome) in [
        (
            "answer.json.ok",
            400,
            r#"{"ok":false,"error_code":400,"description":"Bad Request: chat not found"}"#,
            "give_up",
        ),
        (
            "answer.json.status == 1",
            400,
            r#"{"user":"invalid","errors":["user key is invalid"],"status":0}"#,
            "give_up",
        ),
        ("answer.json.status == 1", 200, r#"{"status":1,"request":"647d2300"}"#, "success"),
        ("answer.json.event_id", 200, r#"{"errcode":"M_FORBIDDEN","error":"not in the room"}"#, "retry"),
        ("not answer.json.errcode", 403, r#"{"errcode":"M_FORBIDDEN"}"#, "give_up"),
        ("answer.json.id", 401, r#"{"message":"Invalid Webhook Token","code":50027}"#, "give_up"),
        ("not answer.json.results[0].error", 200, r#"{"results":[{"error":"near \"x\": syntax error"}]}"#, "retry"),
        ("not answer.json.results[0].error", 200, r#"{"results":[{"rows_affected":1}]}"#, "success"),
        ("answer.json and not answer.json[0].error", 200, r#"[{"error":"a"}]"#, "retry"),
    ] {
        assert_outcome(judged(condition, Answer::body(status, body)), outcome, body);
    }
}

#[test]
fn an_answer_that_is_not_json_fails_a_condition_that_only_excludes_an_error() {
    let page = "<html>log in to the network</html>";
    for condition in [
        "answer.json.routed",
        "not answer.json.error",
        "answer.status == 200 and not answer.json.error",
        "not answer.json",
    ] {
        for body in [page, "{\"ok\":", "ok"] {
            let got = judged(condition, Answer::body(200, body));
            assert_outcome(got.clone(), "retry", "success_when cannot be evaluated (");
            assert_outcome(got.clone(), "retry", "the body as JSON: it is not JSON");
            assert_outcome(got, "retry", &format!("): 200 OK {body}"));
        }
    }
    assert_outcome(judged("'<html' not in answer.body", Answer::body(200, "ok")), "success", "200 OK ok");
    assert_outcome(judged("answer.body == 'ok' or answer.json.ok", Answer::body(200, "ok")), "success", "200 OK ok");
    for body in ["", " \r\n"] {
        assert_outcome(judged("not answer.json.error", Answer::body(200, body)), "success", "200 OK");
        assert_outcome(judged("answer.json.ok", Answer::body(200, body)), "retry", "success_when is false: 200 OK");
    }
}

#[test]
fn a_part_of_an_answer_is_found_by_a_regular_expression() {
    for (condition, body, outcome) in [
        ("answer.body is matching('^OK [0-9]+$')", "OK 12", "success"),
        ("answer.body is matching('^OK [0-9]+$')", "OK", "retry"),
        ("answer.body is matching('^OK [0-9]+$')", "NOT OK 12", "retry"),
        ("answer.json.id is matching('^[0-9]+$')", r#"{"id":12}"#, "success"),
        ("answer.json.id is matching('^[0-9]+$')", "{}", "retry"),
        ("answer.body | trim | lower == 'ok'", "OK\n", "success"),
    ] {
        assert_outcome(judged(condition, Answer::body(200, body)), outcome, "200 OK");
    }
    with("http", "url = \"http://a.test\"\nsuccess_when = \"answer.body is matching('(')\"")
        .run(["check"])
        .refused(2, &["actions.it.success_when"]);
}

#[test]
fn a_failing_condition_is_retried_until_it_holds() {
    let stub = Stub::http();
    let mut count = 0;
    stub.answer_by(move |_| {
        count += 1;
        Answer::body(200, if count < 3 { r#"{"routed":false}"# } else { r#"{"routed":true}"# })
    });
    let keys = format!("url = \"{}\"\nsuccess_when = \"answer.json.routed\"", stub.url("/"));
    let hookbox = with("http", &keys).start();
    deliver_and_wait(&hookbox, "push", "d-1", "{}");
    assert_eq!(super::status(&hookbox, 1), "processed");
    assert_eq!(show(&hookbox, 1)["jobs"][0]["attempts"].as_array().unwrap().len(), 3);
}

#[test]
fn the_status_must_be_good_too_unless_the_condition_asks_for_it() {
    for (condition, status, outcome) in [
        ("not answer.json.error", 500, "retry"),
        ("not answer.json.error", 404, "give_up"),
        ("true", 503, "retry"),
        ("answer.status == 200 and not answer.json.error", 200, "success"),
        ("answer.status == 200 and not answer.json.error", 202, "retry"),
        ("answer.status == 200 and not answer.json.error", 404, "give_up"),
        ("answer.status in [200, 409]", 409, "success"),
        ("answer.status in [200, 409]", 404, "give_up"),
        ("answer.status in [200, 409]", 500, "retry"),
        ("answer.headers['x-result'] == 'stored'", 200, "retry"),
    ] {
        assert_outcome(judged(condition, Answer::Status(status)), outcome, &status.to_string());
    }
}

#[test]
fn the_header_fields_of_an_answer_can_be_asked_for() {
    let answer =
        || Answer::With(200, vec![("X-Result".into(), "a".into()), ("x-result".into(), "b".into())], Vec::new());
    assert_outcome(judged("answer.headers['x-result'] == 'a, b'", answer()), "success", "200");
    assert_outcome(judged("answer.headers['x-result'] == 'a'", answer()), "retry", "success_when is false: 200 OK");
    assert_outcome(judged("answer.headers['X-Result'] == 'a, b'", answer()), "success", "200");
    assert_outcome(judged("'X-RESULT' in answer.headers", answer()), "success", "200");
    assert_outcome(judged("answer.headers['x-other']", answer()), "retry", "success_when is false: 200 OK");
}

#[test]
fn a_slack_action_has_a_condition_too() {
    let answer = |text| Answer::body(200, text);
    assert_outcome(judged_as("slack", "answer.body == 'ok'", answer("ok")), "success", "200 OK ok");
    let refused = r#"{"ok":false,"error":"not_in_channel"}"#;
    assert_outcome(judged_as("slack", "answer.json.ok", answer(refused)), "retry", refused);
}

#[test]
fn a_condition_that_cannot_be_evaluated_is_a_failed_attempt_that_says_why_and_what_the_answer_was() {
    let why = "success_when cannot be evaluated (";
    assert_outcome(judged("answer.json.n + 'a'", Answer::body(200, r#"{"n":1}"#)), "retry", why);
    assert_outcome(judged("answer.json.n + 'a'", Answer::body(200, r#"{"n":1}"#)), "retry", r#"200 OK {"n":1}"#);
    let long = format!("{{\"ok\":true,\"more\":\"{}\"}}", "x".repeat(2 << 20));
    for condition in ["answer.json.ok", "'x' in answer.body", "not answer.body"] {
        assert_outcome(judged(condition, Answer::body(200, &long)), "retry", "the body is longer than 1 MiB");
    }
    assert_outcome(judged("answer.status == 200", Answer::body(200, &long)), "success", "200 OK");
}

#[test]
fn an_endless_answer_is_read_as_far_as_a_condition_needs() {
    let stub = Stub::http();
    stub.answer(Answer::Endless);
    let keys = format!("url = \"{}\"\nsuccess_when = \"answer.json.ok\"\nattempts = 1", stub.url("/"));
    let hookbox = with("http", &keys).start();
    deliver_and_wait(&hookbox, "push", "d-1", "{}");
    assert_outcome(only_attempt(&hookbox, 1), "retry", "longer than 1 MiB");
    assert!(only_attempt(&hookbox, 1).1.len() < 5000);
    hookbox.assert_peak_below(32);
}

#[test]
fn the_output_of_a_command_decides_beside_its_exit_code() {
    for (condition, script, keys, outcome, detail) in [
        ("answer.output == 'OK'", "echo OK", "", "success", "exit 0 OK"),
        ("answer.output == 'OK'", "echo 'ERR no'", "", "retry", "success_when is false: exit 0 ERR no"),
        ("answer.output == 'OK'", "echo OK; exit 1", "", "retry", "exit 1 OK"),
        ("answer.output == 'OK'", "echo OK; exit 3", "give_up = [3]", "give_up", "exit 3 OK"),
        ("answer.exit_code in [0, 1]", "exit 1", "", "success", "exit 1"),
        ("answer.exit_code in [0, 1]", "exit 2", "give_up = [2]", "give_up", "exit 2"),
        ("answer.output | int > 0", "echo 5", "", "success", "exit 0 5"),
        ("answer.output | int > 0", "echo WRONGTYPE", "", "retry", "cannot be evaluated"),
        ("'done' in answer.output", "yes | head -c 200000; echo done", "", "success", "exit 0 y"),
        ("'failed' not in answer.output", "yes | head -c 2000000", "", "retry", "the output is longer than 1 MiB"),
        ("true", "kill -9 $$", "", "retry", "killed by signal 9"),
    ] {
        assert_outcome(ran(condition, script, keys), outcome, detail);
    }
}

#[test]
fn a_command_that_times_out_has_failed_whatever_it_printed() {
    let judged = ran("answer.output == 'OK'", "echo OK; exec sleep 60", "timeout = \"300ms\"");
    assert_outcome(judged, "retry", "not done in time OK");
}

#[test]
fn a_misspelt_condition_is_refused_at_the_start() {
    for (kind, keys, words) in [
        ("http", "url = \"http://a.test\"\nsuccess_when = \"answer.jsn.ok\"", ["actions.it.success_when", "\"json\""]),
        ("http", "url = \"http://a.test\"\nsuccess_when = \"anser.json\"", ["actions.it.success_when", "\"answer\""]),
        ("http", "url = \"http://a.test\"\nsuccess_when = \"answer.output\"", ["actions.it.success_when", "status"]),
        ("command", "run = [\"true\"]\nsuccess_when = \"answer.status\"", ["actions.it.success_when", "exit_code"]),
        ("command", "run = [\"true\"]\nsuccess_when = \"answer ==\"", ["actions.it.success_when", "syntax error"]),
        ("command", "run = [\"true\"]\nwhen = \"answer.output\"", ["actions.it.when", "no variable \"answer\""]),
        ("log", "success_when = \"true\"", ["actions.it.success_when", "unknown"]),
    ] {
        with(kind, keys).run(["check"]).refused(2, &words);
    }
}

#[test]
fn check_shows_the_condition() {
    let home = Home::with_config(&config(&super::action(
        "it",
        "command",
        "run = [\"true\"]\nsuccess_when = \"answer.output == 'OK'\"",
    )));
    assert!(done(&home, "check").contains("success when answer.output == 'OK'\n"));
}
