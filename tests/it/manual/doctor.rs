//! The lines of the chapter doctor are what it prints on such a machine.

use regex_lite::Regex;

use super::patient;
use crate::support::{Machine, example};

const CONFIG: &str = r#"
database = "/var/lib/hookbox/webhooks.db"

[admin]
listen = "192.168.1.5:5001"
token = "file:/etc/hookbox/token"

[sources.github]
provider = "github"
secret = "env:GITHUB_WEBHOOK_SECRET"

[sources.github.recover]
hook = "octocat/hello-world/12345678"
token = "file:/etc/hookbox/token"
every = "off"

[actions.deploy]
kind = "command"
run = ["false"]
on = ["github:push"]
attempts = 1

[actions.team]
kind = "http"
url = "http://127.0.0.1:3000/"
on = ["github:issues"]

[actions.mail]
kind = "http"
url = "http://127.0.0.1:3001/"
on = ["github:release"]
backoff = "12h"

[actions.home]
kind = "http"
url = "http://homeassistant.local:8123/"
on = ["github:workflow_run"]
"#;

/// A service that asks to wait.
const BUSY: &str = r#"exec python3 -c "
import http.server
class Busy(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.send_response(503)
        self.send_header('Retry-After', '3600')
        self.end_headers()
server = http.server.HTTPServer(('127.0.0.1', 3000), Busy)
print('ready', flush=True)
server.serve_forever()"
"#;

/// A small disk, whose syncs take as long as those of an SD card, and the answers of a systemd.
fn machine() -> Option<Machine> {
    let machine = Machine::new()?;
    if !["mkfs.ext4", "strace", "python3"].iter().all(|program| machine.has(program)) {
        return None;
    }
    let disk = "truncate -s 200M disk && mkfs.ext4 -q disk && mkdir -p /var/lib/hookbox && mount -o loop disk /var/lib/hookbox";
    if machine.try_paste(disk).code != Some(0) {
        println!("skipped: no disk can be mounted");
        return None;
    }
    machine.paste("chmod 700 /var/lib/hookbox");
    machine.program("timedatectl", "echo yes");
    machine.program("systemctl", "printf 'Id=hookbox.socket\\nLoadState=loaded\\nActiveState=active\\n'");
    machine.put("/etc/hookbox/token", "0123456789abcdef\n");
    machine.paste("chmod 600 /etc/hookbox/token");
    machine.put("/etc/hookbox/hookbox.toml", CONFIG);
    Some(machine)
}

/// The line of another time: its numbers are others, and what it leaves out (`...`) is anything.
fn pattern(line: &str) -> Regex {
    let escaped = Regex::new(r"[\[\](){}*+?.^$|\\]").unwrap().replace_all(line, "\\$0").into_owned();
    let numbers = Regex::new(r"\d+").unwrap().replace_all(&escaped, "\\d+").into_owned();
    Regex::new(&format!("^{}$", numbers.replace(r"\.\.\.", ".*"))).unwrap()
}

#[test]
fn doctor_prints_the_manuals_lines_in_their_order() {
    let Some(machine) = machine() else { return };
    let busy = machine.start(BUSY);
    busy.wait_for_stdout("ready");
    let _hookbox = machine.serve("GITHUB_WEBHOOK_SECRET=s3cret hookbox");
    for (event, count) in [("push", 2), ("issues", 4), ("release", 2)] {
        for _ in 0..count {
            machine.paste(&format!("GITHUB_WEBHOOK_SECRET=s3cret hookbox send github --event {event}"));
        }
    }
    for _ in 0..3 {
        machine.try_paste("GITHUB_WEBHOOK_SECRET=wrong hookbox send github");
    }
    let doctor = || {
        let slow = "strace -f -qq -o /dev/null -e trace=fsync,fdatasync -e inject=fsync,fdatasync:delay_enter=40000";
        machine.try_paste(&format!("{slow} hookbox doctor")).text()
    };
    patient("the first attempts", || doctor().contains("2 events, 2 dead jobs"));
    let without_page = doctor();
    machine.paste("ip address add 192.168.1.5/32 dev lo");
    patient("the page", || doctor().contains("page address      answers"));
    let with_page = doctor();
    let mut at = 0;
    for line in example("src/manual/doctor.md", "text", "ok ").lines() {
        // What the page's listener counts is not known without it.
        let printed = if line.contains("rejected") { &with_page } else { &without_page };
        let pattern = pattern(line);
        let found = printed.lines().position(|printed| pattern.is_match(printed));
        assert!(found >= Some(at), "not printed after the one before: {line}\n{printed}");
        at = found.unwrap();
    }
}
