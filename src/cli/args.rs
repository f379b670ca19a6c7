//! Parses the words of the command line into [`Args`], in two steps: [`Raw`] has options and words that are spelled right,
//! and `parse` takes the valid ones of each command out of it.

pub mod commands;
pub mod option;
mod parse;
mod raw;

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use log::LevelFilter;

use super::Failure;
use crate::config::{Admin, AdminListen, Config, ConfigError, database_path};
use crate::event::EventId;
use crate::listen::Listen;
use crate::secret::Env;
use crate::store::{Filter, ReplayScope, Selection};
use crate::suggest::closest;

use commands::{COMMANDS, CommandSpec};
pub use option::{NameKind, Shell};
use raw::Raw;
pub use raw::wrong_usage;

/// For services, which have no command line to add an option to. Empty is the same as unset.
const LOG_VARIABLE: &str = "HOOKBOX_LOG";

/// The command line, parsed.
#[derive(Debug, PartialEq, Eq)]
pub struct Args {
    pub config: Option<PathBuf>,
    pub listen: Option<Listen>,
    pub admin: Option<AdminListen>,
    pub database: Option<PathBuf>,
    pub log_level: Option<LevelFilter>,
    pub command: Command,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    Serve,
    Check(CheckArgs),
    List(ListArgs),
    Show(EventId, ShowForm),
    Stats {
        json: bool,
    },
    Page,
    Send(SendArgs),
    /// The name of a unit; `None` for both units.
    Systemd(Option<String>),
    Providers(Option<String>),
    Replay(ReplayArgs),
    /// All open jobs of the events, or those of one action.
    Cancel(Selection, Option<String>),
    Delete(EventId),
    Pause(String),
    Resume(String),
    /// The event, and the URL.
    Forward(EventId, String),
    Prune(PruneArgs),
    Recover(RecoverArgs),
    Backup(PathBuf),
    Doctor {
        json: bool,
    },
    Health,
    Import(ImportArgs),
    Completions(Shell),
    /// Names in the config, for the completions.
    Names(NameKind),
    /// The name of the page.
    Man(&'static str),
    /// `--help`, of the program or of one command.
    Usage(Option<&'static str>),
    /// The name of a command or of a chapter of the manual.
    Help(Option<String>),
    /// Words to look for in the help and the manual.
    SearchHelp(Vec<String>),
    Version,
}

#[derive(Debug, PartialEq, Eq)]
pub struct ListArgs {
    pub filter: Filter,
    pub json: bool,
    /// To continue with new events and changes.
    pub follow: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShowForm {
    Text,
    /// Text, with all of each answer.
    Full,
    Json,
    /// Only the exact bytes of the delivery.
    Body,
    /// A shell command that sends it again.
    Curl,
}

#[derive(Debug, PartialEq, Eq)]
pub struct SendArgs {
    pub source: String,
    pub event_type: Option<String>,
    pub file: Option<PathBuf>,
    pub delivery_id: Option<String>,
    pub url: Option<String>,
}

/// Check the config, and perhaps try the actions with an event.
#[derive(Debug, PartialEq, Eq)]
pub enum CheckArgs {
    Config,
    /// Without fetching secrets: what a reload of the service sees.
    WithoutSecrets,
    /// A stored event.
    Event(EventId),
    /// The content of a file, as a delivery of the source.
    File {
        file: PathBuf,
        source: Option<String>,
        event_type: Option<String>,
    },
}

/// The file of hooks, and where to write their secrets.
#[derive(Debug, PartialEq, Eq)]
pub struct ImportArgs {
    pub file: PathBuf,
    pub secrets: Option<PathBuf>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct ReplayArgs {
    pub selection: Selection,
    pub action: Option<String>,
    pub scope: ReplayScope,
    pub dry_run: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub struct RecoverArgs {
    pub source: String,
    /// How far back.
    pub since: Option<Duration>,
    pub dry_run: bool,
}

/// Without an age, the ages of the config apply, to each status that has one; events that are named need none. With an age
/// and no status, processed events.
#[derive(Debug, PartialEq, Eq)]
pub struct PruneArgs {
    pub older_than: Option<Duration>,
    pub selection: Selection,
    pub dry_run: bool,
    pub vacuum: bool,
}

impl Args {
    /// Reads the words after the program's name.
    pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Args, Failure> {
        let mut raw = Raw::read(words, commands::options())?;
        if raw.switch("help") {
            let command = raw.word().map(|word| named(&word)).transpose()?;
            return Ok(Args::only(Command::Usage(command.map(|command| command.name))));
        }
        if raw.switch("version") {
            return Ok(Args::only(Command::Version));
        }
        let database = raw.value("database").map(|path| database_path(PathBuf::from(path))).transpose();
        Ok(Args {
            config: raw.value("config").map(PathBuf::from),
            listen: raw.parsed("listen", FromStr::from_str)?,
            admin: raw.parsed("admin", FromStr::from_str)?,
            database: database.map_err(|reason| raw.wrong_value("database", reason))?,
            log_level: raw.parsed("log-level", parse::log_level)?,
            command: command(&mut raw)?,
        })
    }

    /// Loads the config that the arguments and the environment select, with the overrides.
    pub fn load_config(&self, env: &Env) -> Result<Config, ConfigError> {
        let config = Config::load(self.config.as_deref(), env)?;
        Ok(Config {
            listen: self.listen.clone().unwrap_or(config.listen),
            admin: Admin { listen: self.admin.clone().unwrap_or(config.admin.listen), ..config.admin },
            database: self.database.clone().unwrap_or(config.database),
            ..config
        })
    }

    /// The log level: the option overrides the variable.
    pub fn log_level(&self, env: &Env) -> Result<LevelFilter, Failure> {
        let named = || env(LOG_VARIABLE).filter(|level| !level.is_empty());
        match (self.log_level, named()) {
            (Some(level), _) => Ok(level),
            (None, None) => Ok(LevelFilter::Info),
            (None, Some(level)) => parse::log_level(&level.to_string_lossy())
                .map_err(|reason| wrong_usage(format!("{LOG_VARIABLE}: {reason}"))),
        }
    }

    fn only(command: Command) -> Args {
        Args { config: None, listen: None, admin: None, database: None, log_level: None, command }
    }
}

/// The command that the next word names; without a word it is `serve`.
fn command(raw: &mut Raw) -> Result<Command, Failure> {
    let spec = match raw.word() {
        Some(word) => named(&word)?,
        None => {
            raw.check_options()?;
            &COMMANDS[0]
        }
    };
    raw.command = spec.name;
    raw.check_options()?;
    let command = (spec.parse)(raw)?;
    raw.check_nothing_is_left()?;
    Ok(command)
}

fn named(word: &str) -> Result<&'static CommandSpec, Failure> {
    let unknown = || {
        let near = closest(word, COMMANDS.iter().map(|command| command.name));
        let hint = near.map_or(String::new(), |near| format!("; did you mean {near}?"));
        wrong_usage(format!("unknown command {word:?}{hint}"))
    };
    commands::find(word).ok_or_else(unknown)
}

#[cfg(test)]
mod tests;
