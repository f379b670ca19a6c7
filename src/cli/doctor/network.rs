//! The public address, and names that only the local network knows.

use std::io::{self, ErrorKind};
use std::net::ToSocketAddrs;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Access, access};
use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{AddressFamily, SocketType, bind, socket};

use super::{Context, Report};
use crate::action::ActionKind;
use crate::ask::{self, Response};
use crate::listen::{Listen, LocalAddress};

/// A busy receiver answers within a second.
const TIMEOUT: Duration = Duration::from_secs(5);

const CHECK: &str = "listen";

/// Is it we who listen? A socket that systemd holds is only asked while somebody serves: a question would start the unit.
pub(super) fn listening(patient: &Context<'_>, report: &mut Report) {
    match (&patient.server, &patient.config.listen) {
        (Some(pid), listen) => match LocalAddress::of(listen).and_then(|address| ask::health(&address, TIMEOUT)) {
            Ok(response) => check_response(listen, pid, &response, report),
            Err(error) if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) => {
                not_hookbox(listen, report);
            }
            Err(error) => report.fail(
                CHECK,
                format!(
                    "process {pid} serves the database, but {listen} does not answer ({error}): does it use this config? Where \
                     systemd's socket listens elsewhere, write listen as it stands there"
                ),
            ),
        },
        (None, Listen::Tcp(address)) => try_to_bind(address, report),
        (None, Listen::Unix(path)) => try_directory(path, report),
    }
}

fn check_response(listen: &Listen, pid: &str, response: &Response, report: &mut Report) {
    match (response.status, response.line().as_str()) {
        (200, "ok") => report.ok(CHECK, format!("process {pid} serves at {listen}")),
        (503, reason) => report.fail(CHECK, format!("process {pid} refuses deliveries at {listen}: {reason}")),
        _ => not_hookbox(listen, report),
    }
}

fn not_hookbox(listen: &Listen, report: &mut Report) {
    report.fail(CHECK, format!("who answers at {listen} is not hookbox: ss -ltnp shows who it is"));
}

fn try_to_bind(address: &str, report: &mut Report) {
    match can_bind(address) {
        Ok(()) => report.warn(CHECK, format!("{address} is free: hookbox serve does not run on this database")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => report.warn(
            CHECK,
            format!(
                "{address} is in use, and hookbox serve does not run on this database. systemd's hookbox.socket may hold it; \
                 if not, ss -ltnp shows who does"
            ),
        ),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => report.fail(
            CHECK,
            format!("this user may not listen on {address}: take a port from 1024 on, or let systemd's socket hold it"),
        ),
        Err(error) => report.fail(CHECK, format!("nobody can listen on {address}: {error}")),
    }
}

/// Takes the address without listening on it, so that nobody connects, and gives it back.
fn can_bind(address: &str) -> io::Result<()> {
    let none = || io::Error::new(ErrorKind::NotFound, "the name has no address");
    let address = address.to_socket_addrs()?.next().ok_or_else(none)?;
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket(family, SocketType::STREAM, None)?;
    set_socket_reuseaddr(&socket, true)?;
    Ok(bind(&socket, &address)?)
}

fn try_directory(path: &Path, report: &mut Report) {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match access(directory, Access::WRITE_OK) {
        Ok(()) => report.warn(CHECK, "hookbox serve does not run on this database"),
        Err(error) => {
            report.fail(CHECK, format!("the socket {} cannot be made: its directory: {error}", path.display()))
        }
    }
}

/// Names that end in `.local` are asked for by multicast, which the C library of a static binary does not do.
pub(super) fn local_names(patient: &Context<'_>, report: &mut Report) {
    for action in patient.config.actions.values() {
        let url = match &action.kind {
            ActionKind::Slack(slack) => &slack.url,
            ActionKind::Http(http) => &http.url,
            ActionKind::Log | ActionKind::Command(_) => continue,
        };
        let Ok(url) = url.resolve(patient.env) else { continue };
        let text = String::from_utf8_lossy(url.as_bytes());
        let Some(host) = host_of(&text).filter(|host| host.ends_with(".local")) else { continue };
        let check = format!("name for {}", action.name);
        // Any port will do.
        match (host, 80).to_socket_addrs() {
            Ok(_) => report.ok(check, format!("{host} has an address")),
            Err(_) => report.fail(
                check,
                format!(
                    "{host} has no address here, and static binaries cannot look .local names up: write the address itself \
                     (192.168.1.2), the name that the router gives it, or a line in /etc/hosts"
                ),
            ),
        }
    }
}

/// Without the rest of the URL, which may be secret.
fn host_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    Some(host.split(':').next()?.trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_host_of_a_url_is_looked_at() {
        for url in [
            "http://homeassistant.local:8123/api/webhook/secret",
            "https://me:secret@homeassistant.local/",
            "http://homeassistant.local.",
            "http://homeassistant.local?x=1",
        ] {
            assert_eq!(host_of(url), Some("homeassistant.local"), "{url}");
        }
        assert_eq!(host_of("nonsense"), None);
    }
}
