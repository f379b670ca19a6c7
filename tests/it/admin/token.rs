//! The token of the page: made at the first start, or configured.

use std::os::unix::fs::PermissionsExt;

use super::access::{TARGETS, bearing};
use super::{asking, config, get, json, post, status};
use crate::support::{Address, Home, Signal, python, wait_for};

/// What hookbox has made.
#[track_caller]
fn made(home: &Home) -> String {
    wait_for("the token", || std::fs::read_to_string(home.path("webhooks.db.token")).ok()).trim().to_owned()
}

/// Sends this many wrong tokens, and returns the statuses.
fn guess(admin: &Address, times: usize) -> Vec<u16> {
    (0..times).map(|number| status(admin, &bearing(get("/api/stats"), &format!("guess-{number}")))).collect()
}

#[test]
fn a_token_is_made_at_the_first_start_and_guards_what_shows_or_changes_deliveries() {
    let hookbox = Home::new().with_admin().start();
    hookbox.deliver("push", "d-1", "{}");
    hookbox.wait_until_done();
    let (admin, token) = (hookbox.admin_address(), made(&hookbox));
    assert!(token.len() >= 32, "{token}");
    let mode = std::fs::metadata(hookbox.path("webhooks.db.token")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for (method, target) in TARGETS {
        let is_open = !target.starts_with("/api");
        let request = asking(method, target).header("X-Hookbox", "1");
        let answer = admin.send(&request);
        assert_eq!(answer.status, if is_open { 200 } else { 401 }, "{target}");
        assert!(is_open || answer.text().contains("hookbox page"), "{}", answer.text());
        let forwarded = bearing(request.clone(), &token).header("X-Forwarded-For", "203.0.113.9");
        assert_eq!(status(&admin, &forwarded), 403, "{target}");
        assert!(matches!(status(&admin, &bearing(request, &token)), 200 | 409), "{target}");
    }
    assert_eq!(hookbox.query::<i64>("SELECT count(*) FROM paused"), [1], "by the one that had the token");
    hookbox.wait_for_stderr("hookbox page prints");
    let (home, output) = hookbox.stop();
    assert!(!output.stderr.contains(&token), "{output}");
    let hookbox = home.start();
    assert_eq!(status(&hookbox.admin_address(), &bearing(get("/api/stats"), &token)), 200, "after a restart");
}

#[test]
fn hookbox_page_prints_the_address_with_the_token() {
    let hookbox = Home::new().with_admin().start();
    let place = hookbox.admin_address().tcp().to_string();
    let token = made(&hookbox);
    let print = |place: &str| hookbox.run(["page", "--admin", place]).ok().text();
    assert_eq!(print(&place), format!("http://{place}/#token={token}\n"));
    assert!(print("unix:/run/hookbox/admin.sock").contains(&format!("http://localhost:5001/#token={token}\n")));
    hookbox.write("hookbox.toml", "[admin]\ntoken = 'env:ADMIN'\nlisten = '0.0.0.0:5001'\nhosts = ['pi.local']\n");
    hookbox.run(["page"]).refused(1, &["ADMIN"]);
    hookbox.write("hookbox.toml", "[admin]\ntoken = 'a b&c'\n");
    assert_eq!(hookbox.run(["page"]).ok().text(), "http://127.0.0.1:5001/#token=a+b%26c\n");
    hookbox.write("hookbox.toml", "[admin]\ntoken = 'none'\n");
    assert_eq!(hookbox.run(["page"]).ok().text(), "http://127.0.0.1:5001/\n");
    Home::new().run(["page"]).refused(1, &["no token yet", "hookbox serve"]);
    Home::new().run(["page", "--admin", "off"]).refused(2, &["no page"]);
}

#[test]
fn only_on_a_terminal_the_log_shows_the_token() {
    let home = Home::new();
    let Some(mut python) = python(&home) else { return };
    let script = "import os, pty, signal, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
signal.signal(signal.SIGALRM, lambda *_: os.kill(pid, signal.SIGKILL))
signal.alarm(60)
shown = b''
while b'#token=' not in shown or not shown.endswith(b'\\n'):
    shown += os.read(terminal, 4096)
os.kill(pid, signal.SIGTERM)
os.write(1, shown)
";
    let command = home.command();
    python.args(["-c", script]).arg(command.get_program()).args(command.get_args());
    let output = python.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]).output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(shown.contains(&format!("/#token={}", made(&home))), "{shown}");
}

#[test]
fn after_ten_wrong_tokens_a_minute_further_ones_are_answered_429() {
    let hookbox = Home::new().with_admin().start();
    let (admin, token) = (hookbox.admin_address(), made(&hookbox));
    assert_eq!(guess(&admin, 10), [401; 10]);
    let answer = admin.send(&bearing(get("/api/events"), "guess"));
    assert_eq!((answer.status, answer.header("Retry-After")), (429, Some("60")));
    assert_eq!(guess(&admin, 20), [429; 20]);
    assert_eq!(
        status(&admin, &bearing(get("/api/stats"), &token)),
        200,
        "it cannot be guessed, nor its owner locked out"
    );
    assert_eq!(status(&admin, &get("/api/stats")), 401);
    assert!(admin.send(&get("/metrics")).text().contains("\nhookbox_wrong_tokens_total 31\n"));
    let (_, output) = hookbox.stop();
    let logged = output.stderr.lines().filter(|line| line.contains("wrong token for the page from 127.0.0.1"));
    assert_eq!(logged.count(), 5, "{output}");
    assert!(output.stderr.contains("26 x wrong token for the page"), "{output}");
}

#[test]
fn a_configured_token_is_not_compared_with_an_eleventh_guess() {
    let hookbox = Home::with_config(&config("token = 'hunter2'")).with_admin().start();
    let admin = hookbox.admin_address();
    assert_eq!(guess(&admin, 10), [401; 10]);
    assert_eq!(status(&admin, &bearing(get("/api/stats"), "hunter2")), 429);
    assert_eq!(status(&admin, &bearing(get("/metrics"), "hunter2")), 429);
    assert_eq!(status(&admin, &get("/healthz")), 200);
    assert!(!hookbox.path("webhooks.db.token").exists(), "none is made");
}

#[test]
fn a_token_of_none_opens_the_page_to_every_user_of_this_machine_only() {
    let hookbox = Home::with_config(&config("token = 'none'")).with_admin().start();
    hookbox.deliver("push", "d-1", "{}");
    let admin = hookbox.admin_address();
    assert_eq!(json(&admin.send(&get("/api/events")))["events"][0]["id"], 1);
    assert_eq!(status(&admin, &post("/api/actions/log/pause")), 200);
    hookbox.wait_for_stderr("every user of this machine");
    let exposed = Home::with_config(&config("listen = '0.0.0.0:0'\ntoken = 'none'")).admin(None);
    exposed.start_in_vain().refused(2, &["admin.token"]);
    exposed.run(["check"]).refused(2, &["admin.token"]);
}

#[test]
fn a_short_token_is_refused_where_other_machines_can_guess_it() {
    for token in ["correct horse", "env:ADMIN"] {
        let home = Home::with_config(&config(&format!("listen = '0.0.0.0:0'\ntoken = '{token}'")));
        let home = home.env("ADMIN", "123456789012345").admin(None);
        for output in [home.start_in_vain(), home.run(["check"])] {
            let said = output.to_string();
            assert_eq!(output.code, Some(2), "{said}");
            assert!(said.contains("admin.token") && said.contains("shorter than 16"), "{said}");
            assert!(!said.contains("correct horse") && !said.contains("12345678"), "{said}");
        }
    }
    let long = Home::with_config(&config("listen = '0.0.0.0:0'\ntoken = '1234567890123456'"));
    let hookbox = long.admin(None).start();
    hookbox.write("hookbox.toml", config("token = 'short'"));
    hookbox.signal(Signal::HUP);
    hookbox.wait_for_stderr("keeping the old config");
}

#[test]
fn without_room_for_its_token_the_page_stays_closed_and_deliveries_are_received() {
    let home = Home::new().with_admin();
    std::fs::create_dir(home.path("webhooks.db.token")).unwrap();
    let hookbox = home.start();
    hookbox.deliver("push", "d-1", "{}");
    let admin = hookbox.admin_address();
    for request in [get("/api/stats"), bearing(get("/api/stats"), ""), bearing(get("/api/stats"), "x")] {
        assert_eq!(status(&admin, &request), 503);
    }
    assert_eq!(status(&admin, &get("/metrics")), 200);
    hookbox.wait_for_stderr("its token cannot be stored");
}
