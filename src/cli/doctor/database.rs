//! The database, and the events and jobs that wait in it.

use std::time::Duration;

use super::{Context, Finding, Findings, fail, ok, warn};
use crate::clock::{self, Timestamp};
use crate::store::{Diagnostics, OpenError, Stats, StorageError, WriteError};
use crate::units::duration_text;

/// An event that is processed without problems takes less.
const LONG_UNPROCESSED: Duration = Duration::from_secs(60 * 60);

/// Two machines' clocks often differ by this much.
const CLOCK_SLACK: Duration = Duration::from_secs(60);

/// Of an answer.
const MAX_ERROR_BYTES: usize = 200;

/// Headers in which proxies pass on the client's address.
const CLIENT_HEADERS: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "cf-connecting-ip"];

/// Headers that proxies add beside it.
const PROXY_HEADERS: [&str; 3] = ["via", "x-forwarded-proto", "x-forwarded-host"];

pub(super) fn check(context: &Context<'_>, findings: &mut Findings) {
    match check_content(context, findings) {
        Ok(()) => {}
        Err(OpenError::Missing(path)) => {
            findings.add("database", ok(format!("{path} is not there yet: hookbox serve creates it")));
        }
        Err(error @ OpenError::TooOld(_)) => findings.add("database", warn(error.to_string())),
        Err(error) => findings.add("database", fail(error.to_string())),
    }
}

fn check_content(context: &Context<'_>, findings: &mut Findings) -> Result<(), OpenError> {
    let diagnostics = Diagnostics::open(&context.config.database)?;
    let differences = diagnostics.check_schema()?;
    if let Some(damage) = diagnostics.damage()? {
        let path = context.config.database.display().to_string();
        return Err(StorageError::Damaged { path, reason: damage }.into());
    }
    findings.add("database", ok(format!("{} is sound", context.config.database.display())));
    if !differences.is_empty() {
        let what = differences.join(", ");
        let text = format!(
            "another tool has dropped or changed: {what}. Events may stay unprocessed; hookbox serve restores it at its \
             start and while it runs"
        );
        findings.add("schema", fail(text));
        return Ok(());
    }
    if diagnostics.are_ids_used_up()? {
        let text = WriteError::NoIdLeft(context.config.database.display().to_string()).to_string();
        findings.add("ids", fail(text));
    }
    let stats = diagnostics.stats()?;
    findings.add("unprocessed", unprocessed(&stats, context));
    waiting(&stats, findings);
    expected(&stats, context, findings);
    findings.add("failed", failed(&stats));
    recoveries(&stats, findings);
    let (headers, latest) = diagnostics.recent()?;
    let ahead = latest.and_then(|at| Timestamp::parse(&at)).filter(|at| *at > clock::now().plus(CLOCK_SLACK));
    if let Some(at) = ahead {
        let text = format!("the latest event is from {at}: the clock was ahead then, or is behind now");
        findings.add("clock", warn(text));
    }
    findings.add("proxy", proxy(&headers, context));
    Ok(())
}

fn unprocessed(stats: &Stats, context: &Context<'_>) -> Finding {
    let pending: i64 = stats.actions.iter().map(|action| action.pending).sum();
    let text = format!("{} events, {pending} open jobs", stats.events.unprocessed);
    let oldest = stats.oldest_unprocessed.as_deref().and_then(Timestamp::parse);
    match oldest.map(|oldest| oldest.distance(clock::now())) {
        Some(age) if age > LONG_UNPROCESSED => {
            let age = duration_text(Duration::from_secs(age.as_secs() / 60 * 60));
            let why = if context.server.is_none() {
                "hookbox serve does not run"
            } else {
                "hookbox show prints what its jobs wait for"
            };
            warn(format!("{text}, the oldest for {age}: {why}"))
        }
        _ => ok(text),
    }
}

/// The actions whose jobs are not begun, by a person or by the wish of their destination, and those that fail.
fn waiting(stats: &Stats, findings: &mut Findings) {
    let now = clock::now();
    for action in &stats.actions {
        let (name, pending) = (&action.action, action.pending);
        let held_until = action.held_until(now);
        if action.paused {
            let text = format!("paused, {pending} jobs wait: hookbox resume {name}");
            findings.add(format!("jobs of {name}"), warn(text));
        } else if let Some(until) = held_until {
            let answer = action.held_because.as_deref().and_then(|answer| answer.lines().next());
            let answer = answer.map_or(String::new(), |answer| format!(" ({answer})"));
            let since = action.failing.as_ref().map_or(String::new(), |it| format!(", the first since {}", it.since));
            let text = format!(
                "their destination asks to wait until {until}{answer}, {pending} jobs wait{since}: hookbox resume {name} tries them now"
            );
            findings.add(format!("jobs of {name}"), warn(text));
        } else if let Some(failing) = action.failing_text(now, MAX_ERROR_BYTES) {
            findings
                .add(format!("jobs of {name}"), warn(format!("{failing}; {pending} jobs wait: hookbox show says why")));
        }
    }
}

/// The sources that get back what they missed.
fn recoveries(stats: &Stats, findings: &mut Findings) {
    for it in &stats.recoveries {
        let topic = format!("missed by {}", it.source);
        let problems = it.problems();
        for problem in &problems {
            findings.add(topic.clone(), warn(problem.clone()));
        }
        if let Some(why) = it.last_lost.as_deref().filter(|_| it.lost > 0) {
            let text =
                format!("{} are lost, the last because {why}: the provider may still show what was in them", it.lost);
            findings.add(topic, warn(text));
        } else if problems.is_empty() {
            findings.add(topic, ok(format!("nothing; {} were recovered", it.recovered)));
        }
    }
}

/// The sources of which deliveries are expected. Compared here, because the server may not run, or have looked yet.
fn expected(stats: &Stats, context: &Context<'_>, findings: &mut Findings) {
    for (name, source) in &context.config.sources {
        let Some(every) = source.expect_every else { continue };
        let known = stats.sources.iter().find(|known| known.source == *name);
        let [received, silent] =
            [known.and_then(|it| it.last_received.as_deref()), known.and_then(|it| it.silent_since.as_deref())]
                .map(|at| at.and_then(Timestamp::parse));
        let every_text = duration_text(every);
        let finding = match received.max(silent) {
            Some(since) if silent.is_some_and(|silent| silent >= since) || since.plus(every) < clock::now() => {
                warn(format!(
                    "silent: nothing was received since {since}, and a delivery is expected every {every_text} (expect_every): \
                 see whether the provider still sends, and to this address"
                ))
            }
            Some(last) => {
                ok(format!("the last delivery was received at {last}, and one is expected every {every_text}"))
            }
            None => ok(format!("no delivery was received yet, and one is expected every {every_text}")),
        };
        findings.add(format!("deliveries of {name}"), finding);
    }
}

fn failed(stats: &Stats) -> Finding {
    let (failed, dead) = (stats.events.error, stats.actions.iter().map(|action| action.dead).sum::<i64>());
    if dead > 0 || failed > 0 {
        warn(format!("{failed} events, {dead} dead jobs: hookbox list --status error"))
    } else {
        ok("nothing")
    }
}

fn proxy(headers: &[String], context: &Context<'_>) -> Finding {
    let has = |names: &[&str]| headers.iter().any(|fields| has_field(fields, names));
    if has(&CLIENT_HEADERS) && context.config.trusted_proxies.is_empty() {
        warn(
            "deliveries come through one, and its address stands for all senders: write trusted_proxies = [\"127.0.0.1\"], \
             or where it runs",
        )
    } else if has(&CLIENT_HEADERS) {
        ok("it passes on the addresses of senders")
    } else if has(&PROXY_HEADERS) {
        warn(
            "it does not pass on the addresses of senders: let it set X-Forwarded-For (nginx: proxy_set_header \
             X-Forwarded-For $proxy_add_x_forwarded_for)",
        )
    } else {
        ok("no recent delivery came through one")
    }
}

fn has_field(headers_json: &str, names: &[&str]) -> bool {
    let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(headers_json).unwrap_or_default();
    fields.keys().any(|field| names.iter().any(|name| field.eq_ignore_ascii_case(name)))
}
