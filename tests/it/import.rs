//! `hookbox import`: what a hook of adnanh/webhook accepts is accepted afterwards, and what it refuses is refused.

mod beside;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use ring::hmac;

use crate::support::{Home, Hookbox, Request, hex};

/// Writes its arguments and some variables into `said`.
const SAY: &str = "#!/bin/sh\nprintf '%s|' \"$@\" \"$TAG\" \"$(cat \"${FILE:-/dev/null}\")\" >> said; echo >> said\n";

/// The home with the imported config, and the secrets as variables.
fn imported(hooks: &str) -> Home {
    let home = Home::new();
    home.write("say", SAY);
    fs::set_permissions(home.path("say"), fs::Permissions::from_mode(0o755)).unwrap();
    let hooks = hooks.replace("/say", home.path("say").to_str().unwrap());
    let home = imported_with(home, &hooks);
    let checked = home.run(["check"]).ok().text();
    let is_warned = |line: &str| line.contains("WARNING") && !line.contains("GITHUB_WEBHOOK_SECRET is set");
    assert!(!checked.lines().any(is_warned), "{checked}");
    home
}

fn imported_with(home: Home, hooks: &str) -> Home {
    home.write("hooks.json", hooks);
    let config = home.run(["import", "hooks.json", "--secrets", "secrets.env"]).ok().text();
    home.write("hookbox.toml", &config);
    let secrets = fs::read_to_string(home.path("secrets.env")).unwrap();
    assert_eq!(fs::metadata(home.path("secrets.env")).unwrap().permissions().mode() & 0o777, 0o600);
    let mut home = home;
    for line in secrets.lines() {
        let (name, value) = line.split_once('=').unwrap();
        let value = value.trim_matches('\'');
        assert!(value.is_empty() || !config.contains(value), "{value} is in\n{config}");
        home = home.env(name, value);
    }
    home.run(["check"]).ok();
    home
}

fn said(hookbox: &Hookbox) -> String {
    hookbox.wait_until_done();
    fs::read_to_string(hookbox.path("said")).unwrap_or_default()
}

fn signed(request: Request, header: &str, algorithm: hmac::Algorithm, prefix: &str, body: &str) -> Request {
    let tag = hmac::sign(&hmac::Key::new(algorithm, b"mysecret"), body.as_bytes());
    request.header(header, &format!("{prefix}{}", hex(tag.as_ref()))).body(body)
}

fn post(target: &str) -> Request {
    Request::new("POST", target).header("Content-Type", "application/json")
}

/// The example that Debian's package has.
const DEBIAN: &str = r#"[{
  "id": "webhook", "execute-command": "/say", "response-message": "I got the payload!",
  "response-headers": [{"name": "Access-Control-Allow-Origin", "value": "*"}],
  "pass-arguments-to-command": [
    {"source": "payload", "name": "head_commit.id"},
    {"source": "payload", "name": "pusher.name"},
    {"source": "string", "name": "{{ payload }} -e"},
  ],
  "trigger-rule": {"and": [
    {"match": {"type": "payload-hmac-sha1", "secret": "mysecret",
      "parameter": {"source": "header", "name": "X-Hub-Signature"}}},
    {"match": {"type": "value", "value": "refs/heads/master", "parameter": {"source": "payload", "name": "ref"}}}
  ]}
}]"#;

#[test]
fn a_signed_push_is_run_and_no_other_request() {
    let hookbox = imported(DEBIAN).start();
    let sha1 = hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY;
    let push = r#"{"ref":"refs/heads/master","head_commit":{"id":"c1"},"pusher":{"name":"me"}}"#;
    let request = |body: &str, prefix: &str| signed(post("/hooks/webhook"), "X-Hub-Signature", sha1, prefix, body);
    let response = hookbox.send(&request(push, "sha1="));
    assert_eq!((response.status, response.text().as_str()), (200, "I got the payload!"));
    assert_eq!(response.header("Access-Control-Allow-Origin"), Some("*"));
    assert_eq!(hookbox.send(&request(push, "")).status, 200, "without the prefix, as webhook takes it");
    assert_eq!(hookbox.send(&request(r#"{"ref":"refs/heads/other"}"#, "sha1=")).status, 200);
    assert_eq!(hookbox.send(&request(push, "sha1=").body("{}")).status, 401);
    assert_eq!(hookbox.send(&post("/hooks/webhook").body(push)).status, 401);
    assert_eq!(said(&hookbox), "c1|me|{{ payload }} -e|||\n".repeat(2));
}

#[test]
fn a_token_in_a_query_is_proof_for_get_and_post() {
    let hooks = r#"[{"id": "simple one", "execute-command": "/say", "response-message": "Executing...",
      "pass-arguments-to-command": [{"source": "url", "name": "q"}, {"source": "request", "name": "method"}],
      "trigger-rule": {"match": {"type": "value", "value": 42, "parameter": {"source": "url", "name": "token"}}}}]"#;
    let hookbox = imported(hooks).start();
    for method in ["GET", "POST"] {
        let response = hookbox.send(&Request::new(method, "/hooks/simple%20one?token=42&q=a+b"));
        assert_eq!((response.status, response.text().as_str()), (200, "Executing..."));
    }
    assert_eq!(hookbox.send(&Request::get("/hooks/simple%20one?token=43&q=x")).status, 401);
    assert_eq!(hookbox.send(&Request::get("/hooks/simple%20one")).status, 401);
    assert_eq!(said(&hookbox), "a b|GET|||\na b|POST|||\n");
}

#[test]
fn conditions_hold_as_webhook_evaluates_them() {
    let rule = |kind: &str, text: &str, name: &str| {
        format!(
            r#"{{"match": {{"type": "{kind}", "{kind}": "{text}", "parameter": {{"source": "payload", "name": "{name}"}}}}}}"#
        )
    };
    let value = |text: &str, name: &str| rule("value", text, name);
    let or = format!(r#"{{"or": [{}, {}]}}"#, value("true", "list.1.flag"), value("7", "n"));
    let not = format!(r#"{{"not": {}}}"#, value("no", "x-y"));
    let regex = rule("regex", "^refs/tags/v[0-9]+\\\\.", "ref");
    let hooks = format!(
        r#"[{{"id": "c", "execute-command": "/say", "pass-arguments-to-command": [{{"source": "payload", "name": "k"}}],
            "trigger-rule": {{"and": [{or}, {not}, {regex}]}}}}]"#
    );
    let hookbox = imported(&hooks).start();
    for (key, body) in [
        ("flag", r#"{"k":"flag","list":[0,{"flag":true}],"x-y":"","ref":"refs/tags/v1.2"}"#),
        ("number", r#"{"k":"number","n":7,"x-y":"yes","ref":"refs/tags/v10."}"#),
        ("", r#"{"k":"1","n":7.0,"x-y":"yes","ref":"refs/tags/v1.2"}"#),
        ("", r#"{"k":"2","n":"7","x-y":"no","ref":"refs/tags/v1.2"}"#),
        ("", r#"{"k":"3","n":"7","ref":"refs/tags/v1.2"}"#),
        ("", r#"{"k":"4","n":"7","x-y":"yes","ref":"refs/tags/vX"}"#),
        ("", r#"{"k":"5"}"#),
    ] {
        assert_eq!(hookbox.send(&post("/hooks/c").body(body)).status, 200, "{key}");
    }
    assert_eq!(said(&hookbox), "flag|||\nnumber|||\n");
}

#[test]
fn environment_and_files_reach_the_command() {
    let hooks = r#"[{"id": "f", "execute-command": "/say", "include-command-output-in-response": true,
      "pass-environment-to-command": [{"source": "payload", "name": "tag", "envname": "TAG"}],
      "pass-file-to-command": [{"source": "payload", "name": "binary", "envname": "FILE", "base64decode": true}]}]"#;
    let home = imported(hooks);
    let config = fs::read_to_string(home.path("hookbox.toml")).unwrap();
    assert!(config.contains("# The output of the command is never in the answer"), "{config}");
    let hookbox = home.start();
    let body = r#"{"tag":"-x 'y' \"z\" $HOME","binary":"LW4gaGVsbG8="}"#;
    assert_eq!(hookbox.send(&post("/hooks/f").body(body)).status, 200);
    assert_eq!(said(&hookbox), "-x 'y' \"z\" $HOME|-n hello|\n");
}

#[test]
fn variables_become_the_env_of_the_action() {
    let variable =
        |name: &str, envname: &str| format!(r#"{{"source": "payload", "name": "{name}", "envname": "{envname}"}}"#);
    let hooks = format!(
        r#"[{{"id": "v/1", "execute-command": "/say", "pass-environment-to-command": [{}, {}, {}, {}, {}]}}]"#,
        variable("a.b", ""),
        variable("path", "PATH"),
        variable("first", "TAG"),
        variable("last", "TAG"),
        r#"{"source": "string", "name": "env:HOME", "envname": "TEXT"}"#,
    );
    let home = imported(&hooks);
    let config = fs::read_to_string(home.path("hookbox.toml")).unwrap();
    for words in [
        "\"HOOK_a.b\" = \"{{ payload.a.b | text }}\"",
        "HOOK_PATH = \"{{ payload.path | text }}\"",
        "# The variable \"PATH\" is HOOK_PATH here",
        "TEXT = \"{{ 'env:HOME' }}\"",
        "stdin = \"\"",
        "path = \"/hooks/v/1\"",
    ] {
        assert!(config.contains(words), "{words} is not in\n{config}");
    }
    assert!(!config.contains("\"env\","), "{config}");
    let hookbox = home.start();
    assert_eq!(hookbox.send(&post("/hooks/v/1").body(r#"{"first":1,"last":2}"#)).status, 200);
    assert_eq!(said(&hookbox), "2||\n");
}

#[test]
fn one_of_several_proofs_is_enough_at_one_address() {
    let sha256 = |secret: &str| {
        format!(
            r#"{{"match": {{"type": "payload-hash-sha256", "secret": "{secret}", "parameter": {{"source": "header", "name": "X-Signature"}}}}}}"#
        )
    };
    let token = r#"{"match": {"type": "value", "value": "tok-tok-tok", "parameter": {"source": "header", "name": "X-Gitlab-Token"}}}"#;
    let local = r#"{"match": {"type": "ip-whitelist", "ip-range": "127.0.0.9/8 10.0.0.1"}}"#;
    let hooks = format!(
        r#"{{"id": "either", "execute-command": "/say", "trigger-signature-soft-failures": true,
            "pass-arguments-to-command": [{{"source": "payload", "name": "k"}}],
            "trigger-rule": {{"and": [{local}, {{"or": [{}, {}, {token}]}}]}}}}"#,
        sha256("secret-before"),
        sha256("mysecret")
    );
    let hookbox = imported(&hooks).start();
    let request = |prefix| signed(post("/hooks/either"), "X-Signature", hmac::HMAC_SHA256, prefix, r#"{"k":"signed"}"#);
    for prefix in ["sha256=", "", "sha256=00,sha256="] {
        assert_eq!(hookbox.send(&request(prefix)).status, 200, "{prefix}");
    }
    let with_token = post("/hooks/either").header("X-Gitlab-Token", "tok-tok-tok").body(r#"{"k":"token"}"#);
    assert_eq!(hookbox.send(&with_token).status, 200);
    assert_eq!(hookbox.send(&with_token.with("X-Gitlab-Token", "tok")).status, 401);
    assert_eq!(said(&hookbox), "signed|||\nsigned|||\nsigned|||\ntoken|||\n");
}

#[test]
fn a_field_with_json_is_read_in_a_form_and_in_json() {
    let hooks = r#"[{"id": "ci", "execute-command": "/say",
      "parse-parameters-as-json": [{"source": "payload", "name": "payload"}],
      "pass-arguments-to-command": [{"source": "payload", "name": "payload.branch"}],
      "trigger-rule": {"match": {"type": "value", "value": "passed", "parameter": {"source": "payload", "name": "payload.state"}}}}]"#;
    let hookbox = imported(hooks).start();
    let form = Request::new("POST", "/hooks/ci").header("Content-Type", "application/x-www-form-urlencoded");
    for state in ["passed", "failed"] {
        let body = format!("payload=%7B%22state%22%3A%22{state}%22%2C%22branch%22%3A%22form%22%7D");
        assert_eq!(hookbox.send(&form.clone().body(body)).status, 200);
        let body = format!(r#"{{"payload":{{"state":"{state}","branch":"json"}}}}"#);
        assert_eq!(hookbox.send(&post("/hooks/ci").body(body)).status, 200);
    }
    assert_eq!(said(&hookbox), "form|||\njson|||\n");
}

#[test]
fn what_cannot_be_converted_never_runs_and_says_why() {
    let hooks = r#"[{"id": "x", "execute-command": "/say", "http-methods": ["POST", "HEAD"], "unknown-key": 1,
      "trigger-rule-mismatch-http-response-code": 400, "success-http-response-code": 302,
      "trigger-rule": {"match": {"type": "value", "value": "Jeff", "parameter": {"source": "payload", "name": "app.user.-name"}}}}]"#;
    let home = imported(hooks);
    let config = fs::read_to_string(home.path("hookbox.toml")).unwrap();
    for words in
        ["NOT CONVERTED", "XML", "when = \"false\"", "http-methods: HEAD", "mismatch", "200 to 299", "unknown-key"]
    {
        assert!(config.contains(words), "{words} is not in\n{config}");
    }
    let hookbox = home.start();
    assert_eq!(hookbox.send(&post("/hooks/x").body(r#"{"app":{"user":{"-name":"Jeff"}}}"#)).status, 200);
    assert_eq!(said(&hookbox), "");
}

#[test]
fn secrets_from_a_template_are_references_and_empty_ones_are_named() {
    let home = Home::new();
    let hook = |id: &str, secret: &str| {
        format!(
            r#"{{"id": "{id}", "execute-command": "x", "trigger-rule": {{"match": {{"type": "payload-hmac-sha512", "secret": "{secret}", "parameter": {{"source": "header", "name": "X-S"}}}}}}}}"#
        )
    };
    let hooks = [
        hook("a", r#"{{ getenv "A_SECRET" | js }}"#),
        hook("b", r#"{{ credential "b-secret" }}"#),
        hook("c", r#"{{ cat "/run/c" }}"#),
        hook("d", ""),
        hook("e", "shared-one"),
        hook("f", "shared-one"),
    ];
    home.write("hooks.json", format!("[{}]", hooks.join(",")));
    let text = home.run(["import", "hooks.json"]).ok().text();
    for words in [
        "\"env:A_SECRET\"",
        "\"credential:b-secret\"",
        "\"file:/run/c\"",
        "D_SECRET: the secret of hook \"d\", where it is empty",
    ] {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
    assert_eq!(text.matches("\"env:E_SECRET\"").count(), 2, "{text}");
    assert!(!text.contains("shared-one"), "{text}");
}

#[test]
fn what_is_no_file_of_hooks_is_refused_with_the_way_out() {
    let home = Home::new();
    for (text, words) in [
        ("- id: a\n  execute-command: x\n", "yq . hooks.yaml | hookbox import -"),
        ("[{\"id\": \"a\"", "EOF"),
        ("[]", "no hook"),
        ("[{\"execute-command\": \"x\"}]", "no id"),
    ] {
        home.write("hooks", text);
        home.run(["import", "hooks"]).refused(2, &[words]);
    }
    home.run(["import", "missing"]).refused(1, &["cannot read missing"]);
    home.run(["import"]).refused(2, &["FILE"]);
    home.write("hooks", "[{\"id\": \"a\", \"execute-command\": \"x\"}]");
    home.write("secrets", "precious");
    home.run(["import", "hooks", "--secrets", "secrets"]).refused(1, &["it is not overwritten"]);
    assert_eq!(fs::read_to_string(home.path("secrets")).unwrap(), "precious");
}
