//! `kind = "log"`: two lines on standard output for each event. Where that is not read, this worker waits, and no other
//! thread does: an event is processed when its lines are written.

use std::fmt;
use std::io;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::ActionReport;
use crate::event::{Event, Outcome};
use crate::json;
use crate::log::{MAX_LINE_BYTES, write_all};
use crate::text::{cut, one_line};

/// A longer list of keys is cut: in memory, short keys take many times their length.
const MAX_KEYS_BYTES: usize = 64 << 10;

pub(super) fn run(event: &Event) -> ActionReport {
    let keys = match top_level_keys(&json::replace_lone_surrogates(&event.payload_json)) {
        Ok(keys) => keys,
        Err(error) => return ActionReport::give_up(format!("the payload is not JSON: {error}")),
    };
    match write_all(io::stdout().lock(), lines(event, &keys).as_bytes()) {
        Ok(()) => ActionReport { outcome: Outcome::Success, detail: String::new() },
        Err(error) => ActionReport::retry(format!("cannot write to stdout: {error}")),
    }
}

/// Invisible characters are replaced: other programs insert events too, and no field may forge a line.
fn lines(event: &Event, keys: &[String]) -> String {
    let first = format!("[{}] Handling event {} (delivery {})", event.id, event.event_type, event.delivery_id);
    let second = format!("Payload keys: {}", keys.join(", "));
    [first, second].map(|line| cut(&one_line(&line), MAX_LINE_BYTES) + "\n").concat()
}

/// The keys of an object in their order, as many as a line shows; none for any other JSON. Values are skipped, not built.
fn top_level_keys(json: &str) -> serde_json::Result<Vec<String>> {
    if !json.trim_start().starts_with('{') {
        return serde_json::from_str::<IgnoredAny>(json).map(|_| Vec::new());
    }
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let keys = deserializer.deserialize_map(Keys)?;
    deserializer.end()?;
    Ok(keys)
}

struct Keys;

impl<'de> Visitor<'de> for Keys {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<String>, A::Error> {
        let (mut keys, mut bytes) = (Vec::new(), 0);
        while let Some((key, IgnoredAny)) = map.next_entry::<String, _>()? {
            bytes += size_of::<String>() + key.len();
            if bytes < MAX_KEYS_BYTES {
                keys.push(key);
            }
        }
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventId;

    fn event(delivery_id: &str) -> Event {
        Event {
            id: EventId(7),
            source: String::new(),
            event_type: "issues".into(),
            delivery_id: delivery_id.into(),
            received_at: String::new(),
            headers_json: String::new(),
            payload_json: "".into(),
            body: None,
        }
    }

    #[test]
    fn keys_are_in_the_order_of_the_payload() {
        assert_eq!(top_level_keys(r#" {"b": {"x": [1]}, "a": null} "#).unwrap(), ["b", "a"]);
        assert_eq!(top_level_keys("[1, {\"a\": 2}]").unwrap(), [""; 0]);
        for broken in ["", "{", "{} {}", "{\"a\": NaN}"] {
            assert!(top_level_keys(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_long_list_of_keys_is_cut() {
        let json = format!("{{{}\"a\":1}}", "\"a\":1,".repeat(100_000));
        assert!(top_level_keys(&json).unwrap().len() < MAX_KEYS_BYTES / size_of::<String>());
    }

    #[test]
    fn an_event_cannot_forge_a_line() {
        let text = lines(&event("a\n[8] Handling"), &["k\r\n".to_owned()]);
        assert_eq!(text, "[7] Handling event issues (delivery a?[8] Handling)\nPayload keys: k??\n");
        let text = lines(&event("a\u{202e}b\u{2066}c\u{200f}"), &["d\u{2028}e\u{85}f".to_owned()]);
        assert_eq!(text, "[7] Handling event issues (delivery a?b?c?)\nPayload keys: d?e?f\n");
    }

    #[test]
    fn lines_are_cut() {
        let payload =
            format!("{{{}\"last\": 1}}", (0..5000).map(|at| format!("\"key{at}\": [], ")).collect::<String>());
        let text = lines(&event(&"ä".repeat(5000)), &top_level_keys(&payload).unwrap());
        for (line, start) in text.lines().zip(["[7] Handling event issues (delivery ää", "Payload keys: key0, key1, "])
        {
            assert!(line.starts_with(start) && line.ends_with('…'), "{line}");
            assert!(line.len() <= MAX_LINE_BYTES + '…'.len_utf8(), "{}", line.len());
        }
    }
}
