//! The command line: one subcommand a file. Only `serve` starts threads.

mod args;
mod backup;
mod check;
mod completions;
mod delete;
mod doctor;
mod forward;
mod health;
mod help;
mod import;
mod json;
mod list;
mod man;
mod page;
mod pager;
mod pause;
mod preview;
mod progress;
mod providers;
mod prune;
mod recover;
mod replay;
mod running;
mod send;
mod show;
mod stats;
mod systemd;
mod table;

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use args::{Args, Command};

use crate::config::Config;
use crate::event::EventId;
use crate::service;
use crate::store::{BackupError, OpenError, StorageError};

/// Why a command failed: the exit code, and the message for standard error.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// It may work another time.
    pub fn failed(message: impl fmt::Display) -> Failure {
        Failure { code: 1, message: message.to_string() }
    }

    /// It cannot work without a change of usage, config or database, so the service manager does not try again.
    pub fn usage(message: impl fmt::Display) -> Failure {
        Failure { code: 2, message: message.to_string() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<service::Error> for Failure {
    fn from(error: service::Error) -> Failure {
        match error {
            service::Error::Refused(problem) => Failure::usage(problem),
            service::Error::Failed(problem) => Failure::failed(problem),
        }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Failure {
        if error.needs_a_person() { Failure::usage(error) } else { Failure::failed(error) }
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Failure {
        OpenError::from(error).into()
    }
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Failure {
        match error {
            BackupError::Failed(problem) => Failure::failed(problem),
            BackupError::Database(error) => error.into(),
        }
    }
}

/// A reader that closes the pipe has read enough (`hookbox list | head`).
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure { code: 0, message: String::new() },
            _ => Failure::failed(format!("cannot write the result: {error}")),
        }
    }
}

/// No event has this ID.
fn no_event(id: EventId) -> Failure {
    Failure::failed(format!("there is no event {id}: `hookbox list` shows which there are"))
}

fn unknown_source(config: &Config, name: &str) -> Failure {
    let known: Vec<&str> = config.sources.keys().map(String::as_str).collect();
    Failure::usage(format!("no source {name:?} in the config; there is: {}", known.join(", ")))
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let code = match run() {
        Ok(()) => 0,
        Err(failure) if failure.message.is_empty() => failure.code,
        Err(failure) => {
            crate::log::fatal(&format!("hookbox: {failure}"));
            failure.code
        }
    };
    crate::log::flush();
    ExitCode::from(code)
}

fn run() -> Result<(), Failure> {
    let args = Args::parse(std::env::args_os().skip(1))?;
    let env = |name: &str| std::env::var_os(name);
    crate::log::start(args.log_level(&env)?);
    let config = || args.load_config(&env).map_err(Failure::usage);
    let mut out = io::stdout().lock();
    match &args.command {
        Command::Usage(command) => Ok(out.write_all(help::of(*command).as_bytes())?),
        Command::Help(topic) => Ok(pager::show(&help::about(topic.as_deref())?, &mut out)?),
        Command::SearchHelp(words) => Ok(pager::show(&help::search::find(words)?, &mut out)?),
        Command::Completions(shell) => Ok(out.write_all(completions::script(*shell).as_bytes())?),
        Command::Names(kind) => Ok(out.write_all(completions::names(config().ok().as_ref(), *kind).as_bytes())?),
        Command::Man(page) => Ok(out.write_all(man::page(page).as_bytes())?),
        Command::Version => Ok(writeln!(out, "hookbox {}", env!("CARGO_PKG_VERSION"))?),
        Command::Serve => {
            // The `log` action writes to standard output from its own thread.
            drop(out);
            Ok(service::run(&env, config)?)
        }
        Command::Check(check) => check::run(&config()?, check, &env, &mut out),
        Command::List(list) => list::run(&config()?, list, &env, &mut out),
        Command::Show(id, form) => show::run(&config()?, *id, *form, &env, &mut out),
        Command::Stats { json } => stats::run(&config()?, *json, &env, &mut out),
        Command::Page => page::run(&config()?, &env, &mut out),
        Command::Systemd(unit) => systemd::run(unit.as_deref(), &mut out),
        Command::Providers(name) => providers::run(name.as_deref(), &mut out),
        Command::Send(send) => send::run(&config()?, send, &env, &mut out),
        Command::Replay(replay) => replay::replay(&config()?, replay, &mut out),
        Command::Cancel(selection, action) => replay::cancel(&config()?, selection, action.as_deref(), &mut out),
        Command::Delete(id) => delete::run(&config()?, *id, &mut out),
        Command::Pause(action) => pause::pause(&config()?, action, &mut out),
        Command::Resume(action) => pause::resume(&config()?, action, &mut out),
        Command::Prune(prune) => prune::run(&config()?, prune, &mut out),
        Command::Recover(recover) => recover::run(&config()?, recover, &env, &mut out),
        Command::Backup(file) => backup::run(&config()?, file, &mut out),
        Command::Doctor { json } => doctor::run(config(), &env, *json, &mut out),
        Command::Health => health::run(&config()?, &mut out),
        Command::Import(import) => import::run(import, &mut out),
        Command::Forward(id, url) => forward::run(&config()?, *id, url, &mut out),
    }
}
