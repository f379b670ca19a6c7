//! The public address.

use std::io::{self, ErrorKind};
use std::net::ToSocketAddrs;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Access, access};
use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{AddressFamily, SocketType, bind, socket};

use super::{Context, Finding, Findings, fail, ok, warn};
use crate::ask::{self, Response};
use crate::config::Source;
use crate::listen::{self, Listen, LocalAddress};
use crate::provider;

/// A busy receiver answers within a second.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Whether hookbox listens at the public address. A request to a socket of systemd would start the unit, so it is sent only
/// while `hookbox serve` runs.
pub(super) fn check_listen(context: &Context<'_>) -> Finding {
    match (&context.server, &context.config.listen) {
        (Some(pid), listen) => match LocalAddress::of(listen).and_then(|address| ask::health(&address, TIMEOUT)) {
            Ok(response) => response_of(listen, pid, &response),
            Err(error) if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) => {
                not_hookbox(listen)
            }
            Err(error) => fail(format!(
                "process {pid} serves the database, but {listen} does not answer ({error}): does it use this config? Where \
                 systemd's socket listens elsewhere, write listen as it stands there"
            )),
        },
        (None, Listen::Tcp(address)) => free_address(address),
        (None, Listen::Unix(path)) => socket_directory(path),
    }
}

fn response_of(listen: &Listen, pid: &str, response: &Response) -> Finding {
    match (response.status, response.line().as_str()) {
        (200, "ok") => ok(format!("process {pid} serves at {listen}")),
        (503, reason) => fail(format!("process {pid} refuses deliveries at {listen}: {reason}")),
        _ => not_hookbox(listen),
    }
}

fn not_hookbox(listen: &Listen) -> Finding {
    fail(format!("another program than hookbox answers at {listen}: ss -ltnp shows which"))
}

fn free_address(address: &str) -> Finding {
    match can_bind(address) {
        Ok(()) => warn(format!("{address} is free: hookbox serve does not run on this database")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => warn(format!(
            "{address} is in use, and hookbox serve does not run on this database. systemd's hookbox.socket may hold it; \
             if not, ss -ltnp shows which program does"
        )),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => fail(format!(
            "this user may not listen on {address}: take a port from 1024 on, or let systemd's socket hold it"
        )),
        Err(error) => fail(format!("no program can listen on {address}: {error}")),
    }
}

/// Binds the address without listening, so that no client can connect, and releases it.
fn can_bind(address: &str) -> io::Result<()> {
    let none = || io::Error::new(ErrorKind::NotFound, "the name has no address");
    let address = address.to_socket_addrs()?.next().ok_or_else(none)?;
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket(family, SocketType::STREAM, None)?;
    set_socket_reuseaddr(&socket, true)?;
    Ok(bind(&socket, &address)?)
}

fn socket_directory(path: &Path) -> Finding {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match access(directory, Access::WRITE_OK) {
        Ok(()) => warn("hookbox serve does not run on this database"),
        Err(error) => fail(format!("the socket {} cannot be made: its directory: {error}", path.display())),
    }
}

/// The page's address: whether this machine has it, and whether the page is there.
pub(super) fn check_page(context: &Context<'_>, findings: &mut Findings) {
    let Some(place) = context.config.admin.listen.place() else { return };
    let without =
        "there is no page until it can, and hookbox serve tries again every ten seconds; deliveries are received";
    let finding = match (listen::unreachable(&place), &context.server) {
        (Some(problem), _) => warn(format!("{problem}: {without}. Correct listen in [admin], or the network")),
        (None, None) => return,
        (None, Some(_)) => match LocalAddress::of(&place).and_then(|address| ask::get(&address, "/", None, TIMEOUT)) {
            Ok(_) => ok(format!("answers at {place}")),
            Err(error) => warn(format!("no page answers at {place} ({error}): the log of hookbox serve says why")),
        },
    };
    findings.add("page address", finding);
}

/// How to get back what the provider does not send again.
fn way_back(source: &Source) -> String {
    let name = &source.name;
    match (provider::recovery(source.verifier.preset.name), &source.recover) {
        (None, _) => String::new(),
        (Some(_), Some(_)) => format!(": hookbox recover {name} gets it back"),
        (Some(_), None) => {
            format!(": hookbox recover gets it back, once there is [sources.{name}.recover] (hookbox help recover)")
        }
    }
}

/// What happens to deliveries that failed while hookbox, the proxy or the network was down.
pub(super) fn check_outages(context: &Context<'_>, findings: &mut Findings) {
    for source in context.config.sources.values() {
        let preset = source.verifier.preset;
        let text = match preset.retries {
            never if never.starts_with("none") => {
                let title = preset.title;
                let way_out = way_back(source);
                format!(
                    "{title} never sends again by itself what failed during an outage{way_out}. Its retries: {never}"
                )
            }
            provider::THE_SENDERS_OWN => {
                "the sender decides whether to send again what failed during an outage".to_owned()
            }
            "unknown" => format!("whether {} sends again what failed during an outage is not known", preset.title),
            retries => format!("{} sends again what failed during an outage: {retries}", preset.title),
        };
        findings.add(format!("outage {}", source.name), ok(text));
    }
}
