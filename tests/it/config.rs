//! The config file: what is refused, with which message, and reloads.

use crate::support::{Home, Output, Request, SOURCE, Signal};

/// `check` and `serve` refuse this config with these words.
#[track_caller]
fn refused(config: &str, words: &[&str]) -> Output {
    let home = Home::with_config(config);
    let output = home.run(["check"]);
    output.refused(2, words);
    home.start_in_vain().refused(2, words);
    assert!(!home.path("webhooks.db").exists(), "refused before anything is made");
    output
}

#[track_caller]
fn github_source(keys: &str) -> String {
    format!("[sources.github]\nprovider = \"github\"\n{keys}\n")
}

#[test]
fn a_syntax_error_is_reported_with_its_line() {
    refused(&format!("{SOURCE}\n\nlisten = = \"x\"\n"), &["hookbox.toml", "6"]);
}

#[test]
fn a_config_that_is_not_text_is_refused() {
    let home = Home::new();
    home.write("hookbox.toml", b"\xff\xfe\x00");
    home.run(["check"]).refused(2, &["hookbox.toml"]);
}

#[test]
fn unknown_keys_are_refused_at_every_level() {
    refused(&format!("listn = \"x\"\n{SOURCE}"), &["listn"]);
    refused(&format!("{SOURCE}secrt = \"x\"\n"), &["secrt"]);
    refused(&format!("{SOURCE}[actions.say]\nkind = \"log\"\non = [\"*:*\"]\nattemps = 3\n"), &["attemps"]);
}

#[test]
fn every_problem_is_reported_at_once_with_its_key() {
    let config = "listen = \"nonsense\"\nmax_body = \"25 bananas\"\npoll_interval = \"soon\"\ndisk_reserve = \"-1\"
colour = \"green\"\n[sources.a]\nprovider = \"gitbub\"\nsecret = \"x\"\n[sources.b]\nprovider = \"github\"
[actions.c]\nkind = \"shout\"\n[actions.d]\nkind = \"log\"\nattempts = 0\n";
    let keys = [
        "listen",
        "max_body",
        "poll_interval",
        "disk_reserve",
        "colour",
        "sources.a.provider",
        "gitbub",
        "sources.b",
        "actions.c.kind",
        "shout",
        "actions.d.attempts",
    ];
    refused(config, &keys);
}

#[test]
fn numbers_without_a_unit_are_refused_where_a_unit_belongs() {
    refused(&format!("poll_interval = 5\n{SOURCE}"), &["poll_interval"]);
    refused(&format!("poll_interval = \"5\"\n{SOURCE}"), &["poll_interval"]);
    refused(&format!("poll_interval = \"0s\"\n{SOURCE}"), &["poll_interval"]);
    refused(&format!("max_body = \"\"\n{SOURCE}"), &["max_body"]);
}

#[test]
fn sizes_and_durations_with_units_are_understood() {
    for lines in [
        "max_body = \"1MiB\"",
        "max_body = \"512KiB\"",
        "disk_reserve = \"1GiB\"",
        "poll_interval = \"250ms\"",
        "poll_interval = \"1m 30s\"",
    ] {
        Home::with_config(&format!("{lines}\n{SOURCE}")).run(["check"]).ok();
    }
}

#[test]
fn a_source_without_a_secret_is_refused_unless_verify_is_none() {
    refused(&github_source(""), &["sources.github", "secret"]);
    refused(&github_source("verify = \"nothing\""), &["sources.github.verify"]);
    Home::with_config(&github_source("verify = \"none\"")).run(["check"]).ok();
}

#[test]
fn an_empty_secret_is_refused_wherever_it_comes_from() {
    for secret in ["\"\"", "[]", "[\"good\", \"\"]", "\"env:EMPTY\"", "\"file:empty\"", "\"file:newline\""] {
        let home = Home::with_config(&github_source(&format!("secret = {secret}"))).env("EMPTY", "");
        home.write("empty", "");
        home.write("newline", "\n");
        home.run(["check"]).refused(2, &[]);
        home.start_in_vain().refused(2, &["sources.github.secret"]);
    }
}

#[test]
fn an_empty_secret_of_the_built_in_source_is_refused() {
    let home = Home::new().env("GITHUB_WEBHOOK_SECRET", "");
    home.start_in_vain().refused(2, &["GITHUB_WEBHOOK_SECRET"]);
}

#[test]
fn a_missing_secret_is_refused_with_its_name() {
    for (secret, name) in
        [("env:NOT_SET_HERE", "NOT_SET_HERE"), ("file:no-such-file", "no-such-file"), ("credential:nope", "nope")]
    {
        let home = Home::with_config(&github_source(&format!("secret = \"{secret}\"")));
        home.start_in_vain().refused(2, &["sources.github.secret", name]);
    }
}

#[test]
fn a_source_needs_a_name_that_fits_into_a_path() {
    refused("[sources.\"a/b\"]\nprovider = \"github\"\nsecret = \"x\"\n", &["a/b"]);
    refused("[sources.\"\"]\nprovider = \"github\"\nsecret = \"x\"\n", &["sources"]);
}

/// Not refused: another program may insert events of sources that we do not have.
#[test]
fn a_problem_never_shows_a_secret() {
    let output = refused(&format!("listen = \"nonsense\"\n{}", github_source("secret = \"hunter2\"")), &["listen"]);
    assert!(!output.to_string().contains("hunter2"), "{output}");
}

#[test]
fn a_named_config_that_is_missing_is_refused() {
    Home::new().run(["check", "--config", "nowhere.toml"]).refused(2, &["nowhere.toml"]);
    Home::new().env("HOOKBOX_CONFIG", "nowhere.toml").run(["check"]).refused(2, &["nowhere.toml"]);
}

#[test]
fn the_config_is_found_by_option_then_variable_then_working_directory() {
    let config = |database: &str| format!("database = \"{database}\"\n{SOURCE}");
    let home = Home::with_config(&config("here.db"));
    home.write("variable.toml", config("variable.db"));
    home.write("option.toml", config("option.db"));
    assert!(home.run(["check"]).ok().text().contains("here.db"));
    let home = home.env("HOOKBOX_CONFIG", "variable.toml");
    assert!(home.run(["check"]).ok().text().contains("variable.db"));
    for args in [["--config", "option.toml", "check"], ["check", "--config", "option.toml"]] {
        assert!(home.run(args).ok().text().contains("option.db"));
    }
}

#[test]
fn options_override_the_config() {
    let home = Home::with_config(&format!("listen = \"127.0.0.1:1\"\ndatabase = \"here.db\"\n{SOURCE}"));
    let text = home.run(["check", "--listen", "127.0.0.1:2", "--database", "there.db"]).ok().text();
    assert!(text.contains("127.0.0.1:2") && text.contains("there.db"), "{text}");
    assert!(!text.contains("127.0.0.1:1") && !text.contains("/here.db"), "{text}");
}

#[test]
fn a_reload_applies_new_sources_and_secrets() {
    let hookbox = Home::with_config(&github_source("secret = \"one\"")).start();
    let request = Request::github("push", "d-1", "{}");
    assert_eq!(hookbox.send(&request.clone().signed_with("one")).status, 200);
    let added = "[sources.work]\nprovider = \"github\"\nsecret = \"three\"\n";
    hookbox.reload(github_source("secret = \"two\"") + added);
    assert_eq!(hookbox.send(&request.clone().signed_with("one")).status, 401);
    assert_eq!(hookbox.send(&request.clone().signed_with("two")).status, 200);
    assert_eq!(hookbox.send(&request.target("/webhooks/work").signed_with("three")).status, 200);
}

#[test]
fn a_bad_configuration_is_not_loaded_and_the_log_says_why() {
    let hookbox = Home::with_config(&github_source("secret = \"one\"")).start();
    hookbox.write("hookbox.toml", github_source("secrt = \"two\""));
    hookbox.signal(Signal::HUP);
    hookbox.wait_for_stderr("keeping the old config");
    hookbox.wait_for_stderr("secrt");
    assert_eq!(hookbox.send(&Request::github("push", "d-1", "{}").signed_with("one")).status, 200);
}

#[test]
fn a_reload_applies_new_actions() {
    let hookbox =
        Home::with_config(&format!("{SOURCE}[actions.say]\nkind = \"log\"\non = [\"github:push\"]\n")).start();
    hookbox.reload(format!("{SOURCE}[actions.tell]\nkind = \"log\"\non = [\"github:issues\"]\n"));
    hookbox.deliver("push", "d-1", "{}");
    hookbox.deliver("issues", "d-2", "{}");
    hookbox.wait_for_stdout("(delivery d-2)");
    assert!(!hookbox.stdout().contains("(delivery d-1)"));
}

#[test]
fn a_reload_without_a_config_changes_nothing() {
    let hookbox = Home::new().start();
    hookbox.signal(Signal::HUP);
    hookbox.wait_for_stderr("config reloaded");
    hookbox.deliver("push", "d-1", "{}");
}

/// What of a config is probably a mistake, by the key in its warning.
const DOUBTFUL: [(&str, &str); 9] = [
    ("actions.a.on: there is no source \"gitbub\"", "[actions.a]\nkind = \"log\"\non = [\"gitbub:push\"]"),
    ("actions.a.on: GitHub sends no event type \"issue\"", "[actions.a]\nkind = \"log\"\non = [\"github:issue\"]"),
    (
        "actions.a.run: there is no program /no/such",
        "[actions.a]\nkind = \"command\"\non = [\"*\"]\nrun = [\"/no/such\"]",
    ),
    (
        "actions.a.run: /etc/passwd is not executable",
        "[actions.a]\nkind = \"command\"\non = [\"*\"]\nrun = [\"/etc/passwd\"]",
    ),
    ("write run = [\"git\", \"pull\"]", "[actions.a]\nkind = \"command\"\non = [\"*\"]\nrun = [\"git pull\"]"),
    (
        "actions.a.headers.authorization: a reference is replaced only where it is the whole value",
        "[actions.a]\nkind = \"http\"\non = [\"*\"]\nurl = \"http://127.0.0.1:9/\"\nheaders.Authorization = \"Bearer env:TOKEN\"",
    ),
    ("sources.b.secret: this is the name of a variable", "[sources.b]\nprovider = \"stripe\"\nsecret = \"$STRIPE\""),
    ("sources.b.secret: this is the name of a variable", "[sources.b]\nprovider = \"stripe\"\nsecret = \"${STRIPE}\""),
    (
        "sources.b.allow: every delivery comes from a proxy",
        "[sources.b]\nprovider = \"hmac\"\nsecret = \"x\"\nallow = \"192.0.2.0/24\"",
    ),
];

#[test]
fn what_is_probably_a_mistake_is_a_warning_of_check_and_of_serve() {
    for (warning, keys) in DOUBTFUL {
        let home = Home::with_config(&format!("{SOURCE}{keys}\n"));
        let text = home.run(["check"]).ok().text();
        assert!(text.contains("WARNING ") && text.contains(warning), "{keys}\n{text}");
        assert!(text.ends_with("\n1 warning\n"), "{keys}\n{text}");
        home.start().wait_for_stderr(warning);
    }
}

#[test]
fn a_public_address_without_https_is_a_warning() {
    let text = |keys: &str| Home::with_config(&format!("{keys}\n{SOURCE}")).run(["check"]).ok().text();
    let warning = "WARNING listen: deliveries come in plain HTTP";
    for address in ["0.0.0.0:5000", "[::]:5000"] {
        assert!(text(&format!("listen = \"{address}\"")).contains(warning), "{address}");
    }
    for keys in ["listen = \"127.0.0.1:5000\"", "listen = \"0.0.0.0:5000\"\ntrusted_proxies = [\"192.0.2.1\"]"] {
        assert!(!text(keys).contains(warning), "{keys}");
    }
    Home::new().listen("0.0.0.0:0").start().wait_for_stderr("listen: deliveries come in plain HTTP");
}

#[test]
fn a_sender_that_signs_nothing_needs_no_provider() {
    let hookbox = Home::with_config("[sources.kuma]\nverify = \"none\"\n").start();
    let answer = hookbox.send(&Request::new("POST", "/webhooks/kuma").body(r#"{"heartbeat":{}}"#));
    assert_eq!(answer.status, 200);
    hookbox.wait_until_done();
    assert_eq!(hookbox.stored(), 1);
}
