//! Events handed to an engine: NATS JetStream and Redis, the real servers of Debian, and servers that lie.

mod bad_line;
mod cluster;
mod engines;
mod lies;
mod litestream;
mod nats;
mod receivers;
mod redis;
mod settings;

use crate::actions::{action, config};
use crate::support::Home;

/// The payload of most deliveries: spaces and line ends must arrive.
const BODY: &str = "{\"a\": 1,\r\n \"b\": \"\u{e9}\"}\n";

/// A home with one action, `it`, that hands events to this NATS server.
fn to_nats(url: &str, keys: &str) -> Home {
    let keys = format!("url = \"{url}\"\nsubject = \"hooks.{{{{ source }}}}.{{{{ event }}}}\"\n{keys}");
    Home::with_config(&config(&action("it", "nats", &keys)))
}

/// The same for this Redis server.
fn to_redis(url: &str, keys: &str) -> Home {
    let keys = format!("url = \"{url}\"\nstream = \"hooks:{{{{ source }}}}\"\n{keys}");
    Home::with_config(&config(&action("it", "redis", &keys)))
}
