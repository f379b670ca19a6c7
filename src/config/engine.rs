//! The keys of actions that hand events to an engine: `nats` and `redis`.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Value;

use super::reader::Reader;
use super::values::{Parsed, count, duration, parsed, path, text};
use crate::action::{Dedup, Nats, Redis};
use crate::client::{self, Protocol, Server};
use crate::secret::SecretRef;

/// Less than a minute recognises no retry; more than a year is a wrong unit.
const DEDUP: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(366 * 24 * 60 * 60);

/// Longer than the retries of the default policy, which take 33 hours at most.
const DEFAULT_DEDUP: Duration = Duration::from_secs(48 * 60 * 60);

/// A stream without entries delivers nothing.
const MAX_LENGTH: RangeInclusive<u32> = 1..=u32::MAX;

pub(super) fn read_nats(keys: &mut Reader) -> Option<Nats> {
    keys.check_present("url", "write the server's address, such as \"nats://127.0.0.1:4222\", or a list of them");
    let servers = keys.get_all("url", |value| address(value, &client::nats::PROTOCOL));
    let subject = keys.require("subject", "write a template, such as \"hooks.{{ source }}.{{ event }}\"", parsed);
    Some(Nats {
        user: keys.get("user", parsed),
        password: keys.get("password", parsed),
        token: keys.get("token", parsed),
        dedup: keys.get("dedup", dedup).unwrap_or(Dedup::Window),
        ca_file: keys.get("ca_file", path),
        servers: servers?,
        subject: subject?,
    })
}

pub(super) fn read_redis(keys: &mut Reader) -> Option<Redis> {
    let advice = "write the server's address, such as \"redis://127.0.0.1:6379/0\"";
    let url = keys.require("url", advice, |value| address(value, &client::redis::PROTOCOL));
    let stream = keys.require("stream", "write a template, such as \"hooks:{{ source }}\"", parsed);
    Some(Redis {
        user: keys.get("user", parsed),
        password: keys.get("password", parsed),
        dedup: keys.get("dedup", |value| duration(value, &DEDUP)).unwrap_or(DEFAULT_DEDUP),
        max_length: keys.get("max_length", |value| count(value, &MAX_LENGTH)),
        ca_file: keys.get("ca_file", path),
        url: url?,
        stream: stream?,
    })
}

/// A literal address is checked here; one from elsewhere when it is fetched.
fn address(value: &Value, protocol: &Protocol) -> Parsed<SecretRef> {
    let reference: SecretRef = parsed(value)?;
    if let SecretRef::Literal(_) = &reference {
        for url in text(value)?.split(',') {
            Server::parse(url, protocol)?;
        }
    }
    Ok(reference)
}

fn dedup(value: &Value) -> Parsed<Dedup> {
    match text(value)? {
        "window" => Ok(Dedup::Window),
        "subject" => Ok(Dedup::Subject),
        other => Err(format!("no dedup {other:?}; write \"window\" or \"subject\"")),
    }
}
