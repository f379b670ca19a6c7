//! Payloads that could not be read.

use crate::actions::{action, config, deliver_and_wait};
use crate::support::{Home, Stub};

#[test]
fn half_an_emoji_made_a_payload_unreadable() {
    let stub = Stub::http();
    let keys = format!("url = \"{}\"\nwhen = \"payload.title\"\nbody = \"{{{{ payload.title }}}}\"", stub.url("/"));
    let actions = action("it", "http", &keys) + &action("print", "log", "");
    let hookbox = Home::with_config(&config(&actions)).start();
    let body = r#"{"title":"cut \ud83d","\ude00":1}"#;
    deliver_and_wait(&hookbox, "push", "d-1", body);
    assert_eq!(stub.first().text(), "cut \u{fffd}");
    assert_eq!(hookbox.query::<String>("SELECT status FROM webhook_events"), ["processed"]);
    assert_eq!(hookbox.query::<String>("SELECT payload_json FROM webhook_events"), [body], "it is stored as it came");
}
