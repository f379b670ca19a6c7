//! Coverage-guided fuzzing of everything that reads untrusted bytes. `.ci/fuzz TARGET SECONDS` builds the program with
//! `--cfg fuzzing`, in which libFuzzer's loop takes the place of `main`, and runs one target of [`TARGETS`].
//!
//! A target states what must hold for any input; a panic is a finding, and so is an input that takes ten seconds or two
//! gigabytes. Each finding becomes a test with a name. `tests/fuzz/seeds/TARGET` has the inputs to begin with.
//! Source: <https://llvm.org/docs/LibFuzzer.html>

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

use crate::{client, gate, receive};

/// The name of a target, and what it does with an input.
type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 9] = [
    ("head", gate::fuzz::head),
    ("body", gate::fuzz::body),
    ("json", json),
    ("form", receive::fuzz::form),
    ("gzip", receive::fuzz::gzip),
    ("signature", receive::fuzz::signature),
    ("delivery", receive::fuzz::delivery),
    ("nats", client::nats::fuzz::nats),
    ("redis", client::redis::fuzz::redis),
];

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let wanted = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let target = TARGETS.iter().find(|(name, _)| *name == wanted);
    target.expect("one of TARGETS, which .ci/fuzz lists").1
});

fuzz_target!(|input: &[u8]| TARGET(input));

/// The scan agrees with serde_json about what is JSON, and about the value at a pointer.
fn json(input: &[u8]) {
    use crate::json::{Lookup, MAX_DEPTH, scan};
    let lookups = [Lookup::Pointer("/a"), Lookup::Pointer("/a/0/b"), Lookup::Pointer("/b"), Lookup::Beside("a")];
    let scanned = scan(input, lookups);
    let Ok(text) = std::str::from_utf8(input) else { return };
    let text = crate::json::replace_lone_surrogates(text);
    if scanned.depth > MAX_DEPTH {
        return;
    }
    let parsed = serde_json::from_str::<serde::de::IgnoredAny>(&text);
    // What serde_json takes, the scan takes; the scan skips what only a reader of the value can judge.
    assert!(parsed.is_err() || scanned.is_json, "JSON is refused");
    let Ok(value) = serde_json::from_str::<serde_json::Value>(&text) else { return };
    for lookup in lookups {
        let (Lookup::Pointer(pointer), Some(Some(found))) = (lookup, scanned.get(lookup)) else { continue };
        let expected = match value.pointer(pointer) {
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(serde_json::Value::Number(number)) => number.to_string(),
            other => panic!("{pointer}: found {found:?}, and serde_json has {other:?}"),
        };
        assert_eq!(found, expected, "{pointer}");
    }
}
