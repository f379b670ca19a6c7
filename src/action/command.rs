//! `kind = "command"`: a program that the operator has configured, run without a shell.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::process;

use super::child::{self, Exit};
use super::{ActionReport, Call, excerpt};
use crate::event::Outcome;
use crate::template::{Template, TemplateError};

/// `EX_TEMPFAIL` of sysexits.h: the program asks for a retry, whatever `give_up` says.
const EX_TEMPFAIL: i32 = 75;

/// The variables that a program needs to find others and to print. It gets no others of ours, above all no secrets.
const INHERITED: [&str; 5] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR"];

/// The action as configured.
#[derive(Clone, Debug)]
pub struct Command {
    /// The program and its arguments.
    pub run: Vec<Template>,
    pub directory: Option<PathBuf>,
    /// Exit codes after which a retry is useless.
    pub give_up: BTreeSet<i32>,
}

impl Command {
    pub(super) fn summary(&self) -> String {
        format!("run {}", self.run[0].source())
    }

    pub(super) fn run(&self, call: &Call<'_>) -> Option<ActionReport> {
        let arguments = match self.arguments(call) {
            Ok(arguments) => arguments,
            Err(reason) => return Some(ActionReport::give_up(reason)),
        };
        let command = self.command(&arguments, call);
        match child::run(command, call.event.bytes(), call.timeout, call.stop, call.grace) {
            Ok(finished) => self.report(&finished),
            // Every attempt has the same arguments.
            Err(error) if error.kind() == ErrorKind::ArgumentListTooLong => {
                Some(ActionReport::give_up(self.cannot_run(&arguments[0], &error)))
            }
            Err(error) => Some(ActionReport::retry(self.cannot_run(&arguments[0], &error))),
        }
    }

    pub(super) fn preview(&self, call: &Call<'_>) -> Result<String, TemplateError> {
        Ok(match self.arguments(call) {
            Ok(arguments) => {
                format!("run {arguments:?} with {} bytes on its standard input\n", call.event.bytes().len())
            }
            Err(reason) => format!("its job would be dead at once: {reason}\n"),
        })
    }

    /// The program and its arguments, rendered.
    fn arguments(&self, call: &Call<'_>) -> Result<Vec<String>, String> {
        let arguments: Vec<String> =
            self.run.iter().map(|template| argument(template, call)).collect::<Result<_, _>>()?;
        if arguments[0].is_empty() {
            return Err(format!("the program {:?} is empty when rendered", self.run[0].source()));
        }
        Ok(arguments)
    }

    /// The kernel has one error for a missing program and for a missing directory.
    fn cannot_run(&self, program: &str, error: &io::Error) -> String {
        match &self.directory {
            Some(directory) if !directory.is_dir() => {
                format!("cannot run {program} in {}: there is no such directory", directory.display())
            }
            _ => format!("cannot run {program}: {error}"),
        }
    }

    fn command(&self, arguments: &[String], call: &Call<'_>) -> process::Command {
        let mut command = process::Command::new(&arguments[0]);
        let inherited = INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        command.args(&arguments[1..]).env_clear().envs(inherited);
        // The environment takes no NUL; another program may have stored one.
        let text = |value: &str| value.replace('\0', "");
        command
            .env("HOOKBOX_EVENT_ID", call.event.id.to_string())
            .env("HOOKBOX_SOURCE", text(&call.event.source))
            .env("HOOKBOX_EVENT", text(&call.event.event_type))
            .env("HOOKBOX_DELIVERY_ID", text(&call.event.delivery_id))
            .env("HOOKBOX_ATTEMPT", call.attempt.to_string())
            .env("HOOKBOX_IDEMPOTENCY_KEY", call.idempotency_key);
        if let Some(dead) = call.dead_job {
            command.env("HOOKBOX_DEAD_ACTION", text(&dead.action)).env("HOOKBOX_ERROR", text(&dead.error));
        }
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command
    }

    fn report(&self, finished: &child::Finished) -> Option<ActionReport> {
        let (outcome, what) = match finished.exit {
            Exit::Interrupted => return None,
            Exit::Code(0) => (Outcome::Success, "exit 0".to_owned()),
            Exit::Code(code) if code != EX_TEMPFAIL && self.give_up.contains(&code) => {
                (Outcome::GiveUp, format!("exit {code}"))
            }
            Exit::Code(code) => (Outcome::Retry { after: None }, format!("exit {code}")),
            Exit::Signal(signal) => (Outcome::Retry { after: None }, format!("killed by signal {signal}")),
            Exit::TimedOut => (Outcome::Retry { after: None }, "not done in time".to_owned()),
        };
        Some(ActionReport { outcome, detail: format!("{what} {}", excerpt(&finished.output)).trim_end().to_owned() })
    }
}

/// Renders one argument. A payload must not become an option where the template does not begin with one.
fn argument(template: &Template, call: &Call<'_>) -> Result<String, String> {
    let argument = template.render(call.scope).map_err(|error| error.to_string())?;
    if argument.starts_with('-') && !template.source().starts_with('-') {
        return Err(format!("the argument {:?} would be rendered as an option, {argument:?}", template.source()));
    }
    if argument.contains('\0') {
        return Err(format!("the argument {:?} would have a NUL in it", template.source()));
    }
    Ok(argument)
}
