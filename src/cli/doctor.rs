//! `hookbox doctor`: checks for common problems, and says what to do. It changes nothing, and
//! removes the one file that it writes.

mod database;
mod destinations;
mod disk;
mod engines;
mod machine;
mod network;
mod rejects;
mod secrets;
mod units;

use std::io::Write;

use serde::Serialize;

use super::{Failure, table};
use crate::config::{Config, Origin};
use crate::secret::Env;
use crate::store;

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum CheckResult {
    Ok,
    /// It works, but not as expected, or not for long.
    Warn,
    Fail,
}

/// A check and its result.
#[derive(Debug, Serialize)]
struct Finding {
    result: CheckResult,
    /// Set by [`Findings::add`].
    check: String,
    /// The finding and, where that is a problem, the remedy.
    text: String,
}

/// All findings, in the order of the checks.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

/// The input of the checks.
struct Context<'a> {
    config: &'a Config,
    env: &'a Env<'a>,
    /// The process ID of the `hookbox serve` that has the database open.
    server: Option<String>,
}

/// Prints a line for each check. A config that cannot be read is a failed check; those that need none are made anyway.
pub(super) fn run(
    config: Result<Config, Failure>,
    env: &Env<'_>,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut findings = Findings::default();
    findings.add("clock", machine::clock());
    match config {
        Err(failure) => findings.add("config", fail(failure.to_string())),
        Ok(config) => {
            let server = store::server_of(&config.database);
            run_checks(&Context { config: &config, env, server }, &mut findings);
        }
    }
    findings.add("certificates", machine::certificates());
    findings.write(json, out)?;
    match findings.0.iter().filter(|finding| finding.result == CheckResult::Fail).count() {
        0 => Ok(()),
        1 => Err(Failure::failed("1 check fails")),
        failed => Err(Failure::failed(format!("{failed} checks fail"))),
    }
}

fn run_checks(context: &Context<'_>, findings: &mut Findings) {
    let config = context.config;
    let origin = match &config.origin {
        Origin::File(path) => match config.includes.iter().map(|include| include.files.len()).sum() {
            0 => format!("{} is valid", path.display()),
            1 => format!("{} is valid, and so is the file that it includes", path.display()),
            files => format!("{} is valid, and so are the {files} files that it includes", path.display()),
        },
        Origin::BuiltIn => "there is none: the defaults are used".to_owned(),
    };
    findings.add("config", ok(origin));
    secrets::check(context, findings);
    match machine::unreadable_directory(config) {
        Some(finding) => findings.add("directory", finding),
        None => {
            machine::check_disk(config, findings);
            findings.add("file system", machine::file_system(config));
            findings.add("sync", disk::sync(&config.database));
            findings.add("permissions", machine::permissions(config));
            database::check(context, findings);
        }
    }
    findings.add("listen", network::check_listen(context));
    units::check(context, findings);
    network::check_page(context, findings);
    network::check_outages(context, findings);
    rejects::check(context, findings);
    destinations::check(context, findings);
    engines::check(context, findings);
}

fn ok(text: impl Into<String>) -> Finding {
    Finding { result: CheckResult::Ok, check: String::new(), text: text.into() }
}

fn warn(text: impl Into<String>) -> Finding {
    Finding { result: CheckResult::Warn, ..ok(text) }
}

fn fail(text: impl Into<String>) -> Finding {
    Finding { result: CheckResult::Fail, ..ok(text) }
}

impl Findings {
    fn add(&mut self, check: impl Into<String>, finding: Finding) {
        self.0.push(Finding { check: check.into(), ..finding });
    }

    fn write(&self, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
        if json {
            return Ok(writeln!(out, "{}", serde_json::json!(self.0))?);
        }
        let row = |finding: &Finding| {
            let result = match finding.result {
                CheckResult::Ok => "ok",
                CheckResult::Warn => "warn",
                CheckResult::Fail => "FAIL",
            };
            [result, &finding.check, &finding.text].map(table::one_line)
        };
        // Not cut to fit the terminal: what to do is at the end of the line.
        Ok(table::write(out, table::Screen::default(), &self.0.iter().map(row).collect::<Vec<_>>())?)
    }
}
