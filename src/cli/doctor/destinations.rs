//! Whether the destinations of actions can be reached. They are asked for nothing that has an effect: no request is sent.

use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::{Context, Finding, Findings, fail, ok};
use crate::action::{Action, ActionKind};
use crate::client::{Unreachable, probe};
use crate::secret::SecretRef;

/// For the connection, and for each step of the handshake.
const TIMEOUT: Duration = Duration::from_secs(4);

/// For all destinations together: they are asked at once, and resolving a name has no limit of its own.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn check(context: &Context<'_>, findings: &mut Findings) {
    let deadline = Instant::now() + TOTAL_TIMEOUT;
    let asked: Vec<(&str, Receiver<Finding>)> = context
        .config
        .actions
        .values()
        .filter_map(|action| Some((action.name.as_str(), ask(action, context)?)))
        .collect();
    for (name, answer) in asked {
        let left = deadline.saturating_duration_since(Instant::now());
        let finding =
            answer.recv_timeout(left).unwrap_or_else(|_| fail("its name is not resolved in time: is DNS reachable?"));
        findings.add(format!("destination {name}"), finding);
    }
}

/// Asks the destination of an action in the background. `None` where it has none, or a secret that is not set here.
fn ask(action: &Action, context: &Context<'_>) -> Option<Receiver<Finding>> {
    let (url, ca_file): (&SecretRef, _) = match &action.kind {
        ActionKind::Slack(slack) => (&slack.url, &slack.ca_file),
        ActionKind::Http(http) => (&http.url, &http.ca_file),
        // Those of engines have checks of their own.
        ActionKind::Log | ActionKind::Command(_) | ActionKind::Nats(_) | ActionKind::Redis(_) => return None,
    };
    let url = url.resolve(context.env).ok()?;
    let url = String::from_utf8_lossy(url.as_bytes()).trim().to_owned();
    let (sender, answer) = channel();
    let Some(origin) = origin_of(&url) else {
        let _ = sender.send(ok("it depends on the event, and was not asked"));
        return Some(answer);
    };
    let ca_file = ca_file.clone();
    // Not joined: a name that cannot be resolved must not delay the end.
    thread::spawn(move || sender.send(finding(&origin, ca_file.as_deref())));
    Some(answer)
}

fn finding(origin: &str, ca_file: Option<&Path>) -> Finding {
    let host = origin.rsplit("://").next().unwrap_or_default().trim_end_matches('/').to_owned();
    match probe(origin, ca_file, TIMEOUT) {
        Ok(reached) => ok(reached),
        // The C library of a static binary does not resolve by multicast.
        Err(Unreachable::Name(_)) if name_of(&host).ends_with(".local") => fail(format!(
            "{host} has no address here, and static binaries cannot resolve .local names: write the address itself \
             (192.168.1.2), the name that the router gives it, or a line in /etc/hosts"
        )),
        Err(Unreachable::Name(error)) => {
            fail(format!("{host} has no address ({error}): is the name right, and DNS reachable?"))
        }
        Err(Unreachable::Connection(why)) => fail(why),
    }
}

/// Without the port.
fn name_of(host: &str) -> &str {
    host.split(':').next().unwrap_or_default().trim_end_matches('.')
}

/// Scheme, host and port alone: the rest of the URL may be secret. `None` where they depend on the event.
fn origin_of(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    (!host.contains(['{', '}'])).then(|| format!("{scheme}://{host}/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_host_of_a_url_is_read() {
        for url in [
            "http://homeassistant.local:8123/api/webhook/secret",
            "http://me:secret@homeassistant.local:8123",
            "http://homeassistant.local:8123?x=1",
            "http://homeassistant.local:8123/{{ payload.path }}",
        ] {
            assert_eq!(origin_of(url).as_deref(), Some("http://homeassistant.local:8123/"), "{url}");
        }
        assert_eq!(origin_of("nonsense"), None);
        assert_eq!(origin_of("http://{{ payload.host }}/"), None);
        assert_eq!(name_of("a.local.:80"), "a.local");
    }
}
