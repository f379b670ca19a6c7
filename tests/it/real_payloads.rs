//! Real payloads of GitHub: see `data/README.md`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Home, data, wait_longer_for};

/// Event type and bytes.
pub type Payload = (String, Vec<u8>);

/// The files `EVENT[.ACTION].json` of a directory, or an `index.json` of `@octokit/webhooks-examples`.
pub fn payloads_in(path: &Path) -> Vec<Payload> {
    let index = if path.is_dir() { path.join("index.json") } else { path.to_owned() };
    if index.exists() {
        return payloads_of_index(&index);
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let event = |file: &Path| file.file_name().unwrap().to_string_lossy().split('.').next().unwrap().to_owned();
    files.iter().map(|file| (event(file), std::fs::read(file).unwrap())).collect()
}

fn payloads_of_index(index: &Path) -> Vec<Payload> {
    let webhooks: Vec<Value> = serde_json::from_slice(&std::fs::read(index).unwrap()).unwrap();
    let mut payloads = Vec::new();
    for webhook in &webhooks {
        for example in webhook["examples"].as_array().unwrap() {
            payloads.push((webhook["name"].as_str().unwrap().to_owned(), serde_json::to_vec(example).unwrap()));
        }
    }
    payloads
}

#[test]
fn every_real_payload_is_answered_200_stored_byte_for_byte_and_processed() {
    let path = std::env::var_os("HOOKBOX_PAYLOADS").map_or_else(|| data("github"), PathBuf::from);
    let payloads = payloads_in(&path);
    assert!(payloads.len() >= 6);
    let hookbox = Home::new().start();
    for (n, (event, body)) in payloads.iter().enumerate() {
        hookbox.deliver(event, &format!("d-{n}"), body);
    }
    let processed = "SELECT count(*) FROM webhook_events WHERE status = 'processed'";
    let all = payloads.len() as i64;
    wait_longer_for("all to be processed", std::time::Duration::from_secs(30), || {
        (hookbox.query::<i64>(processed)[0] == all).then_some(())
    });
    let stored = hookbox.query::<String>("SELECT payload_json FROM webhook_events ORDER BY id");
    let events = hookbox.query::<String>("SELECT event_type FROM webhook_events ORDER BY id");
    for (n, (event, body)) in payloads.iter().enumerate() {
        assert_eq!(stored[n].as_bytes(), body, "{event} {n}");
        assert_eq!(&events[n], event);
    }
    println!("{all} payloads of {}", path.display());
}
