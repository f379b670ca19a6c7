//! The database, and what waits in it.

use std::time::Duration;

use super::{Context, Report};
use crate::clock::{self, Timestamp};
use crate::store::{Diagnostics, OpenError, StorageError, Waiting};
use crate::units::duration_text;

/// Longer than anything takes that is not in trouble.
const LONG_UNPROCESSED: Duration = Duration::from_secs(60 * 60);

/// What two clocks may differ without anybody noticing.
const CLOCK_SLACK: Duration = Duration::from_secs(60);

/// What a proxy tells of those that it passes on.
const CLIENT_HEADERS: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "cf-connecting-ip"];

/// What a proxy adds of itself.
const PROXY_HEADERS: [&str; 3] = ["via", "x-forwarded-proto", "x-forwarded-host"];

pub(super) fn check(patient: &Context<'_>, report: &mut Report) {
    match look(patient, report) {
        Ok(()) => {}
        Err(OpenError::Missing(path)) => {
            report.ok("database", format!("{path} is not there yet: hookbox serve creates it"));
        }
        Err(error) => report.fail("database", error.to_string()),
    }
}

fn look(patient: &Context<'_>, report: &mut Report) -> Result<(), OpenError> {
    let checkup = Diagnostics::open(&patient.config.database)?;
    match checkup.check_schema() {
        Err(error @ OpenError::TooOld(_)) => {
            report.warn("database", error.to_string());
            return Ok(());
        }
        schema => schema?,
    }
    if let Some(damage) = checkup.damage()? {
        let path = patient.config.database.display().to_string();
        return Err(StorageError::Damaged { path, reason: damage }.into());
    }
    report.ok("database", format!("{} is sound", patient.config.database.display()));
    tell_waiting(&checkup.waiting()?, patient, report);
    let (headers, latest) = checkup.recent()?;
    let ahead = latest.and_then(|at| Timestamp::parse(&at)).filter(|at| *at > clock::now().plus(CLOCK_SLACK));
    if let Some(at) = ahead {
        report.warn("clock", format!("the latest event is of {at}: the clock was ahead then, or is behind now"));
    }
    tell_proxy(&headers, patient, report);
    Ok(())
}

fn tell_waiting(waiting: &Waiting, patient: &Context<'_>, report: &mut Report) {
    let check = "unprocessed";
    let text = format!("{} events, {} open jobs", waiting.unprocessed, waiting.open_jobs);
    let age = waiting.oldest.as_deref().and_then(Timestamp::parse).map(|oldest| oldest.distance(clock::now()));
    match age {
        Some(age) if age > LONG_UNPROCESSED => {
            let age = duration_text(Duration::from_secs(age.as_secs() / 60 * 60));
            let why = match (&patient.server, waiting.paused.as_slice()) {
                (None, _) => "hookbox serve does not run".to_owned(),
                (_, []) => "hookbox show tells what its jobs wait for".to_owned(),
                (_, paused) => format!("paused: {} (hookbox resume)", paused.join(", ")),
            };
            report.warn(check, format!("{text}, the oldest for {age}: {why}"));
        }
        _ => report.ok(check, text),
    }
    if waiting.dead_jobs > 0 || waiting.failed > 0 {
        let (failed, dead) = (waiting.failed, waiting.dead_jobs);
        report.warn("failed", format!("{failed} events, {dead} dead jobs: hookbox list --status error"));
    } else {
        report.ok("failed", "nothing");
    }
}

fn tell_proxy(headers: &[String], patient: &Context<'_>, report: &mut Report) {
    let has = |names: &[&str]| headers.iter().any(|fields| has_field(fields, names));
    if has(&CLIENT_HEADERS) && patient.config.trusted_proxies.is_empty() {
        report.warn(
            "proxy",
            "deliveries come through one, and its address stands for all senders: write trusted_proxies = [\"127.0.0.1\"], \
             or where it runs",
        );
    } else if has(&CLIENT_HEADERS) {
        report.ok("proxy", "it passes on the addresses of senders");
    } else if has(&PROXY_HEADERS) {
        report.warn(
            "proxy",
            "it does not pass on the addresses of senders: let it set X-Forwarded-For (nginx: proxy_set_header \
             X-Forwarded-For $proxy_add_x_forwarded_for)",
        );
    } else {
        report.ok("proxy", "no recent delivery came through one");
    }
}

fn has_field(headers_json: &str, names: &[&str]) -> bool {
    let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(headers_json).unwrap_or_default();
    fields.keys().any(|field| names.iter().any(|name| field.eq_ignore_ascii_case(name)))
}
