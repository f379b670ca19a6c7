//! `kind = "command"`: a program of the operator's, without a shell.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process;

use super::child::{self, Exit};
use super::{Call, Ended, Report, excerpt};
use crate::event::Outcome;
use crate::template::{Template, TemplateError};

/// `EX_TEMPFAIL` of sysexits.h: the program itself says "try again", whatever is configured.
const TRY_AGAIN: i32 = 75;

/// What a program needs to find others and to print; nothing else of our environment is its business, least of all our
/// secrets.
const INHERITED: [&str; 5] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR"];

/// The action as configured.
#[derive(Clone, Debug)]
pub struct Command {
    /// The program and its arguments.
    pub run: Vec<Template>,
    pub directory: Option<PathBuf>,
    /// Exit codes after which trying again is no use.
    pub give_up: BTreeSet<i32>,
}

pub struct Runner(Command);

impl Command {
    /// The program, and whether it is there.
    pub(super) fn summary(&self) -> String {
        let program = self.run[0].source();
        let note = if is_missing(program) { " (there is no such program here)" } else { "" };
        format!("run {program}{note}")
    }

    pub(super) fn prepare(&self) -> Runner {
        Runner(self.clone())
    }
}

impl Runner {
    pub(super) fn run(&self, call: &Call<'_>) -> Ended {
        let words = match self.words(call) {
            Ok(words) => words,
            Err(reason) => return Ended::Done(Report::give_up(reason)),
        };
        match child::run(self.command(&words, call), call.event.bytes(), call.timeout, call.stop, call.grace) {
            Ok(finished) if finished.exit == Exit::Interrupted => Ended::Interrupted,
            Ok(finished) => Ended::Done(self.judge(&finished)),
            // The arguments are the same the next time.
            Err(error) if error.kind() == ErrorKind::ArgumentListTooLong => {
                Ended::Done(Report::give_up(self.cannot_run(&words[0], &error)))
            }
            Err(error) => Ended::Done(Report::retry(self.cannot_run(&words[0], &error))),
        }
    }

    pub(super) fn preview(&self, call: &Call<'_>) -> Result<String, TemplateError> {
        Ok(match self.words(call) {
            Ok(words) => format!("run {words:?} with {} bytes on its standard input\n", call.event.bytes().len()),
            Err(reason) => format!("nothing: {reason}\n"),
        })
    }

    fn words(&self, call: &Call<'_>) -> Result<Vec<String>, String> {
        let words: Vec<String> = self.0.run.iter().map(|template| word(template, call)).collect::<Result<_, _>>()?;
        if words[0].is_empty() {
            return Err(format!("the program {:?} would have no name", self.0.run[0].source()));
        }
        Ok(words)
    }

    /// The kernel says the same of a program and of a directory that is not there.
    fn cannot_run(&self, program: &str, error: &io::Error) -> String {
        match &self.0.directory {
            Some(directory) if !directory.is_dir() => {
                format!("cannot run {program} in {}: there is no such directory", directory.display())
            }
            _ => format!("cannot run {program}: {error}"),
        }
    }

    fn command(&self, words: &[String], call: &Call<'_>) -> process::Command {
        let mut command = process::Command::new(&words[0]);
        let inherited = INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        command.args(&words[1..]).env_clear().envs(inherited);
        // No value of an environment may hold a NUL; another program may have stored one.
        let text = |value: &str| value.replace('\0', "");
        command
            .env("HOOKBOX_EVENT_ID", call.event.id.to_string())
            .env("HOOKBOX_SOURCE", text(&call.event.source))
            .env("HOOKBOX_EVENT", text(&call.event.event_type))
            .env("HOOKBOX_DELIVERY_ID", text(&call.event.delivery_id))
            .env("HOOKBOX_ATTEMPT", call.attempt.to_string())
            .env("HOOKBOX_IDEMPOTENCY_KEY", call.idempotency_key);
        if let Some(death) = call.death {
            command.env("HOOKBOX_DEAD_ACTION", text(&death.action)).env("HOOKBOX_ERROR", text(&death.error));
        }
        if let Some(directory) = &self.0.directory {
            command.current_dir(directory);
        }
        command
    }

    fn judge(&self, finished: &child::Finished) -> Report {
        let (outcome, what) = match finished.exit {
            Exit::Code(0) => (Outcome::Success, "exit 0".to_owned()),
            Exit::Code(code) if code != TRY_AGAIN && self.0.give_up.contains(&code) => {
                (Outcome::GiveUp, format!("exit {code}"))
            }
            Exit::Code(code) => (Outcome::Retry { after: None }, format!("exit {code}")),
            Exit::Signal(signal) => (Outcome::Retry { after: None }, format!("killed by signal {signal}")),
            Exit::TimedOut | Exit::Interrupted => (Outcome::Retry { after: None }, "not done in time".to_owned()),
        };
        Report { outcome, detail: format!("{what} {}", excerpt(&finished.output)).trim_end().to_owned() }
    }
}

/// False where it cannot be told: what depends on the event, or on where the command runs.
fn is_missing(program: &str) -> bool {
    let path = Path::new(program);
    if program.contains('{') || (program.contains('/') && path.is_relative()) {
        return false;
    }
    let directories = std::env::var_os("PATH").unwrap_or_default();
    // Joined with what is absolute, a directory plays no part.
    !std::env::split_paths(&directories).any(|directory| is_executable(&directory.join(path)))
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// A payload must not be able to pass for an option where the template does not begin with one.
fn word(template: &Template, call: &Call<'_>) -> Result<String, String> {
    let word = template.render(call.scope).map_err(|error| error.to_string())?;
    if word.starts_with('-') && !template.source().starts_with('-') {
        return Err(format!("the argument {:?} would be rendered as an option, {word:?}", template.source()));
    }
    if word.contains('\0') {
        return Err(format!("the argument {:?} would have a NUL in it", template.source()));
    }
    Ok(word)
}
