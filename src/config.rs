//! A file becomes an immutable, validated [`Config`]; every problem is reported with its key.
//!
//! A new key is one line in the `read_...` function of its table: the name, how its value is read, its default.

mod action;
mod admin;
mod file;
mod reader;
mod retention;
mod source;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::{Table, Value};

pub use self::admin::{Admin, AdminListen, AdminTokenError};
pub use self::file::{ConfigError, SYSTEM_CONFIG};
use self::reader::{Parsed, Reader, expected, parsed, read_root, text};
pub use self::retention::Retention;
use self::source::read_source;
pub use self::source::{PATH_PREFIX, Source, SourceSecretError};
use crate::action::Action;
use crate::cidr::Cidr;
use crate::listen::Listen;
use crate::provider::{self, Verification};
use crate::secret::{Env, SecretRef};
use crate::suggest::closest;
use crate::units::{duration_text, parse_duration, parse_size, size_text};

/// Only this machine: whoever wants the world to reach hookbox says so, or puts a proxy before it.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:5000";

/// In the current directory, so that a first try leaves nothing elsewhere.
const DEFAULT_DATABASE: &str = "webhooks.db";

/// GitHub's limit, the largest of the known providers.
const DEFAULT_MAX_BODY_BYTES: u64 = 25 << 20;

/// Less is a forgotten unit: no provider's deliveries fit into it. More could not be stored: SQLite ends a row at
/// 1,000,000,000 bytes, and a body may stand in it twice, the second time as JSON text of up to six times the size.
const MAX_BODY_BYTES: RangeInclusive<u64> = (1 << 10)..=(100 << 20);

/// Only what another program inserts waits for it: our own receiver wakes the workers.
const DEFAULT_POLL_INTERVAL: Duration = Duration::from_secs(5);

/// Long enough for a request or a short command to end, short enough for a restart to feel like one.
const DEFAULT_STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// None is allowed; more than five minutes would outlast every service manager's patience.
const STOP_TIMEOUT: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(5 * 60);

/// Less keeps a Raspberry Pi from idling; more looks like a hang.
const POLL_INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60 * 60);

/// What the rest of a small machine needs to stay usable: logs, package updates, a login.
const DEFAULT_DISK_RESERVE_BYTES: u64 = 64 << 20;

/// Less cannot hold even the database's own log; more than a terabyte is a slip of the unit.
const DISK_RESERVE_BYTES: RangeInclusive<u64> = (1 << 20)..=(1 << 40);

/// The source of a start without any config: its name, its provider, and the variable with its secret.
const BUILT_IN_SOURCE: &str = "github";
const BUILT_IN_SECRET: &str = "GITHUB_WEBHOOK_SECRET";

/// Everything that can be configured, valid as a whole. It holds references to secrets, not yet fetched.
#[derive(Clone, Debug)]
pub struct Config {
    pub origin: Origin,
    pub listen: Listen,
    pub database: PathBuf,
    pub max_body_bytes: u64,
    pub poll_interval: Duration,
    /// What is under way at a stop has this long.
    pub stop_timeout: Duration,
    pub disk_reserve_bytes: u64,
    pub admin: Admin,
    /// The proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Cidr>,
    pub retention: Retention,
    pub sources: BTreeMap<String, Source>,
    pub actions: BTreeMap<String, Action>,
}

/// Where a [`Config`] came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    File(PathBuf),
    /// There is no file; all is default.
    BuiltIn,
}

impl Config {
    /// Reads the file that `named` (the command line), the environment or the search path leads to, else the defaults.
    pub fn load(named: Option<&Path>, env: &Env) -> Result<Config, ConfigError> {
        match file::find(named, env)? {
            Origin::BuiltIn => Config::from_table(Origin::BuiltIn, &Table::new(), env),
            Origin::File(path) => {
                let table = file::read(&path)?;
                Config::from_table(Origin::File(path), &table, env)
            }
        }
    }

    fn from_table(origin: Origin, table: &Table, env: &Env) -> Result<Config, ConfigError> {
        let mut problems = Vec::new();
        let config = read_root(table, &mut problems, |keys| read_config(&origin, keys, env));
        if problems.is_empty() {
            return Ok(config);
        }
        let path = match origin {
            Origin::File(path) => path,
            Origin::BuiltIn => PathBuf::from("(built-in config)"),
        };
        Err(ConfigError::Problems { path, problems })
    }
}

fn read_config(origin: &Origin, keys: &mut Reader, env: &Env) -> Config {
    Config {
        origin: origin.clone(),
        listen: keys.get("listen", parsed).unwrap_or_else(|| Listen::Tcp(DEFAULT_LISTEN.to_owned())),
        database: keys.get("database", database).unwrap_or_else(|| default_database(env)),
        max_body_bytes: keys.get("max_body", |v| size(v, &MAX_BODY_BYTES)).unwrap_or(DEFAULT_MAX_BODY_BYTES),
        poll_interval: keys.get("poll_interval", |v| duration(v, &POLL_INTERVAL)).unwrap_or(DEFAULT_POLL_INTERVAL),
        stop_timeout: keys.get("stop_timeout", |v| duration(v, &STOP_TIMEOUT)).unwrap_or(DEFAULT_STOP_TIMEOUT),
        disk_reserve_bytes: keys
            .get("disk_reserve", |v| size(v, &DISK_RESERVE_BYTES))
            .unwrap_or(DEFAULT_DISK_RESERVE_BYTES),
        admin: keys.table("admin", admin::read_admin).unwrap_or_default(),
        trusted_proxies: keys.get_all("trusted_proxies", parsed).unwrap_or_default(),
        retention: keys.table("retention", retention::read).unwrap_or_default(),
        sources: read_sources(keys).unwrap_or_else(|| built_in_sources(env)),
        actions: action::read_all(keys).unwrap_or_else(action::built_in),
    }
}

/// An empty `[sources]` is refused, because nobody runs a receiver that receives nothing; an empty `[actions]` is not,
/// because another program may be the one that processes what is stored.
fn read_sources(keys: &mut Reader) -> Option<BTreeMap<String, Source>> {
    let sources = keys.tables("sources", read_source);
    if keys.is_empty_table("sources") {
        return keys.refuse("sources", "no source in it; add [sources.NAME], or leave [sources] out".to_owned());
    }
    sources
}

/// A variable that is set but empty counts as set: its owner means to verify, and hears of it when it is resolved.
fn built_in_sources(env: &Env) -> BTreeMap<String, Source> {
    let verifier = provider::preset(BUILT_IN_SOURCE).and_then(|preset| preset.verifier().ok());
    let Some(verifier) = verifier else { return BTreeMap::new() };
    let verification = match env(BUILT_IN_SECRET) {
        Some(_) => Verification::Secrets(vec![SecretRef::Env(BUILT_IN_SECRET.to_owned())]),
        None => Verification::LocalOnly,
    };
    BTreeMap::from([(BUILT_IN_SOURCE.to_owned(), Source::of(BUILT_IN_SOURCE, verifier, verification))])
}

/// Accepts a path for the database, from the config or the command line.
pub fn database_path(path: PathBuf) -> Parsed<PathBuf> {
    if path.as_os_str().is_empty() {
        return Err("the path is empty; write where the database is to be".to_owned());
    }
    if path == Path::new(":memory:") {
        return Err("a database in memory loses what it has acknowledged; write the path of a file".to_owned());
    }
    Ok(path)
}

/// In the directory that systemd keeps for the service, else in the current one.
fn default_database(env: &Env) -> PathBuf {
    let directories = env("STATE_DIRECTORY").unwrap_or_default();
    let first = std::env::split_paths(&directories).next().unwrap_or_default();
    first.join(DEFAULT_DATABASE)
}

fn database(value: &Value) -> Parsed<PathBuf> {
    database_path(PathBuf::from(text(value)?))
}

fn unknown<'a>(what: &str, name: &str, names: impl IntoIterator<Item = &'a str>, known: &str) -> String {
    match closest(name, names) {
        Some(near) => format!("no {what} {name:?}; did you mean {near:?}?"),
        None => format!("no {what} {name:?}; known: {known}"),
    }
}

fn size(value: &Value, bounds: &RangeInclusive<u64>) -> Parsed<u64> {
    let bytes = match value {
        Value::Integer(bytes) => u64::try_from(*bytes).map_err(|_| "a size is not negative".to_owned())?,
        Value::String(text) => parse_size(text).map_err(|error| error.to_string())?,
        other => return Err(expected("a size such as \"25MiB\"", other)),
    };
    within(bytes, bounds, |bytes| size_text(*bytes))
}

fn duration(value: &Value, bounds: &RangeInclusive<Duration>) -> Parsed<Duration> {
    let Value::String(text) = value else {
        return Err(expected("a duration with its unit, such as \"30s\"", value));
    };
    let duration = parse_duration(text).map_err(|error| error.to_string())?;
    within(duration, bounds, |duration| duration_text(*duration))
}

fn count(value: &Value, bounds: &RangeInclusive<u32>) -> Parsed<u32> {
    let Value::Integer(number) = value else {
        return Err(expected("a whole number", value));
    };
    let outside = || outside(number, bounds.start(), bounds.end());
    let number = u32::try_from(*number).map_err(|_| outside())?;
    if bounds.contains(&number) { Ok(number) } else { Err(outside()) }
}

fn within<T: PartialOrd>(value: T, bounds: &RangeInclusive<T>, text: impl Fn(&T) -> String) -> Parsed<T> {
    if bounds.contains(&value) {
        return Ok(value);
    }
    Err(outside(text(&value), text(bounds.start()), text(bounds.end())))
}

fn outside(value: impl Display, least: impl Display, most: impl Display) -> String {
    format!("{value} is out of bounds; write something from {least} to {most}")
}

#[cfg(test)]
mod tests;
