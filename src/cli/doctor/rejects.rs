//! Requests that the running server has rejected lately, and why.

use std::time::Duration;

use super::super::running::{self, Rejects};
use super::{Context, Finding, Findings, ok, warn};
use crate::clock::{self, Timestamp};

/// What was rejected before has probably been mended since.
const RECENT: Duration = Duration::from_secs(24 * 60 * 60);

/// Only the running server knows, and only where it serves the page.
pub(super) fn check(context: &Context<'_>, findings: &mut Findings) {
    if context.server.is_none() {
        return;
    }
    let mut latest = match running::ask(context.config, context.env) {
        Ok(running) => running.latest(),
        Err(why) => return findings.add("rejected", warn(format!("unknown: {why}"))),
    };
    latest.retain(is_recent);
    for source in context.config.sources.keys() {
        let of_source: Vec<&Rejects> = latest.iter().filter(|it| it.source.as_ref() == Some(source)).collect();
        if let Some(text) = summary(&of_source, Rejects::fault) {
            findings.add(format!("rejected {source}"), warn(text));
        }
    }
    let of_none: Vec<&Rejects> = latest.iter().filter(|reject| reject.source.is_none()).collect();
    findings.add("rejected", without_source(&of_none));
}

/// Anyone can send such a request, so that it is no warning.
fn without_source(latest: &[&Rejects]) -> Finding {
    match summary(latest, Rejects::line) {
        Some(text) => ok(format!("for no source: {text}")),
        None => ok("nothing else in the last day"),
    }
}

fn is_recent(reject: &Rejects) -> bool {
    Timestamp::parse(&reject.last_at).is_some_and(|at| at.distance(clock::now()) < RECENT)
}

/// The newest, and how many others there are.
fn summary(latest: &[&Rejects], text: fn(&Rejects) -> String) -> Option<String> {
    let (newest, others) = latest.split_first()?;
    let others = if others.is_empty() { String::new() } else { format!("; {} more: hookbox stats", others.len()) };
    Some(text(newest) + &others)
}
