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
