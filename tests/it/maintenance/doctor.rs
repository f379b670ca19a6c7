//! `hookbox doctor` finds common problems, and changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::{OLD, insert_done};
use crate::support::{
    Answer, Disk, Home, Request, SECRET, SOURCE, Stub, authority, closed_port, expired, strace_injecting, wait_for,
};
use crate::upgrade;

/// Results of all checks, with their texts, by name.
#[track_caller]
fn run_checks(home: &Home, args: &[&str]) -> (i32, BTreeMap<String, (String, String)>) {
    let output = home.run([&["doctor", "--json"], args].concat());
    assert!(!output.to_string().contains("panicked"), "{output}");
    assert!(!output.to_string().contains(SECRET), "{output}");
    let findings: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output}"));
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let by_name = findings.iter().map(|one| (text(one, "check"), (text(one, "result"), text(one, "text")))).collect();
    (output.code.unwrap(), by_name)
}

#[track_caller]
pub fn assert_finds(home: &Home, args: &[&str], check: &str, result: &str, words: &[&str]) {
    let (code, findings) = run_checks(home, args);
    let Some((found, text)) = findings.get(check) else { panic!("no check {check:?} in {findings:?}") };
    assert_eq!(found, result, "{check}: {text}");
    for word in words {
        assert!(text.contains(word), "no {word:?} in {text:?}");
    }
    assert_eq!(code == 1, findings.values().any(|(result, _)| result == "fail"), "exit {code}: {findings:?}");
}

/// Every file in the place and its content.
fn files(home: &Home) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(home.path(".")).unwrap().map(|file| file.unwrap().path());
    files.filter(|path| path.is_file()).map(|path| (path.display().to_string(), fs::read(&path).unwrap())).collect()
}

#[test]
fn doctor_creates_and_changes_nothing() {
    let home = Home::new();
    run_checks(&home, &[]);
    assert!(files(&home).is_empty(), "{:?}", files(&home).keys());
    let (home, _) = home.start().stop();
    let before = files(&home);
    run_checks(&home, &[]);
    assert!(files(&home) == before, "{:?}", files(&home).keys());

    let hookbox = home.start();
    hookbox.deliver("push", "d-1", "{}");
    hookbox.wait_until_done();
    let home = hookbox.kill9();
    let mut before = files(&home);
    run_checks(&home, &[]);
    let mut after = files(&home);
    // SQLite rebuilds it whenever the database is opened.
    let shm = home.path("./webhooks.db-shm").display().to_string();
    assert!(before.remove(&shm).is_some() && after.remove(&shm).is_some(), "{:?}", after.keys());
    assert!(after == before, "{:?}", after.keys());
}

#[test]
fn doctor_prints_a_line_per_check_and_fails_if_one_fails() {
    let hookbox = Home::new().start();
    let listen = hookbox.url("").trim_start_matches("http://").to_owned();
    let output = hookbox.run(["doctor", "--listen", &listen]).ok();
    for line in output.text().lines() {
        assert!(["ok ", "warn ", "FAIL "].iter().any(|result| line.starts_with(result)), "{line}");
    }
    for check in ["clock", "config", "source github", "disk", "file system", "permissions", "database", "listen"] {
        assert!(output.text().contains(&format!(" {check} ")), "no {check} in {output}");
    }
    let output = hookbox.run(["doctor", "--config", "missing.toml"]);
    output.refused(1, &["1 check fails"]);
    assert!(output.text().contains("FAIL  config"), "{output}");
}

#[test]
fn doctor_finds_out_whether_hookbox_listens() {
    let hookbox = Home::new().start();
    let listen = hookbox.url("").trim_start_matches("http://").to_owned();
    assert_finds(&hookbox, &["--listen", &listen], "listen", "ok", &["serves at", &listen]);
    let free = format!("127.0.0.1:{}", closed_port());
    assert_finds(&hookbox, &["--listen", &free], "listen", "fail", &["does not answer", "systemd's socket"]);
    let (home, _) = hookbox.stop();
    assert_finds(&home, &["--listen", &free], "listen", "warn", &["is free", "does not run"]);
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().to_string();
    assert_finds(&home, &["--listen", &taken], "listen", "warn", &["in use", "hookbox.socket", "ss -ltnp"]);
    other.set_nonblocking(true).unwrap();
    assert!(other.accept().is_err(), "a request would start the service of a systemd socket");
    assert_finds(&home, &["--listen", "192.0.2.1:80"], "listen", "fail", &["no program can listen"]);
}

#[test]
fn doctor_names_missing_and_exposed_secrets_and_shows_none() {
    let action = "[actions.team]\nkind = \"slack\"\nurl = \"env:SLACK_URL\"\non = [\"*\"]\n";
    let sources = "[sources.a]\nprovider = \"github\"\nsecret = \"file:secret\"\n\
        [sources.b]\nprovider = \"github\"\nverify = \"none\"\n";
    let home = Home::with_config(&format!("{SOURCE}{sources}{action}")).without_secret();
    assert_finds(&home, &[], "source github", "fail", &["GITHUB_WEBHOOK_SECRET"]);
    assert_finds(&home, &[], "source b", "warn", &["NOT verified"]);
    assert_finds(&home, &[], "action team", "fail", &["SLACK_URL"]);
    assert_finds(&home, &[], "source a", "fail", &["file:secret"]);
    home.write("secret", SECRET);
    fs::set_permissions(home.path("secret"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_finds(&home, &[], "source a", "warn", &["chmod o-rw secret"]);
    fs::set_permissions(home.path("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_finds(&home, &[], "source a", "ok", &[]);
    let home = home.env("GITHUB_WEBHOOK_SECRET", SECRET).env("SLACK_URL", "https://hooks.slack.com/services/T/B/x");
    assert_finds(&home, &[], "source github", "ok", &[]);
    assert_finds(&home, &[], "action team", "ok", &[]);
}

#[test]
fn doctor_says_what_guards_the_page() {
    let home = Home::new();
    let admin = ["--admin", "127.0.0.1:0"];
    assert_finds(&home, &admin, "page", "ok", &["is made when"]);
    let (home, _) = home.with_admin().start().stop();
    assert_finds(&home, &admin, "page", "ok", &["hookbox page"]);
    home.write("hookbox.toml", "[admin]\ntoken = 'none'\n");
    assert_finds(&home, &admin, "page", "warn", &["every user of this machine"]);
    home.write("hookbox.toml", "[admin]\ntoken = 'env:ADMIN'\n");
    assert_finds(&home, &admin, "page", "fail", &["ADMIN"]);
}

#[test]
fn a_secret_known_only_to_the_running_server_is_no_failure() {
    let hookbox = Home::with_config(SOURCE).start();
    let mut command = hookbox.command();
    command.env_remove("GITHUB_WEBHOOK_SECRET").args(["doctor", "--listen", &hookbox.url("").replace("http://", "")]);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.lines().any(|line| line.starts_with("warn  source github") && line.contains("serves")), "{text}");
    assert_eq!(output.status.code(), Some(0), "{text}");
}

#[test]
fn doctor_counts_waiting_and_failed_events() {
    let (home, _) = Home::with_config(&format!("{SOURCE}[actions]\n")).start().stop();
    assert_finds(&home, &[], "unprocessed", "ok", &["0 events"]);
    insert_done(&home, 2, "unprocessed", OLD, 10);
    insert_done(&home, 3, "error", OLD, 10);
    home.db().execute_batch("UPDATE jobs SET state = 'dead' WHERE event_id = 3").unwrap();
    assert_finds(&home, &[], "unprocessed", "warn", &["2 events", "years", "does not run"]);
    assert_finds(&home, &[], "failed", "warn", &["3 events, 1 dead jobs", "hookbox list --status error"]);
    let hookbox = home.start();
    hookbox.db().execute_batch("INSERT INTO paused VALUES ('deploy', '')").unwrap();
    assert_finds(&hookbox, &[], "jobs of deploy", "warn", &["paused", "hookbox resume deploy"]);
}

#[test]
fn doctor_finds_a_damaged_a_newer_and_a_foreign_database() {
    let (home, _) = Home::new().start().stop();
    insert_done(&home, 200, "processed", OLD, 2_000);
    home.db().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let whole = fs::read(home.path("webhooks.db")).unwrap();
    let mut garbage = whole.clone();
    let middle = garbage.len() / 4096 / 2 * 4096;
    garbage[middle..middle + 4096].fill(0xA5);
    home.write("webhooks.db", &garbage);
    assert_finds(&home, &[], "database", "fail", &["damaged", "mv "]);
    home.write("webhooks.db", "not a database at all, but a text of some length");
    assert_finds(&home, &[], "database", "fail", &["not a database"]);
    home.write("webhooks.db", &whole);
    assert_finds(&home, &[], "database", "ok", &["sound"]);
    home.db().execute_batch("PRAGMA user_version = 99").unwrap();
    assert_finds(&home, &[], "database", "fail", &["later version"]);
    fs::remove_file(home.path("webhooks.db")).unwrap();
    upgrade::earlier(&home);
    assert_finds(&home, &[], "database", "warn", &["brings it up to date"]);
    home.start().assert_alive();
}

#[test]
fn doctor_finds_out_whether_a_proxy_passes_the_clients_address() {
    let hookbox = Home::new().start();
    let deliver = |id: &str, field: &str, value: &str| {
        let request = Request::github("push", id, "{}").with(field, value);
        assert_eq!(hookbox.send(&request).status, 200);
    };
    assert_finds(&hookbox, &[], "proxy", "ok", &["no recent delivery"]);
    deliver("d-1", "X-Forwarded-Proto", "https");
    assert_finds(&hookbox, &[], "proxy", "warn", &["proxy_set_header"]);
    deliver("d-2", "X-Forwarded-For", "192.0.2.1");
    assert_finds(&hookbox, &[], "proxy", "warn", &["trusted_proxies"]);
    hookbox.write("hookbox.toml", format!("trusted_proxies = [\"127.0.0.1\"]\n{SOURCE}"));
    assert_finds(&hookbox, &[], "proxy", "ok", &["addresses of senders"]);
}

#[test]
fn doctor_finds_names_that_do_not_resolve() {
    let action = "[actions.home]\nkind = \"http\"\non = [\"*\"]\n\
        url = \"http://no-such-machine.local:8123/api/webhook/precious\"\n";
    let home = Home::with_config(&format!("{SOURCE}{action}"));
    assert_finds(&home, &[], "destination home", "fail", &["no-such-machine.local", "/etc/hosts"]);
    assert!(!home.run(["doctor"]).to_string().contains("precious"));
}

fn http_action(name: &str, url: &str, keys: &str) -> String {
    format!("[actions.{name}]\nkind = \"http\"\non = [\"*\"]\nurl = \"{url}\"\n{keys}\n")
}

#[test]
fn doctor_asks_destinations_without_a_request() {
    let (plain, (root, identity)) = (Stub::http(), authority("localhost"));
    let (secure, (_, old)) = (Stub::https(&identity), expired("localhost"));
    let expired = Stub::https(&old);
    let url = |stub: &Stub, path: &str| format!("{}?token=precious", stub.url(path));
    let refusing = format!("http://127.0.0.1:{}/precious", closed_port());
    let config = [
        http_action("plain", &url(&plain, "/precious"), ""),
        http_action("trusted", &url(&secure, "/precious"), "ca_file = \"root.pem\""),
        http_action("untrusted", &url(&secure, "/precious"), ""),
        http_action("expired", &url(&expired, "/precious"), ""),
        http_action("down", &refusing, ""),
        http_action("varies", "http://{{ payload.host }}/", ""),
        "[actions.run]\nkind = \"command\"\non = [\"*\"]\nrun = [\"touch\", \"ran\"]\n".to_owned(),
    ];
    let home = Home::with_config(&format!("{SOURCE}{}", config.concat()));
    home.write("root.pem", root);
    for (action, result, word) in [
        ("plain", "ok", "accepts connections"),
        ("trusted", "ok", "its certificate is trusted"),
        ("untrusted", "fail", "ca_file"),
        ("expired", "fail", "invalid peer certificate"),
        ("down", "fail", "refused"),
        ("varies", "ok", "depends on the event"),
    ] {
        assert_finds(&home, &[], &format!("destination {action}"), result, &[word]);
    }
    let (_, findings) = run_checks(&home, &[]);
    assert!(!findings.contains_key("destination run") && !home.path("ran").exists());
    assert!(!home.run(["doctor"]).to_string().contains("precious"));
    assert_eq!(plain.count() + secure.count() + expired.count(), 0, "no request");
}

#[test]
fn doctor_says_until_when_and_why_a_destination_asks_to_wait() {
    let stub = Stub::http();
    stub.answer(Answer::header(503, "Retry-After", "1000"));
    let hookbox = Home::with_config(&format!("{SOURCE}{}", http_action("team", &stub.url("/"), ""))).start();
    hookbox.deliver("push", "d-1", "{}");
    wait_for("the hold", || (hookbox.query::<i64>("SELECT count(*) FROM holds")[0] == 1).then_some(()));
    assert_finds(
        &hookbox,
        &[],
        "jobs of team",
        "warn",
        &["asks to wait until 20", "(503", "1 jobs wait", "resume team"],
    );
    assert!(hookbox.run(["stats"]).ok().text().contains("asks to wait until"));
}

/// A program of that name in `PATH`, before the real one.
fn fake(home: &Home, name: &str, script: &str) -> String {
    let directory = home.path("bin");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(directory.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:{}", directory.display(), std::env::var("PATH").unwrap())
}

#[test]
fn doctor_finds_a_failed_socket_and_a_wait_for_the_clock() {
    let unit = |name: &str, state: &str, result: &str| {
        format!("Id={name}\nLoadState=loaded\nActiveState={state}\nResult={result}\n")
    };
    let with = |units: &[String]| {
        let home = Home::new();
        let path = fake(&home, "systemctl", &format!("cat <<'END'\n{}\nEND", units.join("\n")));
        home.env("PATH", &path)
    };
    let (socket, service, clock) = ("hookbox.socket", "hookbox.service", "systemd-time-wait-sync.service");
    let home = with(&[
        unit(socket, "failed", "service-start-limit-hit"),
        unit(service, "failed", "exit-code"),
        unit(clock, "activating", "success"),
    ]);
    assert_finds(&home, &[], socket, "fail", &["service-start-limit-hit", "reset-failed hookbox.socket"]);
    assert_finds(&home, &[], service, "fail", &["exit-code", "journalctl"]);
    assert_finds(&home, &[], "time-wait-sync", "fail", &["timedatectl set-ntp true", "disable --now"]);
    let home = with(&[
        unit(socket, "active", "success"),
        unit(service, "active", "success"),
        unit(clock, "active", "success"),
    ]);
    assert_finds(&home, &[], socket, "ok", &["listens"]);
    let (_, findings) = run_checks(&home, &[]);
    assert!(!findings.contains_key("time-wait-sync") && !findings.contains_key(service), "{findings:?}");
}

#[test]
fn doctor_tells_of_rejects_since_when_and_how_often() {
    let hookbox = Home::new().with_admin().start();
    for _ in 0..3 {
        let answer = hookbox.send(&Request::github("push", "d-1", "{}").signed_with("another"));
        assert_eq!(answer.status, 401);
    }
    let admin = hookbox.admin_address().tcp().to_string();
    assert_finds(
        &hookbox,
        &["--admin", &admin],
        "rejected github",
        "warn",
        &["does not match", "(3 x since 20", ", last 20"],
    );
    let page = format!("http://{admin}/");
    assert_finds(&hookbox, &["--admin", &admin], "page", "ok", &[&page, "hookbox page"]);
    assert_finds(&hookbox, &["--admin", "off"], "rejected", "warn", &["unknown", "admin"]);
}

#[test]
fn doctor_reports_a_small_or_full_disk_and_its_file_system() {
    let Some(disk) = Disk::tmpfs(24 << 20) else { return };
    let path = disk.path("webhooks.db").display().to_string();
    let home = Home::with_config(&format!("disk_reserve = \"4MiB\"\n{SOURCE}"));
    let args = ["--database", path.as_str()];
    assert_finds(&home, &args, "disk", "warn", &["24 MiB"]);
    assert_finds(&home, &args, "retention", "warn", &["[retention]"]);
    assert_finds(&home, &args, "file system", "warn", &["in memory"]);
    disk.fill("filler", 1 << 20);
    assert_finds(&home, &args, "disk", "fail", &["disk_reserve"]);
    home.write("hookbox.toml", format!("disk_reserve = \"1MiB\"\n{SOURCE}[retention]\nprocessed = \"90d\"\n"));
    assert_finds(&home, &args, "retention", "ok", &["90"]);
    let Some(home) = strace_injecting(Home::new(), "statfs:poke_exit=@arg2=6969000000000000") else { return };
    assert_finds(&home, &[], "file system", "fail", &["NFS"]);
}

#[test]
fn doctor_reports_a_missing_directory() {
    let home = Home::new();
    assert_finds(&home, &["--database", "missing/webhooks.db"], "directory", "fail", &["missing", "StateDirectory"]);
    let (_, findings) = run_checks(&home, &[]);
    assert!(!findings.contains_key("directory") && findings["database"].1.contains("not there yet"), "{findings:?}");
}

#[test]
fn doctor_reports_the_permissions_of_the_database() {
    let (home, _) = Home::new().start().stop();
    for (mode, result) in [(0o600, "ok"), (0o644, "warn"), (0o666, "fail")] {
        fs::set_permissions(home.path("webhooks.db"), fs::Permissions::from_mode(mode)).unwrap();
        assert_finds(&home, &[], "permissions", result, &["webhooks.db"]);
    }
    fs::set_permissions(home.path("webhooks.db"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(home.path("."), fs::Permissions::from_mode(0o775)).unwrap();
    assert_finds(&home, &[], "permissions", "warn", &["group", "replace files", "chmod g-w"]);
    fs::set_permissions(home.path("."), fs::Permissions::from_mode(0o1775)).unwrap();
    assert_finds(&home, &[], "permissions", "ok", &["webhooks.db"]);
    fs::set_permissions(home.path("."), fs::Permissions::from_mode(0o777)).unwrap();
    assert_finds(&home, &[], "permissions", "fail", &["replace files", "chmod o-w"]);
}

#[test]
fn doctor_names_the_way_back_for_what_a_provider_never_sends_again() {
    let recover = "[sources.github.recover]\nhook = \"octocat/hello-world/1\"\ntoken = \"env:TOKEN\"\n";
    let gitea = "[sources.forge]\nprovider = \"gitea\"\nsecret = \"x\"\n\
                 [sources.door]\nprovider = \"token\"\nsecret = \"x\"\n[actions]\n";
    let home = Home::with_config(&format!("{SOURCE}{gitea}")).env("TOKEN", "t");
    let once = "hookbox recover gets it back, once there is [sources.github.recover]";
    assert_finds(&home, &[], "outage github", "ok", &["GitHub never sends again", once]);
    assert_finds(&home, &[], "outage forge", "ok", &["Gitea never sends again", "during an outage. Its retries: none"]);
    assert_finds(&home, &[], "outage door", "ok", &["the sender decides whether to send again"]);
    home.write("hookbox.toml", format!("{SOURCE}{recover}{gitea}"));
    assert_finds(&home, &[], "outage github", "ok", &["outage: hookbox recover github gets it back"]);
}
