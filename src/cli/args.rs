//! From the words of the command line to [`Args`], in two steps: raw arguments, of which only the spelling is known to be
//! right, then valid ones, in which each option belongs to the command and has a value that makes sense.

mod error;
mod raw;

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use log::LevelFilter;

use crate::config::secret::Env;
use crate::config::units::parse_duration;
use crate::config::{Config, ConfigError, database_path};
use crate::event::{EventId, Status};
use crate::listen::Listen;
use crate::suggest::closest;

pub use error::UsageError;
use raw::Raw;

/// A screenful or two; whoever wants more says so.
const DEFAULT_LIST_LIMIT: u32 = 50;

/// Every option of every command, and whether it takes a value. Who understands it is told by who takes it, below.
const OPTIONS: [(&str, bool); 19] = [
    ("config", true),
    ("listen", true),
    ("database", true),
    ("log-level", true),
    ("help", false),
    ("version", false),
    ("status", true),
    ("source", true),
    ("event", true),
    ("limit", true),
    ("json", false),
    ("body", false),
    ("file", true),
    ("id", true),
    ("url", true),
    ("action", true),
    ("since", true),
    ("dry-run", false),
    ("type", true),
];

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Args {
    pub config: Option<PathBuf>,
    pub listen: Option<Listen>,
    pub database: Option<PathBuf>,
    pub log_level: LevelFilter,
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
    Help(Option<Topic>),
    Version,
}

#[derive(Debug, PartialEq, Eq)]
pub struct ListArgs {
    pub status: Option<Status>,
    pub source: Option<String>,
    pub event_type: Option<String>,
    pub limit: u32,
    pub json: bool,
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

/// Events by their numbers, or by what they have in common.
#[derive(Debug, PartialEq, Eq)]
pub struct SelectionArgs {
    pub ids: Vec<EventId>,
    pub status: Option<Status>,
    /// Received at most this long ago.
    pub since: Option<Duration>,
}

/// A command that has a help text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    Serve,
    Check,
    List,
    Show,
    Stats,
    Send,
    Replay,
    Cancel,
    Pause,
    Resume,
    Forward,
    Providers,
    Systemd,
}

impl Topic {
    pub const ALL: [Topic; 13] = [
        Topic::Serve,
        Topic::Check,
        Topic::List,
        Topic::Show,
        Topic::Stats,
        Topic::Send,
        Topic::Replay,
        Topic::Cancel,
        Topic::Pause,
        Topic::Resume,
        Topic::Forward,
        Topic::Providers,
        Topic::Systemd,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Topic::Serve => "serve",
            Topic::Check => "check",
            Topic::List => "list",
            Topic::Show => "show",
            Topic::Stats => "stats",
            Topic::Send => "send",
            Topic::Replay => "replay",
            Topic::Cancel => "cancel",
            Topic::Pause => "pause",
            Topic::Resume => "resume",
            Topic::Forward => "forward",
            Topic::Providers => "providers",
            Topic::Systemd => "systemd",
        }
    }

    fn find(word: &str) -> Result<Topic, UsageError> {
        let found = Topic::ALL.into_iter().find(|topic| topic.as_str() == word);
        found.ok_or_else(|| {
            let known = Topic::ALL.map(Topic::as_str).into_iter().chain(["help"]);
            UsageError::UnknownCommand { word: word.to_owned(), closest: closest(word, known) }
        })
    }
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
            database: self.database.clone().unwrap_or(config.database),
            ..config
        })
    }

    fn only(command: Command) -> Args {
        Args { config: None, listen: None, database: None, log_level: LevelFilter::Info, command }
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
        let database = self.database()?;
        let log_level = self.parsed("log-level", log_level)?.unwrap_or(LevelFilter::Info);
        let command = self.command()?;
        Ok(Args { config, listen, database, log_level, command })
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
            limit: self.parsed("limit", limit)?.unwrap_or(DEFAULT_LIST_LIMIT),
            json: self.flag("json"),
        })
    }

    fn show(&mut self) -> Result<ShowArgs, UsageError> {
        let id = self.word().ok_or(UsageError::MissingWord { topic: Topic::Show, what: "the ID of an event" })?;
        let id = event_id(&id).map_err(|reason| UsageError::BadWord { topic: Topic::Show, reason })?;
        let form = match (self.flag("json"), self.flag("body")) {
            (false, false) => ShowForm::Text,
            (true, false) => ShowForm::Json,
            (false, true) => ShowForm::Body,
            (true, true) => return Err(UsageError::Contradiction("json", "body")),
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
