//! Templates and expressions with mistakes, or that a payload makes endless.

use super::{action, config, deliver_and_wait, only_attempt, with};
use crate::support::{Home, Stub};

/// Above the longest text that is taken, in all its copies; well below what would be printed.
const MEMORY_MIB: u64 = 256;

fn list_of(count: usize) -> String {
    format!(r#"{{"list":[{}1]}}"#, "1,".repeat(count - 1))
}

#[test]
fn a_misspelt_name_in_a_template_is_refused_at_the_start() {
    for (keys, wrong) in [
        ("when = \"paylod.action == 'opened'\"", "\"payload\""),
        ("when = \"payload.action | uper == 'OPENED'\"", "uper"),
        ("text = \"{{ payload.title | mrkdown }}\"", "mrkdown"),
        ("blocks = \"[{{ payload.title is strin }}]\"", "strin"),
        ("blocks = \"[{{ tojson(payload) }}]\"", "tojson"),
    ] {
        let home = with("slack", &format!("url = \"http://127.0.0.1:1/\"\n{keys}"));
        let key = format!("actions.it.{}", keys.split(' ').next().unwrap());
        home.run(["check"]).refused(2, &[key.as_str(), wrong]);
        home.run(["serve"]).refused(2, &[key.as_str(), wrong]);
    }
}

#[test]
fn a_template_made_endless_by_a_payload_gives_up_and_delays_nothing() {
    let slow = "{% set s = 'x' * 5000000 %}{% for x in payload.list %}{% if s ~ x %}{% endif %}{% endfor %}";
    let long = "{% for x in payload.list %}{{ 'x' * 1000000 }}{% endfor %}";
    for (body, reason) in [(slow, "too much work"), (long, "more than 64 MiB")] {
        let stub = Stub::http();
        let hookbox = with("http", &format!("url = \"{}\"\nbody = \"{body}\"", stub.url("/"))).start();
        deliver_and_wait(&hookbox, "push", "d-1", list_of(10_000));
        let (outcome, detail) = only_attempt(&hookbox, 1);
        assert!(outcome == "give_up" && detail.contains(reason), "{outcome} {detail}");
        assert_eq!(stub.count(), 0);
        deliver_and_wait(&hookbox, "push", "d-2", list_of(1));
        assert_eq!(stub.first().body.len() % 1_000_000, 0);
        hookbox.assert_peak_below(MEMORY_MIB);
    }
}

#[test]
fn an_expression_made_endless_by_a_payload_delays_no_other_action() {
    let when = "when = \"'x' * payload.n\"";
    let hookbox = Home::with_config(&config(&(action("it", "log", when) + &action("other", "log", "")))).start();
    deliver_and_wait(&hookbox, "push", "d-1", r#"{"n":90000000}"#);
    let (outcome, detail) = only_attempt(&hookbox, 1);
    assert!(outcome == "give_up" && detail.contains("too much work"), "{outcome} {detail}");
    assert_eq!(super::job(&hookbox, 1, "other")["state"], "succeeded");
    deliver_and_wait(&hookbox, "push", "d-2", r#"{"n":1}"#);
    assert_eq!(super::status(&hookbox, 2), "processed");
}

/// The body that is sent for this payload.
#[track_caller]
fn sent(body: &str, payload: &str) -> String {
    let stub = Stub::http();
    let hookbox = with("http", &format!("url = \"{}\"\nbody = '''{body}'''", stub.url("/"))).start();
    deliver_and_wait(&hookbox, "push", "d-1", payload);
    stub.first().text()
}

#[test]
fn json_in_a_text_can_be_read() {
    let message = r#"{"Type":"Notification","Message":"{\"AlarmName\":\"disk\",\"Threshold\":90.50}"}"#;
    let body = "{% set m = payload.Message | fromjson %}{{ m.AlarmName }} {{ m.Threshold }} {{ m | tojson }}";
    assert_eq!(sent(body, message), r#"disk 90.50 {"AlarmName": "disk", "Threshold": 90.50}"#);
    let hookbox = with("command", "run = [\"echo\", \"{{ payload.Message | fromjson }}\"]").start();
    deliver_and_wait(&hookbox, "push", "d-1", r#"{"Message":"disk"}"#);
    let (outcome, detail) = only_attempt(&hookbox, 1);
    assert!(outcome == "give_up" && detail.contains("fromjson: it is not JSON"), "{outcome} {detail}");
}

#[test]
fn a_pull_request_without_a_description_is_no_deploy_and_no_word_none() {
    let payload = r#"{"pull_request":{"title":"Tidy up","body":null,"milestone":null}}"#;
    let stub = Stub::http();
    let deploy = action(
        "deploy",
        "http",
        &format!("url = \"{}\"\nwhen = \"'/deploy' in payload.pull_request.body\"\nbody = \"x\"", stub.url("/deploy")),
    );
    let tell = action(
        "tell",
        "slack",
        &format!(
            "url = \"{}\"\ntext = \"{{{{ payload.pull_request.title }}}}: {{{{ payload.pull_request.body }}}}\"",
            stub.url("/slack")
        ),
    );
    let hookbox = Home::with_config(&config(&(deploy + &tell))).start();
    deliver_and_wait(&hookbox, "pull_request", "d-1", payload);
    assert_eq!(super::status(&hookbox, 1), "processed");
    assert_eq!(stub.count(), 1);
    assert_eq!(stub.first().json()["text"], "Tidy up: ");
    let body = "[{{ payload.pull_request.body | default('none given') }}, {{ payload.pull_request.milestone.title }}]";
    assert_eq!(sent(body, payload), "[none given, ]");
}

#[test]
fn a_number_is_sent_on_as_it_came_and_none_is_too_large() {
    for number in ["12345678901234567890123", "1.0", "1e3", "-0", "1.10", "1e999", "-1E400", &"9".repeat(400)] {
        let payload = format!(r#"{{"n":{number},"other":"x","list":[{number}]}}"#);
        let body = "{{ payload.n }} {{ payload.list | join }} {{ payload | tojson }}";
        let json = payload.replace(':', ": ").replace(",\"", ", \"");
        assert_eq!(sent(body, &payload), format!("{number} {number} {json}"));
        assert_eq!(sent("{{ payload.other }}", &payload), "x");
    }
    let payload = r#"{"amount":1990.10,"huge":1e999}"#;
    assert_eq!(sent("{{ payload.amount / 100 }} {{ payload.huge > 2 }}", payload), "19.901 True");
}
