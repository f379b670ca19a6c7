//! `hookbox doctor`: looks for what goes wrong in practice, and says what to do. It changes nothing.

mod database;
mod machine;
mod network;
mod secrets;

use std::io::Write;

use serde::Serialize;

use super::{Failure, table};
use crate::config::{Config, Origin};
use crate::secret::Env;
use crate::store;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    /// It works, and may not for long, or not as somebody expects.
    Warn,
    Fail,
}

/// The result of one check.
#[derive(Debug, Serialize)]
struct Finding {
    result: Verdict,
    check: String,
    /// What was found and, where that is not well, what to do.
    text: String,
}

/// All results, in the order of the checks.
#[derive(Debug, Default)]
struct Report(Vec<Finding>);

/// What the checks go by.
struct Context<'a> {
    config: &'a Config,
    env: &'a Env<'a>,
    /// The process that serves the database, if one does.
    server: Option<String>,
}

/// Prints a line for each check. A config that cannot be read is one that fails; what needs none is checked all the same.
pub(super) fn run(
    config: Result<Config, Failure>,
    env: &Env<'_>,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut report = Report::default();
    machine::clock(&mut report);
    match config {
        Err(failure) => report.fail("config", failure.to_string()),
        Ok(config) => {
            let server = store::server_of(&config.database);
            run_checks(&Context { config: &config, env, server }, &mut report);
        }
    }
    machine::certificates(&mut report);
    report.write(json, out)?;
    match report.0.iter().filter(|finding| finding.result == Verdict::Fail).count() {
        0 => Ok(()),
        1 => Err(Failure::failed("1 check fails")),
        failed => Err(Failure::failed(format!("{failed} checks fail"))),
    }
}

fn run_checks(patient: &Context<'_>, report: &mut Report) {
    report.ok(
        "config",
        match &patient.config.origin {
            Origin::File(path) => format!("{} is valid", path.display()),
            Origin::BuiltIn => "there is none: the defaults are used".to_owned(),
        },
    );
    secrets::check(patient, report);
    if machine::has_place(patient.config, report) {
        machine::disk(patient.config, report);
        machine::file_system(patient.config, report);
        machine::permissions(patient.config, report);
        database::check(patient, report);
    }
    network::listening(patient, report);
    network::local_names(patient, report);
}

impl Report {
    fn ok(&mut self, check: impl Into<String>, text: impl Into<String>) {
        self.add(Verdict::Ok, check.into(), text.into());
    }

    fn warn(&mut self, check: impl Into<String>, text: impl Into<String>) {
        self.add(Verdict::Warn, check.into(), text.into());
    }

    fn fail(&mut self, check: impl Into<String>, text: impl Into<String>) {
        self.add(Verdict::Fail, check.into(), text.into());
    }

    fn add(&mut self, result: Verdict, check: String, text: String) {
        self.0.push(Finding { result, check, text });
    }

    fn write(&self, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
        if json {
            return Ok(writeln!(out, "{}", serde_json::json!(self.0))?);
        }
        let word = |verdict| match verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        let row = |finding: &Finding| {
            [word(finding.result).to_owned(), table::one_line(&finding.check), table::one_line(&finding.text)]
        };
        // Not cut where the terminal ends: what to do is at the end of the line.
        Ok(table::write(out, table::Screen::default(), &self.0.iter().map(row).collect::<Vec<_>>())?)
    }
}
