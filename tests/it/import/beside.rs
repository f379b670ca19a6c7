//! The same requests to adnanh/webhook and to hookbox with the imported hooks: the same commands run, with the same
//! arguments, variables, files, standard input and directory, and what one refuses, the other does not run either.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use ring::hmac;

use super::{imported_with, post, signed};
use crate::support::{Address, Home, Request, closed_port, is_installed, wait_for};

/// Writes all that it gets beside itself. A shell leaves out variables whose names it cannot write, so they are read from
/// /proc. A missing value is no variable there and an empty one here, as the manual says.
const SAY: &str = r#"#!/bin/sh
here=$(dirname "$0")
{
  case "$PWD" in */dir) echo "in the directory" ;; esac
  for argument in "$@"; do echo "argument <$argument>"; done
  tr '\0' '\n' < /proc/$$/environ | grep -E '^(HOOK_|ENV_).*=.' | sort
  echo "file <$(cat "${FILE_A:-/dev/null}")> <$(cat "${FILE_B:-/dev/null}")>"
  echo "input <$(cat)>"
  echo end
} >> "$here/said"
"#;

const HOOKS: &str = r#"[
  {"id": "plain", "execute-command": "/say",
   "pass-arguments-to-command": [
     {"source": "payload", "name": "n"}, {"source": "payload", "name": "list.1.b"}, {"source": "payload", "name": "list"},
     {"source": "payload", "name": "flag"}, {"source": "header", "name": "x-kind"}, {"source": "url", "name": "q"},
     {"source": "string", "name": "{{ it's }}"}, {"source": "request", "name": "method"},
     {"source": "payload", "name": "missing"}],
   "pass-environment-to-command": [
     {"source": "payload", "name": "a.b-c"}, {"source": "payload", "name": "text", "envname": "ENV_TEXT"},
     {"source": "string", "name": "file:/x", "envname": "ENV_FIXED"}]},
  {"id": "team/über x", "execute-command": "/say", "http-methods": ["put "]},
  {"id": "files", "execute-command": "/say", "pass-file-to-command": [
     {"source": "payload", "name": "text", "envname": "FILE_A", "base64decode": true},
     {"source": "raw-request-body", "envname": "FILE_B"}]},
  {"id": "relative", "execute-command": "./say", "command-working-directory": "/dir"},
  {"id": "sha1", "execute-command": "/say", "trigger-rule": {"match": {"type": "payload-hash-sha1", "secret": "mysecret",
     "parameter": {"source": "header", "name": "X-Hub-Signature"}}}},
  {"id": "sha512", "execute-command": "/say", "trigger-rule": {"match": {"type": "payload-hmac-sha512", "secret": "mysecret",
     "parameter": {"source": "header", "name": "X-S"}}}},
  {"id": "address", "execute-command": "/say", "trigger-rule": {"match": {"type": "ip-whitelist",
     "ip-range": "10.0.0.0/8 127.0.0.9"}}},
  {"id": "either", "execute-command": "/say", "trigger-signature-soft-failures": true, "trigger-rule": {"or": [
     {"match": {"type": "payload-hmac-sha256", "secret": "mysecret", "parameter": {"source": "header", "name": "X-S"}}},
     {"match": {"type": "value", "value": "tok-tok-tok", "parameter": {"source": "url", "name": "token"}}},
     {"match": {"type": "ip-whitelist", "ip-range": "127.0.0.9/32"}}]}},
  {"id": "root", "execute-command": "/say", "pass-arguments-to-command": [{"source": "payload", "name": "root.0.x"}]},
  {"id": "form", "execute-command": "/say", "parse-parameters-as-json": [{"source": "payload", "name": "payload"}],
   "pass-arguments-to-command": [{"source": "payload", "name": "payload.x"}],
   "trigger-rule": {"and": [
     {"match": {"type": "regex", "regex": "^v[0-9]", "parameter": {"source": "payload", "name": "payload.tag"}}},
     {"not": {"match": {"type": "value", "value": "1", "parameter": {"source": "payload", "name": "payload.x"}}}}]}}
]"#;

/// The requests, each with the address that sends it.
fn requests() -> Vec<(Request, u8)> {
    let json = |id: &str, body: &str| (post(&format!("/hooks/{id}")).body(body), 1);
    let form = |body: &str| {
        let request = Request::new("POST", "/hooks/form").header("Content-Type", "application/x-www-form-urlencoded");
        (request.body(body), 1)
    };
    let hmac = |id: &str, header: &str, algorithm, prefix: &str| {
        [("{\"a\":1}", 1), ("{}", 0)].map(|(sent, _)| {
            (signed(post(&format!("/hooks/{id}")), header, algorithm, prefix, "{\"a\":1}").body(sent), 1)
        })
    };
    let payload =
        r#"{"n":1.50,"list":[0,{"b":12345678901234567890}],"flag":true,"a":{"b-c":"dotted"},"text":"aGkgJyIk\n"}"#;
    let mut all = vec![
        (post("/hooks/plain?q=a+b%26").header("X-Kind", "k \"1\"").body(payload), 1),
        json("plain", "{}"),
        json("none", "{}"),
        (Request::new("PUT", "/hooks/team/%C3%BCber%20x").body("x"), 1),
        (Request::new("POST", "/hooks/team/%C3%BCber%20x").body("x"), 1),
        json("files", payload),
        json("relative", "{}"),
        json("sha1", "{}"),
        json("sha512", "{}"),
        json("address", "{}"),
        (post("/hooks/address").body("{}"), 9),
        json("either", "{}"),
        (post("/hooks/either").body("{}"), 9),
        (post("/hooks/either?token=tok-tok-tok").body("{}"), 1),
        (post("/hooks/either?token=tok-tok-tok").header("X-S", "sha256=00").body("{}"), 1),
        (post("/hooks/either?token=wrong").header("X-S", "sha256=00").body("{}"), 1),
        json("root", r#"[{"x":"of an array"}]"#),
        json("root", r#"{"root":[{"x":"of an object"}]}"#),
        form("payload=%7B%22tag%22%3A%22v1%22%2C%22x%22%3A2%7D"),
        form("payload=%7B%22tag%22%3A%22v1%22%2C%22x%22%3A1%7D"),
        form("payload=%7B%22tag%22%3A%22w%22%2C%22x%22%3A2%7D"),
    ];
    all.extend(hmac("sha1", "X-Hub-Signature", hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, "sha1="));
    all.extend(hmac("sha512", "X-S", hmac::HMAC_SHA512, ""));
    all.extend(hmac("either", "X-S", hmac::HMAC_SHA256, "sha256=00,sha256="));
    all
}

/// Debian's webhook, with its own copy of the program that is run.
struct Webhook {
    process: Child,
    address: Address,
    home: Home,
}

impl Webhook {
    fn start() -> Webhook {
        let home = Home::new();
        prepare(&home);
        home.write("hooks.json", in_home(HOOKS, &home));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, closed_port()));
        let mut command = Command::new("webhook");
        command.args(["-ip", "127.0.0.1", "-port", &address.port().to_string(), "-hooks"]).arg(home.path("hooks.json"));
        command.current_dir(home.path("."));
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let address = Address::Tcp(address);
        let webhook = Webhook { process, address, home };
        wait_for("webhook to listen", || webhook.address.try_connect().ok());
        webhook
    }

    /// What the command has got, or nothing where none was run.
    fn said_to(&self, request: &Request, client: u8) -> String {
        let before = said(&self.home);
        let mut connection = self.address.connect_from([127, 0, 0, client].into());
        connection.send(&request.bytes());
        let response = connection.response();
        if response.status != 200 || response.text() == "Hook rules were not satisfied." {
            return String::new();
        }
        wait_for("the end of webhook's command", || {
            let said = said(&self.home)[before.len()..].to_owned();
            said.ends_with("\nend\n").then_some(said)
        })
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn prepare(home: &Home) {
    fs::create_dir(home.path("dir")).unwrap();
    for (name, text) in [("say", SAY), ("dir/say", &SAY.replace("$(dirname \"$0\")", "$PWD/.."))] {
        home.write(name, text);
        fs::set_permissions(home.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
}

fn in_home(hooks: &str, home: &Home) -> String {
    let directory = home.path("dir");
    hooks.replace("\"/say\"", &format!("{:?}", home.path("say"))).replace("\"/dir\"", &format!("{directory:?}"))
}

fn said(home: &Home) -> String {
    fs::read_to_string(home.path("said")).unwrap_or_default()
}

#[test]
fn webhook_and_hookbox_run_the_same() {
    if !is_installed("webhook", &["-version"]) {
        return;
    }
    let webhook = Webhook::start();
    let home = Home::new();
    prepare(&home);
    let hooks = in_home(HOOKS, &home);
    let hookbox = imported_with(home, &hooks).start();
    for (request, client) in requests() {
        let expected = webhook.said_to(&request, client);
        let before = said(&hookbox);
        let mut connection = hookbox.address().connect_from([127, 0, 0, client].into());
        connection.send(&request.bytes());
        let response = connection.response();
        hookbox.wait_until_done();
        let request = String::from_utf8_lossy(&request.bytes()).into_owned();
        assert_eq!(said(&hookbox)[before.len()..], expected, "{} to {client}: {request}", response.status);
    }
    assert!(said(&hookbox).matches("\nend\n").count() > 12, "{}", said(&hookbox));
}
