//! Reads the config file into an immutable, validated [`Config`]; every problem is reported with its key.
//!
//! A new key is one line in the function that reads its table: the name, the parser of its value, its default.

mod action;
mod admin;
mod engine;
mod file;
mod include;
mod own_sender;
mod reader;
mod recover;
mod retention;
mod source;
mod values;
mod warnings;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::{Table, Value};

pub use self::admin::{Admin, AdminListen, AdminToken, MIN_TOKEN_BYTES, too_short};
pub use self::file::{ConfigError, Origin, SYSTEM_CONFIG};
pub use self::include::Include;
use self::include::Whole;
pub use self::own_sender::{Answer, GET, OWN_FIELDS, PATH_PREFIX};
use self::reader::{Reader, read_table};
pub use self::recover::{Mode, Recover};
pub use self::retention::Retention;
pub use self::source::{MAX_SHARING, Source};
use self::values::{Parsed, duration, parsed, size, text};
pub use self::warnings::Warning;
use crate::action::Action;
use crate::cidr::Cidr;
use crate::listen::Listen;
use crate::news::Wanted;
use crate::secret::Env;

/// This machine only. Receiving from other machines takes another address or a proxy.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:5000";

/// In the current directory, so that a first try leaves nothing elsewhere.
const DEFAULT_DATABASE: &str = "webhooks.db";

/// GitHub's limit, the largest of the known providers.
const DEFAULT_MAX_BODY_BYTES: u64 = 25 << 20;

/// Less is a forgotten unit: no provider's deliveries fit into it. More could not be stored: a row of SQLite has at most
/// 1,000,000,000 bytes, and may contain the body twice, the second time as JSON text of up to six times the size.
const MAX_BODY_BYTES: RangeInclusive<u64> = (1 << 10)..=(100 << 20);

/// Only events inserted by another program wait this long: the receiver wakes the workers.
const DEFAULT_POLL_INTERVAL: Duration = Duration::from_secs(5);

/// Long enough for a request or a short command to end, short enough for a restart to feel like one.
const DEFAULT_STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Zero is allowed; more than five minutes exceeds the stop time-outs of service managers.
const STOP_TIMEOUT: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(5 * 60);

/// Less keeps a Raspberry Pi from idling; more looks like a hang.
const POLL_INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60 * 60);

/// Enough for the rest of a small machine to stay usable: logs, package updates, a login.
const DEFAULT_DISK_RESERVE_BYTES: u64 = 64 << 20;

/// Less is smaller than the database's own log; more than a terabyte is a wrong unit.
const DISK_RESERVE_BYTES: RangeInclusive<u64> = (1 << 20)..=(1 << 40);

/// The whole configuration, validated. Secrets are references that have not been fetched.
#[derive(Clone, Debug)]
pub struct Config {
    pub origin: Origin,
    /// The further files.
    pub includes: Vec<Include>,
    pub listen: Listen,
    pub database: PathBuf,
    pub max_body_bytes: u64,
    pub poll_interval: Duration,
    /// How long running jobs and requests have at a stop.
    pub stop_timeout: Duration,
    pub disk_reserve_bytes: u64,
    pub admin: Admin,
    /// The proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Cidr>,
    pub retention: Retention,
    pub sources: BTreeMap<String, Source>,
    pub actions: BTreeMap<String, Action>,
}

impl Config {
    /// Reads the file named by the command line (`named`), by the environment, or found on the search path; otherwise the
    /// defaults.
    pub fn load(named: Option<&Path>, env: &Env) -> Result<Config, ConfigError> {
        match file::find(named, env)? {
            Origin::BuiltIn => Ok(read_table("", &Table::new(), &mut Vec::new(), |keys| read_config(keys, env))),
            Origin::File(path) => Config::of(&path, Whole::read(&path)?, env),
        }
    }

    /// The news that an action is for.
    pub fn wanted_news(&self) -> Wanted {
        Wanted::new(|source, event_type| self.actions.values().any(|action| action.matches(source, event_type)))
    }

    fn of(path: &Path, whole: Whole, env: &Env) -> Result<Config, ConfigError> {
        let mut problems = Vec::new();
        let config = read_table("", &whole.table, &mut problems, |keys| read_config(keys, env));
        if !problems.is_empty() {
            return Err(whole.error(&problems));
        }
        Ok(Config { origin: Origin::File(path.to_owned()), includes: whole.includes, ..config })
    }
}

/// Where it came from is for the caller to add.
fn read_config(keys: &mut Reader, env: &Env) -> Config {
    keys.get_all(include::KEY, text_of_pattern);
    Config {
        origin: Origin::BuiltIn,
        includes: Vec::new(),
        listen: keys.get("listen", parsed).unwrap_or_else(|| Listen::Tcp(DEFAULT_LISTEN.to_owned())),
        database: keys
            .get("database", |v| database_path(PathBuf::from(text(v)?)))
            .unwrap_or_else(|| default_database(env)),
        max_body_bytes: keys.get("max_body", |v| size(v, &MAX_BODY_BYTES)).unwrap_or(DEFAULT_MAX_BODY_BYTES),
        poll_interval: keys.get("poll_interval", |v| duration(v, &POLL_INTERVAL)).unwrap_or(DEFAULT_POLL_INTERVAL),
        stop_timeout: keys.get("stop_timeout", |v| duration(v, &STOP_TIMEOUT)).unwrap_or(DEFAULT_STOP_TIMEOUT),
        disk_reserve_bytes: keys
            .get("disk_reserve", |v| size(v, &DISK_RESERVE_BYTES))
            .unwrap_or(DEFAULT_DISK_RESERVE_BYTES),
        admin: keys.table("admin", admin::read_admin).unwrap_or_default(),
        trusted_proxies: keys.get_all("trusted_proxies", parsed).unwrap_or_default(),
        retention: keys.table("retention", retention::read).unwrap_or_default(),
        sources: source::read_all(keys).unwrap_or_else(|| source::built_in(env)),
        actions: action::read_all(keys).unwrap_or_else(action::built_in),
    }
}

fn text_of_pattern(value: &Value) -> Parsed<()> {
    text(value).map(drop)
}

/// Validates the path of the database, from the config or the command line.
pub fn database_path(path: PathBuf) -> Parsed<PathBuf> {
    if path.as_os_str().is_empty() {
        return Err("the path is empty; write where to store the database".to_owned());
    }
    if path == Path::new(":memory:") {
        return Err("a database in memory loses acknowledged deliveries; write the path of a file".to_owned());
    }
    Ok(path)
}

/// In the service's state directory if systemd provides one, otherwise in the current directory.
fn default_database(env: &Env) -> PathBuf {
    let directories = env("STATE_DIRECTORY").unwrap_or_default();
    let first = std::env::split_paths(&directories).next().unwrap_or_default();
    first.join(DEFAULT_DATABASE)
}

#[cfg(test)]
mod tests;
