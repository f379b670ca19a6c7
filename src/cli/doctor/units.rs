//! The state of the units with which systemd runs hookbox.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use super::{Context, Finding, Findings, fail, ok, warn};

/// systemd answers within milliseconds, unless it hangs.
const TIMEOUT: Duration = Duration::from_secs(5);

const SOCKET: &str = "hookbox.socket";
const SERVICE: &str = "hookbox.service";

/// Holds up `time-sync.target` until the clock is synchronised.
const TIME_WAIT: &str = "systemd-time-wait-sync.service";

/// What systemd says of a unit, by property.
type Unit = BTreeMap<String, String>;

/// Nothing where there is no systemd, or no such unit.
pub(super) fn check(context: &Context<'_>, findings: &mut Findings) {
    let units = units();
    let unit = |name: &str| units.iter().find(|unit| is(unit, "Id", name) && is(unit, "LoadState", "loaded"));
    if let Some(socket) = unit(SOCKET) {
        findings.add(SOCKET, of_socket(socket, context));
    }
    if let Some(finding) = unit(SERVICE).and_then(of_service) {
        findings.add(SERVICE, finding);
    }
    if let Some(finding) = unit(TIME_WAIT).and_then(|unit| of_time_wait(unit, context)) {
        findings.add("time-wait-sync", finding);
    }
}

fn of_socket(unit: &Unit, context: &Context<'_>) -> Finding {
    match unit.get("ActiveState").map_or("", String::as_str) {
        "active" => ok("systemd listens for hookbox"),
        "failed" => fail(format!(
            "it has failed ({}), so that systemd does not listen: sudo systemctl reset-failed {SOCKET} {SERVICE}, and then sudo \
             systemctl start {SOCKET} {SERVICE}",
            result(unit)
        )),
        // The service binds the address itself.
        _ if context.server.is_some() => ok("it is not active, and hookbox serve listens by itself"),
        _ => warn(format!("it is not active: sudo systemctl enable --now {SOCKET}")),
    }
}

fn of_service(unit: &Unit) -> Option<Finding> {
    is(unit, "ActiveState", "failed").then(|| {
        fail(format!(
            "it has failed ({}): sudo journalctl -u {SERVICE} -n 20 says why; then sudo systemctl restart {SERVICE}",
            result(unit)
        ))
    })
}

fn of_time_wait(unit: &Unit, context: &Context<'_>) -> Option<Finding> {
    if !is(unit, "ActiveState", "activating") {
        return None;
    }
    let text = "it waits until the clock is synchronised, forever without NTP, and what is ordered after time-sync.target with \
                it: sudo timedatectl set-ntp true, or sudo systemctl disable --now systemd-time-wait-sync (hookbox needs it not: \
                it refuses with 503 what needs a right clock)";
    Some(if context.server.is_some() { warn(text) } else { fail(text) })
}

fn result(unit: &Unit) -> &str {
    unit.get("Result").map_or("for an unknown reason", String::as_str)
}

fn is(unit: &Unit, property: &str, value: &str) -> bool {
    unit.get(property).is_some_and(|found| found == value)
}

fn units() -> Vec<Unit> {
    let mut command = Command::new("systemctl");
    command.args(["show", SOCKET, SERVICE, TIME_WAIT, "--property=Id,LoadState,ActiveState,Result"]);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    let (sender, output) = channel();
    // Not joined: a systemd that hangs must not delay the other checks.
    thread::spawn(move || sender.send(command.output()));
    let Ok(Ok(output)) = output.recv_timeout(TIMEOUT) else { return Vec::new() };
    parse(&String::from_utf8_lossy(&output.stdout))
}

/// A paragraph for each unit, with a line for each property.
fn parse(text: &str) -> Vec<Unit> {
    let property = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    text.split("\n\n").map(|unit| unit.lines().filter_map(property).collect()).collect()
}
