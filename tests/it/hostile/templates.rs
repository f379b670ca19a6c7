//! What templates read of a payload, and what they make of it, uses little memory.

use crate::actions::{only_attempt, wait_for_attempts, with};
use crate::support::{Hookbox, Stub};

/// Large enough to be told from what an idle program has.
const PAYLOAD_BYTES: usize = 2 << 20;

/// Of its size: the text as it is read from the database and kept, the view, and the text that is printed and sent.
const MOST_TIMES: u64 = 8;

/// An idle program, built for tests.
const IDLE_MIB: u64 = 20;

/// Values and text of 64 MiB each, and the copy of the largest value that is being made.
const LIMITED_MIB: u64 = 256;

/// An array of these, or an object of them as members.
fn filled(open: &str, part: impl Fn(usize) -> String, close: &str) -> String {
    let mut json = open.to_owned();
    let mut count = 0;
    while json.len() < PAYLOAD_BYTES {
        json.push_str(&part(count));
        count += 1;
    }
    json.trim_end_matches(',').to_owned() + close
}

/// Payloads that take much more memory than text once they are parsed.
fn payloads() -> [(&'static str, String); 8] {
    [
        ("small objects", filled("[", |_| "{\"a\":1},".into(), "]")),
        ("empty arrays", filled("[", |_| "[[[]]],".into(), "]")),
        ("escapes", filled("[", |_| "\"\\u00e9\",".into(), "]")),
        ("digits", filled("[", |_| "1,".into(), "]")),
        ("odd numbers", filled("[", |_| "1e3,".into(), "]")),
        ("members", filled("{", |n| format!("\"{n:x}\":1,"), "}")),
        ("equal names", filled("{", |_| "\"a\":1,".into(), "}")),
        ("one text", format!("[\"{}\"]", "\\u0001x".repeat(PAYLOAD_BYTES / 7))),
    ]
}

/// The program, and what it sent, when it has evaluated `when` and rendered `body` for this payload.
fn evaluated(when: &str, body: &str, payload: &str) -> (Hookbox, Stub) {
    let stub = Stub::http();
    let keys = format!("url = \"{}\"\nwhen = '''{when}'''\nbody = '''{body}'''", stub.url("/"));
    let hookbox = with("http", &keys).start();
    hookbox.insert_event("large", payload);
    wait_for_attempts(&hookbox, 1, "it", 1);
    (hookbox, stub)
}

#[track_caller]
fn reading_costs_little(when: &str, body: &str, sent: &[u8]) {
    let most_mib = IDLE_MIB + MOST_TIMES * (PAYLOAD_BYTES >> 20) as u64;
    for (name, payload) in payloads() {
        println!("{name}");
        let (hookbox, stub) = evaluated(when, body, &payload);
        assert!(stub.first().body.starts_with(sent), "{name}");
        hookbox.assert_peak_below(most_mib);
    }
}

#[test]
fn a_condition_on_any_payload_takes_little_memory() {
    reading_costs_little("payload and payload.x is undefined and payload | length > 0", "x", b"x");
}

#[test]
fn printing_any_payload_as_json_takes_little_memory() {
    reading_costs_little("true", "{{ payload | tojson }}", b"");
}

#[test]
fn a_part_of_any_payload_takes_little_memory() {
    let when = "payload[0] is defined or payload.a is defined or payload['1'] is defined";
    reading_costs_little(when, "first {{ payload | first }}", b"first ");
}

/// Conditions and texts, and what limits them.
const GROWING: [(&str, &str); 14] = [
    ("true", "{{ payload.list | tojson(indent=payload.n) }}"),
    ("true", "{% set ns = namespace(s=payload.s) %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}"),
    ("true", "{% macro f(s, n) %}{% if n %}{{ f(s + s, n - 1) }}{% endif %}{% endmacro %}{{ f('x', 60) }}"),
    ("true", "{% set s = payload.s * 1000 %}{{ s | replace('', s) }}"),
    ("payload.s * payload.n", "x"),
    ("true", "{{ payload.list | join(payload.s * 1000) }}"),
    ("true", "{{ payload.list | batch(payload.n, 0) }}"),
    ("true", "{{ payload.list | slice(payload.n) }}"),
    ("true", "{{ payload.s | indent(payload.n, true) }}"),
    ("true", "{{ '%*d' | format(payload.n, 1) }}"),
    ("true", "{{ payload.list * 9000 ~ '' }}"),
    ("true", "{{ (payload.list * 9000) | list }}"),
    (
        "true",
        "{% set x %}{% for i in payload.list %}{% for j in payload.list %}{{ payload.s }}{% endfor %}{% endfor %}{% endset %}",
    ),
    ("true", "{% set a, b = payload.list * 9000 %}{{ ('x' * payload.n) | upper }}"),
];

#[test]
fn whatever_a_template_makes_of_a_payload_is_limited() {
    let (text, items) = ("x".repeat(1000), format!("\"{}\",", "y".repeat(100)).repeat(1000));
    let payload = format!(r#"{{"n":90000000,"s":"{text}","list":[{items}0]}}"#);
    for (when, body) in GROWING {
        println!("{when} {body}");
        let (hookbox, stub) = evaluated(when, body, &payload);
        let (outcome, detail) = only_attempt(&hookbox, 1);
        let is_limit = detail.starts_with("too much work") || detail.contains("unpack");
        assert!(outcome == "give_up" && is_limit, "{outcome} {detail}");
        assert_eq!(stub.count(), 0);
        hookbox.assert_peak_below(LIMITED_MIB);
    }
}
