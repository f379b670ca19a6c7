//! Malformed requests cause neither a crash nor a hang nor an unsigned row.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::support::{Connection, Home, Hookbox, Random, Request, data, patient};

/// No complete request takes longer, even on a busy machine.
const ANSWERED_WITHIN: Duration = Duration::from_secs(8);

/// Rounds of the mutator, unless `HOOKBOX_MUTATIONS` says how many, and the seed, unless `HOOKBOX_SEED` does.
const MUTATIONS: u64 = 5_000;
const SEED: u64 = 0x5eed;

/// A line of the corpus.
struct Case {
    line: usize,
    expected: Vec<u16>,
    bytes: Vec<u8>,
}

fn corpus() -> Vec<Case> {
    let text = std::fs::read_to_string(data("malformed.txt")).unwrap();
    let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines.map(|(at, line)| case(at + 1, line)).collect()
}

fn case(line: usize, text: &str) -> Case {
    let (expected, bytes) = text.split_once('\t').unwrap_or_else(|| panic!("line {line} has no tab"));
    let expected = expected.split(',').filter(|word| *word != "-").map(|word| word.parse().unwrap()).collect();
    Case { line, expected, bytes: unescape(&repeat(bytes)) }
}

/// Writes out `{...}*N`.
fn repeat(text: &str) -> String {
    let Some(end) = text.find("}*") else { return text.to_owned() };
    let start = text[..end].rfind('{').unwrap();
    let digits = text[end + 2..].bytes().take_while(u8::is_ascii_digit).count();
    let (count, rest) = text[end + 2..].split_at(digits);
    [&text[..start], &text[start + 1..end].repeat(count.parse().unwrap()), rest].concat()
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next() {
            Some(b'r') => b'\r',
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'\\') => b'\\',
            Some(b'x') => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            other => panic!("an escape that is none: {other:?} in {text}"),
        });
    }
    bytes
}

/// Sends `bytes` and nothing more. The answers, and how long it took to the end of the connection.
fn answers_to(hookbox: &Hookbox, bytes: &[u8]) -> (Vec<u16>, Duration) {
    let mut connection: Connection = hookbox.connect();
    let start = Instant::now();
    connection.send_lossy(bytes);
    connection.finish_sending();
    let statuses = std::iter::from_fn(|| connection.try_response().ok()).map(|response| response.status);
    (statuses.collect(), start.elapsed())
}

#[test]
fn every_malformed_request_is_answered_as_the_corpus_says() {
    let hookbox = Home::new().start();
    let corpus = corpus();
    assert!(corpus.len() >= 200, "{}", corpus.len());
    let mut wrong = Vec::new();
    for Case { line, expected, bytes } in &corpus {
        let (statuses, took) = answers_to(&hookbox, bytes);
        if statuses != *expected || took > patient(ANSWERED_WITHIN) {
            wrong.push(format!("malformed.txt:{line}: {statuses:?} after {took:?}, not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    hookbox.deliver("push", "afterwards", "{}");
    assert_eq!(hookbox.stored(), 1);
    assert!(!hookbox.stderr().contains("panicked"), "{}", hookbox.stderr());
    hookbox.assert_peak_below(64);
}

fn range(random: &mut Random, length: usize, at_most: usize) -> Range<usize> {
    let start = random.below(length + 1);
    start..(start + random.below(at_most)).min(length)
}

fn pick<'a>(random: &mut Random, from: &[&'a [u8]]) -> &'a [u8] {
    from[random.below(from.len())]
}

/// Parts of requests that parsers have failed on.
const TOKENS: [&[u8]; 24] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"Content-Length: 2\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Content-Length: -1\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: upgrade\r\n",
    b"Expect: 100-continue\r\n",
    b"Host: other\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n",
    b"HTTP/1.0",
    b"%2e%2e/",
    b"\xff",
    b"\x7f",
    b"ffffffffffffffff\r\n",
    b"{\"forged\":true}",
];

fn mutate(bytes: &mut Vec<u8>, others: &[Vec<u8>], random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    match random.below(8) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        1 => bytes.insert(at, random.next() as u8),
        2 => drop(bytes.drain(range(random, bytes.len(), 20))),
        3 => drop(bytes.splice(at..at, pick(random, &TOKENS).iter().copied())),
        4 => drop(bytes.splice(range(random, bytes.len(), 8), pick(random, &TOKENS).iter().copied())),
        5 => {
            let copied = bytes[range(random, bytes.len(), 60)].to_vec();
            drop(bytes.splice(at..at, copied));
        }
        6 => {
            let other = &others[random.below(others.len())];
            drop(bytes.splice(at.., other[random.below(other.len())..].iter().copied()));
        }
        _ => bytes.truncate(at),
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn mutated_requests_neither_crash_nor_hang_the_server_nor_store_unsigned_rows() {
    let hookbox = Home::new().start();
    let bodies = [r#"{"signed":1}"#, r#"{"signed":[2,"two"]}"#];
    let valid: Vec<Vec<u8>> = vec![
        Request::github("push", "whole", bodies[0]).bytes(),
        Request::github("push", "chunked", bodies[1]).chunked().bytes(),
        Request::get("/healthz").bytes(),
        [Request::get("/nowhere").bytes(), Request::github("push", "second", bodies[0]).bytes()].concat(),
        Request::github("push", "expecting", bodies[1]).header("Expect", "100-continue").bytes(),
    ];
    let (rounds, seed) = (setting("HOOKBOX_MUTATIONS", MUTATIONS), setting("HOOKBOX_SEED", SEED));
    let mut random = Random::from_seed(seed);
    for round in 0..rounds {
        let mut bytes = valid[random.below(valid.len())].clone();
        for _ in 0..=random.below(4) {
            mutate(&mut bytes, &valid, &mut random);
        }
        let (statuses, took) = answers_to(&hookbox, &bytes);
        // 502 and 504 would be an upstream connection that an untrusted client has ended.
        let is_sound = took < patient(ANSWERED_WITHIN) && !statuses.iter().any(|status| matches!(status, 502 | 504));
        assert!(is_sound, "round {round}, seed {seed}: {statuses:?} after {took:?} for {}", bytes.escape_ascii());
    }
    // The content type, which decides between JSON and text, is not signed.
    let stored = "SELECT DISTINCT CAST(coalesce(body, payload_json) AS TEXT) FROM webhook_events";
    let stored = hookbox.query::<String>(stored);
    assert!(stored.iter().all(|body| bodies.contains(&body.as_str())), "seed {seed}: {stored:?}");
    println!("{rounds} rounds stored {} rows", hookbox.stored());
    hookbox.deliver("push", "afterwards", "{}");
    assert!(!hookbox.stderr().contains("panicked"), "{}", hookbox.stderr());
    hookbox.assert_peak_below(64);
}
