//! What a command is given: its standard input, its environment, and the variable `body` of templates.

use super::{deliver_and_wait, done, only_attempt, shell, with};
use crate::support::{Home, Hookbox, Request, Stub};

const BODY: &str = "{ \"b\" : 1.50,\n\"a\":\"\\u00e9 \u{e9}\" }";

/// A source that takes any content.
const ANY_CONTENT: &str = "[sources.raw]\nprovider = \"token\"\nsecret = \"open-sesame\"\n";

fn deliver_raw(hookbox: &Hookbox, body: &[u8]) {
    let request = Request::new("POST", "/webhooks/raw")
        .header("Authorization", "Bearer open-sesame")
        .header("Content-Type", "application/octet-stream")
        .body(body);
    assert_eq!(hookbox.address().send(&request).status, 200);
}

#[test]
fn stdin_is_a_template_and_without_it_the_exact_body() {
    for (key, expected) in [
        ("", BODY),
        ("stdin = \"{{ body }}\"", BODY),
        ("stdin = \"Subject: {{ payload.a }}\\n\\n{{ event }}\"", "Subject: \u{e9} \u{e9}\n\nissues"),
        ("stdin = \"{{ event }}\\n\"", "issues\n"),
        ("stdin = \"\"", ""),
    ] {
        let hookbox = with("command", &format!("run = [\"tee\", \"got\"]\n{key}")).start();
        deliver_and_wait(&hookbox, "issues", "d-1", BODY);
        assert_eq!(std::fs::read_to_string(hookbox.path("got")).unwrap(), expected, "{key}");
        assert_eq!(super::status(&hookbox, 1), "processed");
    }
}

#[test]
fn body_is_the_exact_text_in_every_template() {
    let stub = Stub::http();
    let keys = format!("url = \"{}\"\nbody = \"<{{{{ body }}}}>\"\nwhen = \"'1.50' in body\"", stub.url("/"));
    let hookbox = with("http", &keys).start();
    deliver_and_wait(&hookbox, "issues", "d-1", BODY);
    assert_eq!(stub.first().text(), format!("<{BODY}>"));
}

#[test]
fn a_body_that_is_no_text_is_passed_on_exactly_and_is_an_error_only_in_a_template_that_uses_it() {
    let bytes = b"\xff\xfe binary \x00 \xc3";
    for (key, reason) in
        [("", ""), ("stdin = \"{{ id }}\"", ""), ("stdin = \"{{ body }}\"", "body: it is not UTF-8 (byte 1)")]
    {
        let home = with("command", &format!("run = [\"tee\", \"got\"]\n{key}"));
        let config = std::fs::read_to_string(home.path("hookbox.toml")).unwrap();
        home.write("hookbox.toml", config + ANY_CONTENT);
        let hookbox = home.start();
        deliver_raw(&hookbox, bytes);
        hookbox.wait_until_done();
        let (outcome, detail) = only_attempt(&hookbox, 1);
        if reason.is_empty() {
            let expected = if key.is_empty() { &bytes[..] } else { b"1" };
            assert_eq!(std::fs::read(hookbox.path("got")).unwrap(), expected, "{detail}");
        } else {
            assert!(outcome == "give_up" && detail.contains(reason), "{outcome} {detail}");
        }
    }
}

#[test]
fn the_standard_input_of_a_template_may_hold_a_nul_and_the_exact_text_of_a_form() {
    let hookbox = with("command", "run = [\"tee\", \"got\"]\nstdin = \"a{{ payload.a }}b\"").start();
    deliver_and_wait(&hookbox, "issues", "d-1", r#"{"a":"\u0000"}"#);
    assert_eq!(std::fs::read(hookbox.path("got")).unwrap(), b"a\0b");

    let home = with("command", "run = [\"tee\", \"got\"]\nstdin = \"{{ body }}\"");
    let config = std::fs::read_to_string(home.path("hookbox.toml")).unwrap();
    home.write("hookbox.toml", config + ANY_CONTENT);
    let hookbox = home.start();
    let form = "b=1+2&a=%C3%A9&a=&c";
    let request = Request::new("POST", "/webhooks/raw")
        .header("Authorization", "Bearer open-sesame")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(form);
    assert_eq!(hookbox.address().send(&request).status, 200);
    hookbox.wait_until_done();
    assert_eq!(std::fs::read_to_string(hookbox.path("got")).unwrap(), form);
}

#[test]
fn the_largest_body_goes_through_a_template_whether_or_not_the_program_reads_it() {
    let body = format!(r#"{{"a":"{}"}}"#, "x".repeat(24 << 20));
    for (program, stdin, output) in [
        ("wc -c", "{{ body }}", (body.len()).to_string()),
        ("wc -c", "{{ payload.a }}\\n", ((24 << 20) + 1).to_string()),
        ("head -c 1", "{{ payload.a }}", "x".to_owned()),
        ("true", "{{ body }}", String::new()),
        ("exec <&-; echo closed", "{{ body }}", "closed".to_owned()),
    ] {
        let hookbox = with("command", &format!("{}\nstdin = \"{stdin}\"", shell(program))).start();
        deliver_and_wait(&hookbox, "issues", "d-1", &body);
        assert_eq!(only_attempt(&hookbox, 1), ("success".to_owned(), format!("exit 0 {output}").trim_end().to_owned()));
    }
}

#[test]
fn a_command_has_the_variables_of_its_env() {
    let script = "env > env; for p in $$ $PPID; do cat /proc/$p/cmdline; done > words";
    let env = "env = { APP_TOKEN = \"env:APP_TOKEN\", FROM_FILE = \"file:secret\", TITLE = \"{{ payload.a }}\", EMPTY = \"\", FIXED = \"a b\" }";
    let home = with("command", &format!("{}\n{env}", shell(script))).env("APP_TOKEN", "{{ s3cret }}");
    home.write("secret", "line one\nline two\n");
    let hookbox = home.start();
    deliver_and_wait(&hookbox, "issues", "d-1", r#"{"a":"$(id)\n--x"}"#);
    let env = std::fs::read_to_string(hookbox.path("env")).unwrap();
    for variable in [
        "APP_TOKEN={{ s3cret }}\n",
        "FROM_FILE=line one\nline two\n",
        "TITLE=$(id)\n--x\n",
        "EMPTY=\n",
        "FIXED=a b\n",
        "HOOKBOX_EVENT_ID=1\n",
    ] {
        assert!(env.contains(variable), "no {variable} in {env}");
    }
    let words = std::fs::read(hookbox.path("words")).unwrap();
    assert!(!String::from_utf8_lossy(&words).contains("s3cret"));
}

#[test]
fn a_program_is_found_in_the_path_of_its_env() {
    let home = with("command", "run = [\"my-own-tool\"]\nenv = { PATH = \"bin:/usr/bin:/bin\" }");
    std::fs::create_dir(home.path("bin")).unwrap();
    home.write("bin/my-own-tool", "#!/bin/sh\necho \"mine $PATH\"\n");
    assert!(
        std::process::Command::new("chmod").arg("755").arg(home.path("bin/my-own-tool")).status().unwrap().success()
    );
    assert!(!done(&home, "check").contains("no such program"));
    let hookbox = home.start();
    deliver_and_wait(&hookbox, "issues", "d-1", "{}");
    assert_eq!(only_attempt(&hookbox, 1).1, "exit 0 mine bin:/usr/bin:/bin");
}

#[test]
fn variables_that_clash_or_decide_the_code_are_refused_and_no_value_is_shown() {
    for (entry, words) in [
        ("HOOKBOX_EVENT = \"hunter2\"", ["actions.it.env.HOOKBOX_EVENT", "choose another name"]),
        ("PATH = \"/opt/{{ payload.a }}\"", ["actions.it.env.PATH", "fixed text"]),
        ("LD_PRELOAD = \"{{ payload.a }}\"", ["actions.it.env.LD_PRELOAD", "fixed text"]),
        ("\"{{ payload.a }}\" = \"x\"", ["actions.it.env.\"{{ payload.a }}\"", "letters, digits"]),
        ("\"A B\" = \"hunter2\"", ["actions.it.env.\"A B\"", "letters, digits"]),
        ("A = 1", ["actions.it.env.A", "expected a string"]),
        ("A = \"{{ paylod }}\"", ["actions.it.env.A", "\"payload\""]),
        ("A = \"env:NOT_SET\"", ["problem", "problem"]),
    ] {
        let home = with("command", &format!("run = [\"true\"]\nenv = {{ {entry} }}"));
        let output = home.run(["check"]);
        assert!(!output.to_string().contains("hunter2"), "{output}");
        output.refused(2, &words);
    }
}

#[test]
fn a_secret_that_a_command_prints_is_hidden_in_what_is_stored_and_shown() {
    let script = "echo \"login with $APP_TOKEN failed: $APP_TOKEN!\"; exit 3";
    let keys = format!("{}\nenv = {{ APP_TOKEN = \"env:APP_TOKEN\" }}\ngive_up = [3]", shell(script));
    let hookbox = with("command", &keys).env("APP_TOKEN", "s3cret-token").start();
    deliver_and_wait(&hookbox, "issues", "d-1", "{}");
    assert_eq!(only_attempt(&hookbox, 1).1, "exit 3 login with [secret] failed: [secret]!");
    for shown in
        [done(&hookbox, "show 1"), done(&hookbox, "check"), done(&hookbox, "check --event 1"), hookbox.stderr()]
    {
        assert!(!shown.contains("s3cret-token"), "{shown}");
    }
    assert!(done(&hookbox, "check").contains("env APP_TOKEN=env:APP_TOKEN\n"));
    assert!(done(&hookbox, "check --event 1").contains("env APP_TOKEN=(as configured)\n"));
}

/// The end of what is stored falls at each place of a secret.
#[test]
fn no_part_of_a_secret_is_stored_where_long_output_is_cut() {
    let token = "0123456789-s3cret-s3cret-s3cret";
    let script =
        "n=$HOOKBOX_EVENT_ID; head -c $((4080 + 3 * n)) /dev/zero | tr '\\\\0' x; yes \"$APP_TOKEN\" | head -c 20000";
    let keys = format!("{}\nenv = {{ APP_TOKEN = \"env:APP_TOKEN\" }}", shell(&script.replace("\\\\", "\\")));
    let hookbox = with("command", &keys).env("APP_TOKEN", token).start();
    for n in 1..=6 {
        deliver_and_wait(&hookbox, "issues", &format!("d-{n}"), "{}");
        let (_, detail) = only_attempt(&hookbox, n);
        assert!(detail.len() > 4000 && !detail.contains("0123"), "{}", &detail[4000..]);
    }
}

#[test]
fn check_shows_the_standard_input_and_the_variables_of_an_event() {
    let keys =
        "run = [\"true\"]\nstdin = \"to {{ payload.a }}\"\nenv = { TITLE = \"{{ payload.a }}\", KEY = \"hunter2\" }";
    let home = with("command", keys);
    home.write("event.json", r#"{"a":"you"}"#);
    let shown = done(&home, "check --file event.json");
    let expected =
        "run [\"true\"] with 6 bytes on its standard input\nenv KEY=(as configured)\nenv TITLE=you\n\nto you\n";
    assert!(shown.contains(expected), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn output_keeps_its_lines_and_nothing_that_moves_a_cursor() {
    let hookbox = with("command", &shell("printf 'one\\r\\ntwo\\n\\033[2Jthree\\n'")).start();
    deliver_and_wait(&hookbox, "issues", "d-1", "{}");
    assert_eq!(only_attempt(&hookbox, 1).1, "exit 0 one\ntwo\n?[2Jthree");
}

#[test]
fn a_reason_with_a_part_of_a_payload_is_bounded() {
    let hookbox: Home = {
        let hookbox = with("command", "run = [\"echo\", \"{{ payload.a }}\"]").start();
        deliver_and_wait(&hookbox, "push", "d-1", format!(r#"{{"a":"-{}"}}"#, "x".repeat(1 << 20)));
        hookbox.stop().0
    };
    let (outcome, detail) = only_attempt(&hookbox, 1);
    assert!(outcome == "give_up" && detail.len() < 5000, "{outcome} {}", detail.len());
}
