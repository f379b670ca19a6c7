//! `kind = "command"`: a program that the operator has configured, run without a shell.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process;

use super::child::{self, Exit, Limits};
use super::success::{self, MAX_ANSWER_BYTES};
use super::variable::{Prepared, Variable};
use super::{ActionReport, Call, MAX_DETAIL_BYTES, excerpt};
use crate::event::Outcome;
use crate::secret::{Env, Secret};
use crate::template::{Answer, Expression, Template, TemplateError};

/// `EX_TEMPFAIL` of sysexits.h: the program asks for a retry, whatever `give_up` says.
const EX_TEMPFAIL: i32 = 75;

/// The variables that a program needs to find others and to print. It gets no others of ours, above all no secrets.
const INHERITED: [&str; 5] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR"];

/// Stands for a secret in the output of a command.
const HIDDEN: &[u8] = b"[secret]";

/// A shorter secret is a word or a number that output has in other places too.
const MIN_HIDDEN_BYTES: usize = 5;

/// The action as configured.
#[derive(Clone, Debug)]
pub struct Command {
    /// The program and its arguments.
    pub run: Vec<Template>,
    /// `None`: the exact body.
    pub stdin: Option<Template>,
    pub env: Vec<Variable>,
    pub success_when: Option<Expression>,
    pub directory: Option<PathBuf>,
    /// Exit codes after which a retry is useless.
    pub give_up: BTreeSet<i32>,
}

/// The action with its secrets fetched.
pub struct CommandRunner {
    command: Command,
    env: Vec<Prepared>,
}

/// A command for one event.
struct Rendered<'a> {
    /// The program and its arguments.
    arguments: Vec<String>,
    env: Vec<(&'a str, OsString)>,
    stdin: Cow<'a, [u8]>,
}

impl Command {
    /// The program, and whether it exists.
    pub(super) fn summary(&self) -> String {
        let program = self.run[0].source();
        let own_path = self.env.iter().find(|variable| variable.name == "PATH").map(Variable::fixed);
        let path = match own_path {
            Some(path) => path.map(OsString::from),
            None => std::env::var_os("PATH"),
        };
        let note = if is_missing(program, &path.unwrap_or_default()) { " (there is no such program here)" } else { "" };
        format!("run {program}{note}")
    }

    pub(super) fn prepare(&self, env: &Env<'_>) -> Result<CommandRunner, String> {
        let variables = self.env.iter().map(|variable| variable.prepare(env)).collect::<Result<_, _>>()?;
        Ok(CommandRunner { command: self.clone(), env: variables })
    }
}

impl CommandRunner {
    pub(super) fn run(&self, call: &Call<'_>) -> Option<ActionReport> {
        let rendered = match self.render(call) {
            Ok(rendered) => rendered,
            Err(reason) => return Some(ActionReport::give_up(reason)),
        };
        let limits = Limits {
            timeout: call.timeout,
            stop: call.stop,
            grace: call.grace,
            output_bytes: if self.command.success_when.is_some() { MAX_ANSWER_BYTES } else { self.output_bytes() },
        };
        match child::run(self.process(&rendered, call), &rendered.stdin, &limits) {
            Ok(finished) => self.report(finished, call),
            // Every attempt has the same arguments and variables.
            Err(error) if error.kind() == ErrorKind::ArgumentListTooLong => {
                Some(ActionReport::give_up(self.cannot_run(&rendered.arguments[0], &error)))
            }
            Err(error) => Some(ActionReport::retry(self.cannot_run(&rendered.arguments[0], &error))),
        }
    }

    pub(super) fn preview(&self, call: &Call<'_>) -> Result<String, TemplateError> {
        let rendered = match self.render(call) {
            Ok(rendered) => rendered,
            Err(reason) => return Ok(format!("its job would be dead at once: {reason}\n")),
        };
        let Rendered { arguments, stdin, .. } = &rendered;
        let mut text = format!("run {arguments:?} with {} bytes on its standard input\n", stdin.len());
        for variable in &self.env {
            text.push_str(&format!("env {}\n", variable.preview(call).unwrap_or_else(|reason| reason)));
        }
        if self.command.stdin.is_some() {
            text.push_str(&format!("\n{}\n", String::from_utf8_lossy(stdin)));
        }
        Ok(text)
    }

    /// `Err` says why the command cannot be run for this event.
    fn render<'a>(&'a self, call: &Call<'a>) -> Result<Rendered<'a>, String> {
        let stdin = match &self.command.stdin {
            Some(template) => Cow::Owned(template.render(call.scope).map_err(|error| error.to_string())?.into_bytes()),
            None => Cow::Borrowed(call.event.bytes()),
        };
        let env = self.env.iter().map(|variable| variable.render(call)).collect::<Result<_, _>>()?;
        Ok(Rendered { arguments: self.arguments(call)?, env, stdin })
    }

    fn arguments(&self, call: &Call<'_>) -> Result<Vec<String>, String> {
        let run = &self.command.run;
        let arguments: Vec<String> = run.iter().map(|template| argument(template, call)).collect::<Result<_, _>>()?;
        if arguments[0].is_empty() {
            return Err(format!("the program {:?} is empty when rendered", run[0].source()));
        }
        Ok(arguments)
    }

    /// The kernel has one error for a missing program and for a missing directory.
    fn cannot_run(&self, program: &str, error: &io::Error) -> String {
        match &self.command.directory {
            Some(directory) if !directory.is_dir() => {
                format!("cannot run {program} in {}: there is no such directory", directory.display())
            }
            _ => format!("cannot run {program}: {error}"),
        }
    }

    fn process(&self, Rendered { arguments, env, .. }: &Rendered<'_>, call: &Call<'_>) -> process::Command {
        let mut command = process::Command::new(&arguments[0]);
        let inherited = INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        command.args(&arguments[1..]).env_clear().envs(inherited);
        command.envs(env.iter().map(|(name, value)| (name, value)));
        // The environment takes no NUL; another program may have stored one.
        let text = |value: &str| value.replace('\0', "");
        command
            .env("HOOKBOX_EVENT_ID", call.event.id.to_string())
            .env("HOOKBOX_SOURCE", text(&call.event.source))
            .env("HOOKBOX_EVENT", text(&call.event.event_type))
            .env("HOOKBOX_DELIVERY_ID", text(&call.event.delivery_id))
            .env("HOOKBOX_ATTEMPT", call.attempt.to_string())
            .env("HOOKBOX_IDEMPOTENCY_KEY", call.idempotency_key);
        if let Some(directory) = &self.command.directory {
            command.current_dir(directory);
        }
        command
    }

    fn report(&self, finished: child::Finished, call: &Call<'_>) -> Option<ActionReport> {
        let (outcome, what) = match finished.exit {
            Exit::Interrupted => return None,
            Exit::Code(0) => (Outcome::Success, "exit 0".to_owned()),
            Exit::Code(code) if code != EX_TEMPFAIL && self.command.give_up.contains(&code) => {
                (Outcome::GiveUp, format!("exit {code}"))
            }
            Exit::Code(code) => (Outcome::Retry { after: None }, format!("exit {code}")),
            Exit::Signal(signal) => (Outcome::Retry { after: None }, format!("killed by signal {signal}")),
            Exit::TimedOut => (Outcome::Retry { after: None }, "not done in time".to_owned()),
        };
        let output = self.without_secrets(&finished.output, finished.is_cut);
        let report = ActionReport { outcome, detail: format!("{what} {}", excerpt(&output)).trim_end().to_owned() };
        match (&self.command.success_when, finished.exit) {
            (Some(condition), Exit::Code(exit_code)) => {
                let missing = finished.is_cut.then(|| success::too_long("output"));
                // As a shell's `$(...)` gives it.
                let output = success::text(without_newlines(&finished.output), missing);
                let answer = Answer::Command { exit_code, output };
                Some(success::Result { answer, report, wait: None }.judge(condition, call.scope))
            }
            _ => Some(report),
        }
    }

    /// How much output is enough to store its beginning, and to find a secret that reaches over the end of that.
    fn output_bytes(&self) -> usize {
        MAX_DETAIL_BYTES + self.longest_secret_bytes()
    }

    /// The beginning of the output. It is stored, logged and shown, and a program may print what it was given.
    fn without_secrets(&self, output: &[u8], is_cut: bool) -> Vec<u8> {
        let beginning = &output[..output.len().min(self.output_bytes())];
        let mut text = self.secrets().fold(beginning.to_vec(), |text, secret| replaced(&text, secret, HIDDEN));
        if is_cut || beginning.len() < output.len() {
            // It may end with a part of a secret.
            text.truncate(text.len().saturating_sub(self.longest_secret_bytes()));
        }
        text
    }

    fn longest_secret_bytes(&self) -> usize {
        self.secrets().map(<[u8]>::len).max().unwrap_or(0)
    }

    fn secrets(&self) -> impl Iterator<Item = &[u8]> {
        let secrets = self.env.iter().filter_map(Prepared::secret).map(Secret::as_bytes);
        secrets.filter(|secret| secret.len() >= MIN_HIDDEN_BYTES)
    }
}

fn replaced(text: &[u8], part: &[u8], other: &[u8]) -> Vec<u8> {
    let (mut rest, mut result) = (text, Vec::new());
    while let Some(at) = rest.windows(part.len()).position(|window| window == part) {
        result.extend_from_slice(&rest[..at]);
        result.extend_from_slice(other);
        rest = &rest[at + part.len()..];
    }
    result.extend_from_slice(rest);
    result
}

fn without_newlines(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
    &bytes[..end]
}

/// False where it depends on the event, or on the directory in which the command runs.
fn is_missing(program: &str, directories: &OsStr) -> bool {
    let path = Path::new(program);
    if program.contains('{') || (program.contains('/') && path.is_relative()) {
        return false;
    }
    // Joining an absolute path replaces the directory.
    !std::env::split_paths(directories).any(|directory| is_executable(&directory.join(path)))
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
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
