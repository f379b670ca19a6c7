//! The manual's recipes for programs, word for word, with the real programs where they are installed.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use super::{config, deliver_and_wait, job, status};
use crate::support::{Answer, Home, Hookbox, Stub, closed_port, example, is_installed, wait_for};

const MANUAL: &str = "src/manual/recipes.md";

const ISSUE: &str = r#"{"action":"opened","sender":{"login":"zoe"},"repository":{"full_name":"a/b"},
    "issue":{"title":"It \"breaks\" é\r\nBcc: evil@example.org","body":"-x\n.\nend","html_url":"https://e.org/i"}}"#;

/// The recipe's action, with these words in place of others.
fn recipe(text: String, changes: &[(&str, &str)]) -> Home {
    let mut text = text;
    for (from, to) in changes {
        assert!(text.contains(from), "no {from} in {text}");
        text = text.replace(from, to);
    }
    Home::with_config(&config(&format!("{text}attempts = 1\n")))
}

#[track_caller]
fn assert_processed(hookbox: &Hookbox, event: i64, name: &str) {
    assert_eq!(status(hookbox, event), "processed", "{}", job(hookbox, event, name));
}

#[track_caller]
fn last_error(hookbox: &Hookbox, event: i64, name: &str) -> String {
    assert_eq!(status(hookbox, event), "error", "{}", job(hookbox, event, name));
    job(hookbox, event, name)["last_error"].as_str().unwrap().to_owned()
}

/// A program that is ended with the test.
struct Server(Child);

impl Server {
    fn start(program: &str, arguments: &[&str]) -> Server {
        let mut command = Command::new(program);
        Server(command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A mail server for one mail. It takes the user's password, and refuses the recipient `nobody`. Returns its port, and the
/// mail with the commands before it.
fn mail_server() -> (u16, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, mails) = channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let (mut mail, mut in_data) = (String::new(), false);
        stream.write_all(b"220 stub\r\n").unwrap();
        for line in lines.map_while(Result::ok) {
            mail.push_str(&format!("{line}\n"));
            let answer = match line.split([' ', ':']).next().unwrap() {
                "." if in_data => {
                    in_data = false;
                    "250 taken"
                }
                _ if in_data => continue,
                "EHLO" => "250-stub\r\n250 AUTH PLAIN",
                "AUTH" => "235 welcome",
                "RCPT" if line.contains("nobody") => "550 no such user",
                "DATA" => {
                    in_data = true;
                    "354 go on"
                }
                "QUIT" => break,
                _ => "250 yes",
            };
            stream.write_all(format!("{answer}\r\n").as_bytes()).unwrap();
        }
        let _ = sender.send(mail);
    });
    (port, mails)
}

#[test]
fn mail_by_msmtp() {
    if !is_installed("msmtp", &["--version"]) {
        return;
    }
    for recipient in ["you", "nobody"] {
        let (port, mails) = mail_server();
        let port = format!("--port={port}");
        let here = [("smtp.example.org", "127.0.0.1"), ("--port=587", &port), ("--tls=on", "--tls=off")];
        let plain = [("--auth=on", "--auth=plain"), ("you@", &format!("{recipient}@"))];
        let hookbox = recipe(example(MANUAL, "toml", "[actions.mail]"), &[&here[..], &plain].concat())
            .env("SMTP_PASSWORD", "s3cret word")
            .start();
        deliver_and_wait(&hookbox, "issues", "d-1", ISSUE);
        let mail = mails.recv().unwrap();
        if recipient == "nobody" {
            let error = last_error(&hookbox, 1, "mail");
            assert!(error.starts_with("exit 65 msmtp: recipient") && error.contains("550 no such user"), "{error}");
            continue;
        }
        assert_processed(&hookbox, 1, "mail");
        // NUL, the user, NUL, the password, as base64.
        assert!(mail.contains("AUTH PLAIN AGhvb2tib3hAZXhhbXBsZS5vcmcAczNjcmV0IHdvcmQ="), "{mail}");
        assert!(mail.contains("\nSubject: a/b: It \"breaks\" é  Bcc: evil@example.org\n"), "{mail}");
        assert!(mail.contains("\n\nzoe opened https://e.org/i\n\n-x\n..\nend\n"), "{mail}");
    }
}

#[test]
fn mail_by_mail() {
    let sendmail = Path::new("/usr/sbin/sendmail").canonicalize().unwrap_or_default();
    if !is_installed("mail", &["-s"]) && !Path::new("/usr/bin/mail").exists() || !sendmail.ends_with("msmtp") {
        println!("skipped: there is no mail with msmtp-mta");
        return;
    }
    let (port, mails) = mail_server();
    let home = recipe(example(MANUAL, "toml", "[actions.mailx]"), &[]);
    home.write(".msmtprc", format!("account default\nhost 127.0.0.1\nport {port}\nfrom hookbox@example.org\n"));
    let hookbox = home.start();
    deliver_and_wait(&hookbox, "issues", "d-1", ISSUE);
    assert_processed(&hookbox, 1, "mailx");
    let mail = mails.recv().unwrap();
    assert!(mail.contains("RCPT TO:<you@example.org>") && !mail.contains("<evil@"), "{mail}");
    assert!(mail.contains("\nSubject: a/b: It \"breaks\" é  Bcc: evil@example.org\n"), "{mail}");
    assert!(mail.contains("zoe opened https://e.org/i\n"), "{mail}");
}

#[test]
fn apprise() {
    if !is_installed("apprise", &["--version"]) {
        return;
    }
    let stub = Stub::http();
    let url = stub.url("/notify").replace("http://", "json://user:s3cret-pass@");
    let hookbox = recipe(example(MANUAL, "toml", "[actions.apprise]"), &[]).env("APPRISE_URLS", &url).start();
    deliver_and_wait(&hookbox, "issues", "d-1", ISSUE);
    assert_processed(&hookbox, 1, "apprise");
    let sent = stub.first().json();
    assert_eq!(sent["title"], "a/b");
    assert!(sent["message"].as_str().unwrap().starts_with("zoe opened: It \"breaks\" é"), "{sent}");
    stub.answer(Answer::Status(500));
    deliver_and_wait(&hookbox, "issues", "d-2", ISSUE);
    let error = last_error(&hookbox, 2, "apprise");
    assert!(error.starts_with("exit 1 ") && error.contains("500") && !error.contains("s3cret"), "{error}");
}

#[test]
fn mqtt_by_mosquitto_pub() {
    if !Path::new("/usr/sbin/mosquitto").exists() || !Path::new("/usr/bin/mosquitto_pub").exists() {
        println!("skipped: mosquitto is not installed");
        return;
    }
    let port = closed_port().to_string();
    let home = Home::new();
    home.write("passwords", "");
    let mut passwd = Command::new("mosquitto_passwd");
    assert!(passwd.arg("-b").arg(home.path("passwords")).args(["hookbox", "s3cret"]).status().unwrap().success());
    home.write("acl", "user hookbox\ntopic readwrite hooks/#\n");
    let (passwords, acl) = (home.path("passwords"), home.path("acl"));
    home.write(
        "broker.conf",
        format!(
            "listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {}\nacl_file {}\nuser root\n",
            passwords.display(),
            acl.display()
        ),
    );
    let _broker = Server::start("/usr/sbin/mosquitto", &["-c", &home.path("broker.conf").display().to_string()]);
    wait_for("the broker", || std::net::TcpStream::connect(("127.0.0.1", port.parse().unwrap())).ok());
    // The broker keeps what comes for this client: the first call only subscribes.
    let subscriber = |more: &[&str]| {
        let mut command = Command::new("mosquitto_sub");
        command.args(["-p", &port, "-u", "hookbox", "-P", "s3cret", "-i", "reader", "-c", "-q", "1"]);
        let output = command.args(["-t", "hooks/#", "-F", "%t %p", "-W", "10"]).args(more).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    subscriber(&["-E"]);
    for (topic, is_allowed) in [("hooks/github", true), ("other/github", false)] {
        let here =
            [("broker.example.org", "127.0.0.1"), ("1883", &port), ("/etc/hookbox", "."), ("hooks/github", topic)];
        let home = recipe(example(MANUAL, "toml", "[actions.mqtt]"), &here);
        home.write("mosquitto_pub", "-u hookbox\n-P s3cret\n");
        let hookbox = home.start();
        deliver_and_wait(&hookbox, "issues", "d-1", r#"{"a": 1}"#);
        if is_allowed {
            assert_processed(&hookbox, 1, "mqtt");
            assert_eq!(subscriber(&["-C", "1"]), "hooks/github {\"a\": 1}\n");
        } else {
            let error = last_error(&hookbox, 1, "mqtt");
            assert!(error.starts_with("success_when is false: exit 0 ") && error.contains("Not authorized"), "{error}");
        }
    }
}

#[test]
fn redis_by_redis_cli() {
    if !is_installed("redis-server", &["--version"]) || !is_installed("redis-cli", &["--version"]) {
        return;
    }
    let port = closed_port().to_string();
    let _server = Server::start("redis-server", &["--port", &port, "--save", "", "--requirepass", "s3cret-pass"]);
    wait_for("the server", || std::net::TcpStream::connect(("127.0.0.1", port.parse().unwrap())).ok());
    let hookbox = recipe(example(MANUAL, "toml", "[actions.redis]"), &[("6379", &port)])
        .env("REDIS_PASSWORD", "s3cret-pass")
        .start();
    deliver_and_wait(&hookbox, "issues", "d-1", r#"{"a": "b c"}"#);
    assert_processed(&hookbox, 1, "redis");
    let ask = |words: &[&str]| {
        let mut command = Command::new("redis-cli");
        let output = command.args(["-p", &port]).args(words).env("REDISCLI_AUTH", "s3cret-pass").output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(ask(&["XRANGE", "hooks", "-", "+"]).ends_with("event\nissues\nbody\n{\"a\": \"b c\"}\n"));
    ask(&["DEL", "hooks"]);
    ask(&["SET", "hooks", "a text"]);
    deliver_and_wait(&hookbox, "issues", "d-2", "{}");
    let error = last_error(&hookbox, 2, "redis");
    assert!(error.starts_with("success_when is false: exit 0 WRONGTYPE "), "{error}");
}
