//! From the words of the command line to [`Args`], in two steps: raw arguments, of which only the spelling is known to be
//! right, then valid ones, in which each option belongs to the command and has a value that makes sense.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::{self, Display};
use std::path::PathBuf;
use std::str::FromStr;

use lexopt::Arg;
use log::LevelFilter;

use crate::config::secret::Env;
use crate::config::{Config, ConfigError, database_path};
use crate::event::{EventId, Status};
use crate::listen::Listen;
use crate::suggest::closest;

/// A screenful or two; whoever wants more says so.
const DEFAULT_LIST_LIMIT: u32 = 50;

/// Every option of every command, and whether it takes a value. Who understands it is told by who takes it, below.
const OPTIONS: [(&str, bool); 15] = [
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
    Check,
    List(ListArgs),
    Show(ShowArgs),
    Stats { json: bool },
    Send(SendArgs),
    Providers { name: Option<String> },
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

/// A command that has a help text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    Serve,
    Check,
    List,
    Show,
    Stats,
    Send,
    Providers,
}

impl Topic {
    pub const ALL: [Topic; 7] =
        [Topic::Serve, Topic::Check, Topic::List, Topic::Show, Topic::Stats, Topic::Send, Topic::Providers];

    pub fn as_str(self) -> &'static str {
        match self {
            Topic::Serve => "serve",
            Topic::Check => "check",
            Topic::List => "list",
            Topic::Show => "show",
            Topic::Stats => "stats",
            Topic::Send => "send",
            Topic::Providers => "providers",
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

/// Options that exist, each at most once, and the words between them in their order.
#[derive(Default)]
struct Raw {
    words: Vec<OsString>,
    flags: Vec<&'static str>,
    values: BTreeMap<&'static str, OsString>,
}

impl Raw {
    /// Somebody who asks for help beside an option that does not exist gets help: the unknown option waits until all is
    /// read.
    fn read(words: impl IntoIterator<Item = OsString>) -> Result<Raw, UsageError> {
        let mut raw = Raw::default();
        let mut unknown = None;
        let mut parser = lexopt::Parser::from_args(words);
        while let Some(arg) = parser.next().map_err(UsageError::from_lexopt)? {
            let (spelling, name) = match arg {
                Arg::Value(word) => {
                    raw.words.push(word);
                    continue;
                }
                Arg::Short(letter) => (format!("-{letter}"), long_name(letter).to_owned()),
                Arg::Long(name) => (format!("--{name}"), name.to_owned()),
            };
            match OPTIONS.iter().find(|(known, _)| *known == name) {
                Some((name, true)) => raw.add_value(name, parser.value().map_err(UsageError::from_lexopt)?)?,
                Some((name, false)) => raw.add_flag(name)?,
                None => {
                    parser.optional_value();
                    unknown.get_or_insert(UsageError::unknown_option(spelling, &name));
                }
            }
        }
        match unknown {
            Some(error) if !raw.flags.contains(&"help") => Err(error),
            _ => Ok(raw),
        }
    }

    fn add_flag(&mut self, name: &'static str) -> Result<(), UsageError> {
        if self.flags.contains(&name) {
            return Err(UsageError::Repeated(name));
        }
        self.flags.push(name);
        Ok(())
    }

    fn add_value(&mut self, name: &'static str, value: OsString) -> Result<(), UsageError> {
        match self.values.insert(name, value) {
            None => Ok(()),
            Some(_) => Err(UsageError::Repeated(name)),
        }
    }

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
            Topic::Check => Command::Check,
            Topic::List => Command::List(self.list()?),
            Topic::Show => Command::Show(self.show()?),
            Topic::Stats => Command::Stats { json: self.flag("json") },
            Topic::Send => Command::Send(self.send()?),
            Topic::Providers => Command::Providers { name: self.word() },
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

    fn flag(&mut self, name: &'static str) -> bool {
        let given = self.flags.len();
        self.flags.retain(|flag| *flag != name);
        self.flags.len() < given
    }

    fn value(&mut self, name: &'static str) -> Option<OsString> {
        self.values.remove(name)
    }

    fn parsed<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, UsageError> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let bad = |reason| UsageError::BadValue { option: name, reason };
        let text = value.to_str().ok_or_else(|| bad("the value is not UTF-8".to_owned()))?;
        parse(text).map(Some).map_err(|error| bad(error.to_string()))
    }

    /// The next word. One that is no UTF-8 names nothing we have, and the message about that needs it readable.
    fn word(&mut self) -> Option<String> {
        if self.words.is_empty() {
            return None;
        }
        Some(self.words.remove(0).to_string_lossy().into_owned())
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

fn long_name(letter: char) -> &'static str {
    match letter {
        'h' => "help",
        'V' => "version",
        _ => "",
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

/// Why the command line cannot be understood. Its text ends with where to look.
#[derive(Debug, PartialEq, Eq)]
pub enum UsageError {
    UnknownCommand {
        word: String,
        closest: Option<&'static str>,
    },
    UnknownOption {
        spelling: String,
        closest: Option<&'static str>,
    },
    /// The option exists, but not for this command.
    ForeignOption {
        topic: Topic,
        option: &'static str,
    },
    Repeated(&'static str),
    Contradiction(&'static str, &'static str),
    /// An option without its value, or with one that it does not take.
    Spelling(String),
    BadValue {
        option: &'static str,
        reason: String,
    },
    MissingWord {
        topic: Topic,
        what: &'static str,
    },
    BadWord {
        topic: Topic,
        reason: String,
    },
    ExtraWord {
        topic: Topic,
        word: String,
    },
}

impl UsageError {
    fn unknown_option(spelling: String, name: &str) -> UsageError {
        UsageError::UnknownOption { spelling, closest: closest(name, OPTIONS.map(|(known, _)| known)) }
    }

    fn from_lexopt(error: lexopt::Error) -> UsageError {
        UsageError::Spelling(error.to_string())
    }

    fn topic(&self) -> Option<Topic> {
        match self {
            UsageError::ForeignOption { topic, .. }
            | UsageError::MissingWord { topic, .. }
            | UsageError::BadWord { topic, .. }
            | UsageError::ExtraWord { topic, .. } => Some(*topic),
            _ => None,
        }
    }
}

impl Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UsageError::UnknownCommand { word, closest: None } => write!(f, "unknown command {word:?}"),
            UsageError::UnknownCommand { word, closest: Some(near) } => {
                write!(f, "unknown command {word:?}; did you mean {near}?")
            }
            UsageError::UnknownOption { spelling, closest: None } => write!(f, "unknown option {spelling}"),
            UsageError::UnknownOption { spelling, closest: Some(near) } => {
                write!(f, "unknown option {spelling}; did you mean --{near}?")
            }
            UsageError::ForeignOption { topic, option } => write!(f, "{} takes no --{option}", topic.as_str()),
            UsageError::Repeated(option) => write!(f, "--{option} is given twice; take one of them out"),
            UsageError::Contradiction(one, other) => write!(f, "--{one} and --{other} exclude each other"),
            UsageError::Spelling(message) => f.write_str(message),
            UsageError::BadValue { option, reason } => write!(f, "--{option}: {reason}"),
            UsageError::MissingWord { topic, what } => write!(f, "{} needs {what}", topic.as_str()),
            UsageError::BadWord { topic, reason } => write!(f, "{}: {reason}", topic.as_str()),
            UsageError::ExtraWord { topic, word } => write!(f, "{} does not take {word:?}", topic.as_str()),
        }?;
        match self.topic() {
            None => f.write_str("\nsee hookbox --help"),
            Some(topic) => write!(f, "\nsee hookbox {} --help", topic.as_str()),
        }
    }
}

impl std::error::Error for UsageError {}

#[cfg(test)]
mod tests;
