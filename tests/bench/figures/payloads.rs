//! The memory that it takes to read a payload in a condition and a template, in multiples of the payload.

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use super::{PACE, open_events};
use crate::Scale;
use crate::server::{Home, Server, builds};
use crate::table::{at_most, row};

/// A little less than the largest body that is taken by default.
const PAYLOAD_BYTES: usize = 24 << 20;

const QUICK_BYTES: usize = 4 << 20;

const PRINTED: &str = "[actions.print]\nkind = \"command\"\non = [\"*\"]\nwhen = \"payload | length > 0\"\n\
                       run = [\"true\", \"{{ payload | tojson | length }}\"]\n";

/// What the older worker does with a payload: it parses it.
const PARSED: &str = "import json, sys\n\
                      def peak(): return int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n\
                      before = peak()\n\
                      parsed = json.load(sys.stdin)\n\
                      print((peak() - before) * 1024)";

/// What is repeated in an array, and in the last case in an object.
const PARTS: [(&str, &str); 7] = [
    ("small objects", "{\"a\":1},"),
    ("empty arrays", "[[[]]],"),
    ("escapes", "\"\\u00e9\","),
    ("digits", "1,"),
    ("numbers", "1.50,"),
    ("short texts", "\"abc\","),
    ("members of one name", "\"a\":1,"),
];

pub fn payloads_in_templates(scale: &Scale) {
    let bytes = if scale.quick { QUICK_BYTES } else { PAYLOAD_BYTES };
    for (name, part) in PARTS {
        let parts = part.repeat(bytes / part.len());
        let (open, close) = if part.contains("\":1,") && !part.starts_with('{') { ('{', '}') } else { ('[', ']') };
        let payload = format!("{open}{}{close}", parts.trim_end_matches(','));
        let against = match times_in_python(&payload) {
            Some(times) => format!("Python's json.load: {times:.1} x"),
            None => "Python is missing".to_owned(),
        };
        for (build, program) in builds() {
            let times = times_in_template(&payload, &program);
            let what = format!("memory of a template for {} MiB of {name}, {build}", payload.len() >> 20);
            row(&what, &format!("{times:.1} x"), &against, &at_most(8.0, " x", times));
        }
    }
}

/// The peak beyond that of the same program with a payload of two bytes.
fn times_in_template(payload: &str, program: &std::path::Path) -> f64 {
    let peak_mb = |payload: &str| {
        let home = Home::new().with_config(PRINTED).with_backlog(1, payload);
        let server = Server::start(&home, program);
        while open_events(&home) > 0 {
            std::thread::sleep(PACE);
        }
        std::thread::sleep(Duration::from_millis(100));
        server.peak_mb()
    };
    (peak_mb(payload) - peak_mb("[1]")) / (payload.len() as f64 / f64::from(1 << 20))
}

fn times_in_python(payload: &str) -> Option<f64> {
    let home = Home::new();
    let mut python = home.command("python3");
    let mut python = python.args(["-c", PARSED]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
    python.stdin.take()?.write_all(payload.as_bytes()).ok()?;
    let output = python.wait_with_output().ok()?;
    let bytes: f64 = String::from_utf8(output.stdout).ok()?.trim().parse().ok()?;
    Some(bytes / payload.len() as f64)
}
