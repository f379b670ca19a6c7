//! From the words of the command line to [`Args`], in two steps: raw arguments, of which only the spelling is known to be
//! right, then valid ones, in which each option belongs to the command and has a value that makes sense.

mod error;
mod raw;
mod topic;

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use log::LevelFilter;

use crate::config::{Admin, AdminListen, Config, ConfigError, database_path};
use crate::event::{EventId, Status};
use crate::listen::Listen;
use crate::secret::Env;
use crate::units::parse_duration;

pub use error::UsageError;
use raw::Raw;
pub use topic::Topic;

/// A screenful or two; whoever wants more says so.
const DEFAULT_LIST_LIMIT: u32 = 50;

/// For where there is no command line to write an option into. Empty is the same as unset.
const LOG_VARIABLE: &str = "HOOKBOX_LOG";

/// Every option of every command, and whether it takes a value. Who understands it is told by who takes it, below.
const OPTIONS: [(&str, bool); 24] = [
    ("config", true),
    ("listen", true),
    ("admin", true),
    ("database", true),
    ("log-level", true),
    ("help", false),
    ("version", false),
    ("status", true),
    ("source", true),
    ("event", true),
    ("limit", true),
    ("json", false),
    ("follow", false),
    ("body", false),
    ("curl", false),
    ("file", true),
    ("id", true),
    ("url", true),
    ("action", true),
    ("since", true),
    ("dry-run", false),
    ("older-than", true),
    ("vacuum", false),
    ("type", true),
];

/// What was asked for.
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
    Show(ShowArgs),
    Stats {
        json: bool,
    },
    Send(SendArgs),
    /// `None` for both units.
    Systemd {
        unit: Option<String>,
    },
    Providers {
        name: Option<String>,
    },
    Replay(ReplayArgs),
    Cancel(CancelArgs),
    /// No further job of this action is begun.
    Pause(String),
    Resume(String),
    Forward {
        id: EventId,
        url: String,
    },
    Prune(PruneArgs),
    Backup {
        file: PathBuf,
    },
    Doctor {
        json: bool,
    },
    Help(Option<Topic>),
    Version,
}

#[derive(Debug, PartialEq, Eq)]
pub struct ListArgs {
    pub status: Option<Status>,
    pub source: Option<String>,
    pub event_type: Option<String>,
    /// Received at most this long ago.
    pub since: Option<Duration>,
    pub limit: u32,
    pub json: bool,
    /// To go on with what happens from now on.
    pub follow: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub struct ShowArgs {
    pub id: EventId,
    pub form: ShowForm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShowForm {
    Text,
    Json,
    /// The exact bytes that were delivered, and nothing else.
    Body,
    /// A command that sends it again.
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

/// What to try the actions with, beside checking the config.
#[derive(Debug, PartialEq, Eq)]
pub enum CheckArgs {
    Config,
    /// A stored event.
    Event(EventId),
    /// A payload as the source would deliver it.
    File {
        file: PathBuf,
        source: Option<String>,
        event_type: Option<String>,
    },
}

#[derive(Debug, PartialEq, Eq)]
pub struct ReplayArgs {
    pub selection: SelectionArgs,
    pub action: Option<String>,
    pub dry_run: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub struct CancelArgs {
    pub selection: SelectionArgs,
    pub action: Option<String>,
}

/// Without an age the config's ages count; without a status all that it has ages for, or else the processed ones.
#[derive(Debug, PartialEq, Eq)]
pub struct PruneArgs {
    pub older_than: Option<Duration>,
    pub status: Option<Status>,
    pub dry_run: bool,
    pub vacuum: bool,
}

/// Events by their numbers, or by what they have in common.
#[derive(Debug, PartialEq, Eq)]
pub struct SelectionArgs {
    pub ids: Vec<EventId>,
    pub status: Option<Status>,
    /// Received at most this long ago.
    pub since: Option<Duration>,
}

impl Args {
    /// Reads the words after the program's name.
    pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Args, UsageError> {
        Raw::read(words)?.validate()
    }

    /// Loads the config that these arguments lead to, with their overrides.
    pub fn load_config(&self, env: &Env) -> Result<Config, ConfigError> {
        let config = Config::load(self.config.as_deref(), env)?;
        Ok(Config {
            listen: self.listen.clone().unwrap_or(config.listen),
            admin: Admin { listen: self.admin.clone().unwrap_or(config.admin.listen), ..config.admin },
            database: self.database.clone().unwrap_or(config.database),
            ..config
        })
    }

    /// What is to be logged: the option wins over the variable.
    pub fn log_level(&self, env: &Env) -> Result<LevelFilter, UsageError> {
        let named = || env(LOG_VARIABLE).filter(|level| !level.is_empty());
        match (self.log_level, named()) {
            (Some(level), _) => Ok(level),
            (None, None) => Ok(LevelFilter::Info),
            (None, Some(level)) => log_level(&level.to_string_lossy())
                .map_err(|reason| UsageError::BadVariable { variable: LOG_VARIABLE, reason }),
        }
    }

    fn only(command: Command) -> Args {
        Args { config: None, listen: None, admin: None, database: None, log_level: None, command }
    }
}

impl Raw {
    fn validate(mut self) -> Result<Args, UsageError> {
        if self.flag("help") {
            return Ok(Args::only(Command::Help(self.help_topic()?)));
        }
        if self.flag("version") {
            return Ok(Args::only(Command::Version));
        }
        let config = self.value("config").map(PathBuf::from);
        let listen = self.parsed("listen", FromStr::from_str)?;
        let admin = self.parsed("admin", FromStr::from_str)?;
        let database = self.database()?;
        let log_level = self.parsed("log-level", log_level)?;
        let command = self.command()?;
        Ok(Args { config, listen, admin, database, log_level, command })
    }

    fn command(mut self) -> Result<Command, UsageError> {
        let topic = match self.word() {
            None => Topic::Serve,
            Some(word) if word == "help" => return Ok(Command::Help(self.help_topic()?)),
            Some(word) => Topic::find(&word)?,
        };
        let command = match topic {
            Topic::Serve => Command::Serve,
            Topic::Check => Command::Check(self.check()?),
            Topic::List => Command::List(self.list()?),
            Topic::Show => Command::Show(self.show()?),
            Topic::Stats => Command::Stats { json: self.flag("json") },
            Topic::Send => Command::Send(self.send()?),
            Topic::Replay => Command::Replay(self.replay()?),
            Topic::Cancel => Command::Cancel(self.cancel()?),
            Topic::Pause => Command::Pause(self.action_name(topic)?),
            Topic::Resume => Command::Resume(self.action_name(topic)?),
            Topic::Forward => self.forward()?,
            Topic::Prune => Command::Prune(self.prune()?),
            Topic::Backup => self.backup()?,
            Topic::Doctor => Command::Doctor { json: self.flag("json") },
            Topic::Providers => Command::Providers { name: self.word() },
            Topic::Systemd => Command::Systemd { unit: self.word() },
        };
        self.refuse_the_rest(topic)?;
        Ok(command)
    }

    fn list(&mut self) -> Result<ListArgs, UsageError> {
        Ok(ListArgs {
            status: self.parsed("status", status)?,
            source: self.parsed("source", any_text)?,
            event_type: self.parsed("event", any_text)?,
            since: self.parsed("since", parse_duration)?,
            limit: self.parsed("limit", limit)?.unwrap_or(DEFAULT_LIST_LIMIT),
            json: self.flag("json"),
            follow: self.flag("follow"),
        })
    }

    fn show(&mut self) -> Result<ShowArgs, UsageError> {
        let id = self.word().ok_or(UsageError::MissingWord { topic: Topic::Show, what: "the ID of an event" })?;
        let id = event_id(&id).map_err(|reason| UsageError::BadWord { topic: Topic::Show, reason })?;
        let forms = [("json", ShowForm::Json), ("body", ShowForm::Body), ("curl", ShowForm::Curl)];
        let asked: Vec<_> = forms.into_iter().filter(|(name, _)| self.flag(name)).collect();
        let form = match asked[..] {
            [] => ShowForm::Text,
            [(_, form)] => form,
            [(one, _), (other, _), ..] => return Err(UsageError::Contradiction(one, other)),
        };
        Ok(ShowArgs { id, form })
    }

    fn send(&mut self) -> Result<SendArgs, UsageError> {
        Ok(SendArgs {
            source: self.word().ok_or(UsageError::MissingWord { topic: Topic::Send, what: "the SOURCE to send to" })?,
            event_type: self.parsed("event", any_text)?,
            file: self.value("file").map(PathBuf::from),
            delivery_id: self.parsed("id", any_text)?,
            url: self.parsed("url", any_text)?,
        })
    }

    fn check(&mut self) -> Result<CheckArgs, UsageError> {
        let (event, file) = (self.value("event"), self.value("file").map(PathBuf::from));
        match (event, file) {
            (None, None) => Ok(CheckArgs::Config),
            (Some(id), None) => {
                let bad = |reason| UsageError::BadValue { option: "event", reason };
                Ok(CheckArgs::Event(event_id(&id.to_string_lossy()).map_err(bad)?))
            }
            (None, Some(file)) => Ok(CheckArgs::File {
                file,
                source: self.parsed("source", any_text)?,
                event_type: self.parsed("type", any_text)?,
            }),
            (Some(_), Some(_)) => Err(UsageError::Contradiction("event", "file")),
        }
    }

    fn replay(&mut self) -> Result<ReplayArgs, UsageError> {
        Ok(ReplayArgs {
            action: self.parsed("action", any_text)?,
            dry_run: self.flag("dry-run"),
            selection: self.selection(Topic::Replay, "the ID of an event, or --status or --since")?,
        })
    }

    fn cancel(&mut self) -> Result<CancelArgs, UsageError> {
        let action = self.parsed("action", any_text)?;
        // An action alone says enough: all its open jobs.
        let needs = if action.is_some() { "" } else { "the ID of an event, or --action, --status or --since" };
        Ok(CancelArgs { action, selection: self.selection(Topic::Cancel, needs)? })
    }

    /// `what` is missing where nothing is selected; nothing is, if it is empty.
    fn selection(&mut self, topic: Topic, what: &'static str) -> Result<SelectionArgs, UsageError> {
        let mut ids = Vec::new();
        while let Some(word) = self.word() {
            ids.push(event_id(&word).map_err(|reason| UsageError::BadWord { topic, reason })?);
        }
        let selection =
            SelectionArgs { ids, status: self.parsed("status", status)?, since: self.parsed("since", parse_duration)? };
        let is_empty = selection.ids.is_empty() && selection.status.is_none() && selection.since.is_none();
        if is_empty && !what.is_empty() {
            return Err(UsageError::MissingWord { topic, what });
        }
        Ok(selection)
    }

    fn action_name(&mut self, topic: Topic) -> Result<String, UsageError> {
        self.word().ok_or(UsageError::MissingWord { topic, what: "the name of an ACTION" })
    }

    fn forward(&mut self) -> Result<Command, UsageError> {
        let topic = Topic::Forward;
        let id = self.word().ok_or(UsageError::MissingWord { topic, what: "the ID of an event and a URL" })?;
        let id = event_id(&id).map_err(|reason| UsageError::BadWord { topic, reason })?;
        let url = self.word().ok_or(UsageError::MissingWord { topic, what: "a URL after the ID" })?;
        Ok(Command::Forward { id, url })
    }

    fn prune(&mut self) -> Result<PruneArgs, UsageError> {
        Ok(PruneArgs {
            older_than: self.parsed("older-than", parse_duration)?,
            status: self.parsed("status", final_status)?,
            dry_run: self.flag("dry-run"),
            vacuum: self.flag("vacuum"),
        })
    }

    /// As it was written: a file's name need not be UTF-8.
    fn backup(&mut self) -> Result<Command, UsageError> {
        let topic = Topic::Backup;
        if self.words.first().is_none_or(|file| file.is_empty()) {
            return Err(UsageError::MissingWord { topic, what: "the FILE to write" });
        }
        Ok(Command::Backup { file: PathBuf::from(self.words.remove(0)) })
    }

    fn database(&mut self) -> Result<Option<PathBuf>, UsageError> {
        let path = self.value("database").map(|path| database_path(PathBuf::from(path)));
        path.transpose().map_err(|reason| UsageError::BadValue { option: "database", reason })
    }

    fn help_topic(&mut self) -> Result<Option<Topic>, UsageError> {
        match self.word() {
            None => Ok(None),
            Some(word) if word == "help" => self.help_topic(),
            Some(word) => Topic::find(&word).map(Some),
        }
    }

    fn refuse_the_rest(mut self, topic: Topic) -> Result<(), UsageError> {
        if let Some(word) = self.word() {
            return Err(UsageError::ExtraWord { topic, word });
        }
        match self.flags.first().or(self.values.keys().next()) {
            Some(option) => Err(UsageError::ForeignOption { topic, option }),
            None => Ok(()),
        }
    }
}

fn any_text(text: &str) -> Result<String, &'static str> {
    if text.is_empty() { Err("the value is empty") } else { Ok(text.to_owned()) }
}

fn status(text: &str) -> Result<Status, String> {
    let known = Status::ALL.map(Status::as_str).join(", ");
    Status::parse(text).ok_or_else(|| format!("no status {text:?}; write one of: {known}"))
}

fn final_status(text: &str) -> Result<Status, String> {
    match status(text)? {
        Status::Unprocessed => Err("what is unprocessed is never pruned; write processed or error".to_owned()),
        status => Ok(status),
    }
}

fn limit(text: &str) -> Result<u32, String> {
    let limit = text.parse().ok().filter(|limit| *limit > 0);
    limit.ok_or_else(|| format!("{text:?} is no number of events; write 1 or more"))
}

fn event_id(text: &str) -> Result<EventId, String> {
    let id = text.parse().ok().filter(|id| *id > 0);
    id.map(EventId).ok_or_else(|| format!("{text:?} is no event's ID; write a number as hookbox list prints it"))
}

fn log_level(text: &str) -> Result<LevelFilter, String> {
    match text {
        "error" => Ok(LevelFilter::Error),
        "warn" => Ok(LevelFilter::Warn),
        "info" => Ok(LevelFilter::Info),
        "debug" => Ok(LevelFilter::Debug),
        _ => Err(format!("no level {text:?}; write one of: error, warn, info, debug")),
    }
}

#[cfg(test)]
mod tests;
