//! `kind = "redis"`: an entry of a stream of Redis or Valkey.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::engine::{self, Failure};
use super::{ActionReport, Call};
use crate::client::redis::{Connection, Login, PROTOCOL, Reply};
use crate::client::{Certificates, Kept, Server, ServerError};
use crate::secret::{Env, SecretRef};
use crate::template::{Template, TemplateError};

/// Adds an entry, unless its key says that it was added. A script does not roll back: were the key set first, an entry that
/// fails would count as added, and be lost. In this order, a failure between the two can double it at most.
///
/// What was added before is written again, so that WAITAOF has something to wait for.
const SCRIPT: &str = "\
local id = redis.call('GET', KEYS[2])
if id then
  redis.call('PEXPIRE', KEYS[2], ARGV[1])
  return {id, 1}
end
if ARGV[2] == '' then
  id = redis.call('XADD', KEYS[1], '*', unpack(ARGV, 3))
else
  id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', unpack(ARGV, 3))
end
redis.call('SET', KEYS[2], id, 'PX', ARGV[1])
return {id, 0}";

/// Every server takes an argument of this size: it cannot be set lower.
const ALWAYS_FITS_BYTES: usize = 1 << 20;

/// The server's own setting of the longest argument.
const MAX_ARGUMENT: &str = "proto-max-bulk-len";

/// How much earlier than the attempt the server's wait for its disk ends, so that its answer arrives.
const ANSWER_TIME: Duration = Duration::from_millis(500);

/// A connection that is lost during a command may be one that the server has given up: a second try is with another one.
const MAX_LOSSES: usize = 1;

/// The action as configured.
#[derive(Clone, Debug)]
pub struct Redis {
    /// It may contain a password.
    pub url: SecretRef,
    pub user: Option<SecretRef>,
    pub password: Option<SecretRef>,
    pub stream: Template,
    /// How long an added entry is recognised.
    pub dedup: Duration,
    /// About how many entries the stream keeps.
    pub max_length: Option<u32>,
    pub ca_file: Option<PathBuf>,
}

/// The action with its secrets fetched.
pub struct RedisRunner {
    server: Server,
    login: Login,
    certificates: Certificates,
    stream: Template,
    dedup: Duration,
    max_length: Option<u32>,
    kept: Kept<Link>,
}

/// A connection, and what is known about its server.
struct Link {
    connection: Connection,
    /// It has no WAITAOF (before 7.2), or has its append-only file switched off.
    cannot_wait: bool,
}

/// A rendered entry.
struct Entry<'a> {
    stream: String,
    /// The key that says that the entry was added.
    seen: String,
    /// Names and values one after another.
    fields: Vec<String>,
    body: &'a [u8],
}

/// The settings of a server that matter here, as far as it tells them.
#[derive(Debug, Default)]
pub struct RedisSettings {
    pub appendonly: Option<String>,
    pub appendfsync: Option<String>,
    pub maxmemory: Option<String>,
    pub maxmemory_policy: Option<String>,
}

impl Redis {
    pub(super) fn summary(&self) -> String {
        format!("add to {} at {}", self.stream.source(), engine::displayed([&self.url], &PROTOCOL))
    }

    pub fn secrets(&self) -> impl Iterator<Item = &SecretRef> {
        [&self.url].into_iter().chain(&self.user).chain(&self.password)
    }

    pub(super) fn prepare(&self, env: &Env<'_>) -> Result<RedisRunner, String> {
        let url = engine::text("url", Some(&self.url), env)?.unwrap_or_default();
        let server = Server::parse(&url, &PROTOCOL).map_err(|error| format!("url: {error}"))?;
        let database = match server.path.as_str() {
            "" => 0,
            number => number.parse().map_err(|_| "url: behind the slash is the number of a database, such as /0")?,
        };
        let login = Login {
            user: engine::text("user", self.user.as_ref(), env)?.or(server.user.clone()),
            password: engine::secret("password", self.password.as_ref(), env)?.or(server.password.clone()),
            database,
        };
        Ok(RedisRunner {
            server,
            login,
            certificates: Certificates::of(self.ca_file.as_deref())?,
            stream: self.stream.clone(),
            dedup: self.dedup,
            max_length: self.max_length,
            kept: Kept::default(),
        })
    }
}

impl RedisRunner {
    pub(super) fn run(&self, call: &Call<'_>) -> Option<ActionReport> {
        let entry = match self.entry(call) {
            Ok(entry) => entry,
            Err(error) => return Some(ActionReport::give_up(error.to_string())),
        };
        engine::attempt(call, MAX_LOSSES, |deadline| self.with_link(deadline, |link| self.add(link, &entry, deadline)))
    }

    pub(super) fn preview(&self, call: &Call<'_>) -> Result<String, TemplateError> {
        let Entry { stream, seen, fields, body } = self.entry(call)?;
        let mut text = format!("add to {stream} at {}, unless there is {seen}\n", self.server);
        for field in fields.as_chunks::<2>().0 {
            text.push_str(&format!("{}: {}\n", field[0], field[1]));
        }
        text.push_str(&format!("body:\n{}\n", String::from_utf8_lossy(body)));
        Ok(text)
    }

    /// What the server is set to.
    pub fn settings(&self, timeout: Duration) -> Result<RedisSettings, String> {
        let deadline = Instant::now() + timeout;
        let settings = self.with_link(deadline, |link| {
            let mut setting = |name| setting(&mut link.connection, name, deadline);
            Ok(RedisSettings {
                appendonly: setting("appendonly")?,
                appendfsync: setting("appendfsync")?,
                maxmemory: setting("maxmemory")?,
                maxmemory_policy: setting("maxmemory-policy")?,
            })
        });
        settings.map_err(|failure| match failure {
            Failure::Lost(reason) | Failure::Passing(reason) => reason,
            Failure::Over(report) => report.detail,
        })
    }

    fn entry<'a>(&self, call: &Call<'a>) -> Result<Entry<'a>, TemplateError> {
        let stream = self.stream.render(call.scope)?;
        let details = engine::details(call).into_iter().flat_map(|detail| [detail.field.to_owned(), detail.value]);
        let key = ["idempotency_key".to_owned(), call.idempotency_key.to_owned()];
        let fields = details.chain(key).collect();
        Ok(Entry { seen: seen_key(&stream, call.idempotency_key), stream, fields, body: call.event.bytes() })
    }

    /// Adds the entry and waits for the server's disk. `Ok` is the detail of the attempt.
    fn add(&self, link: &mut Link, entry: &Entry<'_>, deadline: Instant) -> Result<String, Failure> {
        let Entry { stream, seen, fields, body } = entry;
        check_size(&mut link.connection, body.len(), deadline)?;
        let (dedup_ms, max_length) = (self.dedup.as_millis().to_string(), self.max_length);
        let max_length = max_length.map_or(String::new(), |length| length.to_string());
        let start = ["EVAL", SCRIPT, "2", stream, seen, &dedup_ms, &max_length];
        let fields = fields.iter().map(String::as_str).chain(["body"]);
        let mut words: Vec<&[u8]> = start.into_iter().chain(fields).map(str::as_bytes).collect();
        words.push(body);
        let (id, was_there) = match command(&mut link.connection, &words, deadline)? {
            Reply::List(parts) => match parts.as_slice() {
                [Reply::Text(id), Reply::Number(was_there)] => (id.clone(), *was_there == 1),
                _ => return Err(unexpected()),
            },
            Reply::Error(reason) => return Err(refusal(stream, &reason)),
            _ => return Err(unexpected()),
        };
        let note = self.wait_for_disk(link, deadline)?;
        Ok(match was_there {
            true => format!("duplicate: {stream} has it already, as {id}{note}"),
            false => format!("added to {stream} as {id}{note}"),
        })
    }

    /// Waits until the append-only file is on the disk. `Ok` is what to note about it.
    fn wait_for_disk(&self, link: &mut Link, deadline: Instant) -> Result<&'static str, Failure> {
        if link.cannot_wait {
            return Ok("");
        }
        let left = deadline.saturating_duration_since(Instant::now()).saturating_sub(ANSWER_TIME);
        // Zero would be forever.
        let wait_ms = left.as_millis().max(1).to_string();
        match command(&mut link.connection, &[b"WAITAOF", b"1", b"0", wait_ms.as_bytes()], deadline)? {
            Reply::List(counts) if matches!(counts.first(), Some(Reply::Number(1..))) => Ok(""),
            Reply::List(_) => Err(Failure::retry("the entry was added, and is not on the server's disk yet")),
            Reply::Error(reason) if reason.contains("unknown command") => {
                link.cannot_wait = true;
                Ok("")
            }
            Reply::Error(reason) if reason.contains("appendonly is disabled") => {
                Ok("; in memory only: appendonly is off")
            }
            Reply::Error(reason) => Err(Failure::retry(format!("WAITAOF: {reason}"))),
            _ => Err(unexpected()),
        }
    }

    /// Does something with a connection, which is kept after a success: what refused once may be another server's by then.
    fn with_link<T>(
        &self,
        deadline: Instant,
        use_it: impl FnOnce(&mut Link) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut kept = std::iter::from_fn(|| self.kept.take());
        let mut link = match kept.find_map(|mut old| (!old.connection.has_ended()).then_some(old)) {
            Some(link) => link,
            None => self.open(deadline)?,
        };
        let result = use_it(&mut link);
        if result.is_ok() {
            self.kept.put(link);
        }
        result
    }

    fn open(&self, deadline: Instant) -> Result<Link, Failure> {
        match Connection::open(&self.server, &self.login, &self.certificates, deadline) {
            Ok(connection) => Ok(Link { connection, cannot_wait: false }),
            Err(ServerError::Refused(reason)) => {
                Err(Failure::retry(format!("{}: {}", self.server, with_advice(&reason))))
            }
            Err(error) => Err(Failure::retry(format!("{}: {error}", self.server))),
        }
    }
}

/// In a cluster, both keys must be in one slot: the part in braces decides, or the whole name.
fn seen_key(stream: &str, key: &str) -> String {
    let has_tag = stream.split_once('{').is_some_and(|(_, rest)| rest.find('}').is_some_and(|end| end > 0));
    if has_tag { format!("{stream}:seen:{key}") } else { format!("{{{stream}}}:seen:{key}") }
}

/// A server closes the connection on an argument that is longer than it takes.
fn check_size(connection: &mut Connection, body_bytes: usize, deadline: Instant) -> Result<(), Failure> {
    if body_bytes <= ALWAYS_FITS_BYTES {
        return Ok(());
    }
    let max_bytes = setting(connection, MAX_ARGUMENT, deadline)?.and_then(|bytes| bytes.parse::<usize>().ok());
    match max_bytes.filter(|max_bytes| body_bytes > *max_bytes) {
        None => Ok(()),
        Some(max_bytes) => Err(Failure::Over(ActionReport::give_up(format!(
            "the body has {body_bytes} bytes, and the server takes at most {max_bytes} ({MAX_ARGUMENT})"
        )))),
    }
}

/// `None` where the server does not tell it to this user.
fn setting(connection: &mut Connection, name: &str, deadline: Instant) -> Result<Option<String>, Failure> {
    Ok(match command(connection, &[b"CONFIG", b"GET", name.as_bytes()], deadline)? {
        Reply::List(pair) => pair.get(1).and_then(Reply::text).map(str::to_owned),
        _ => None,
    })
}

fn command(connection: &mut Connection, words: &[&[u8]], deadline: Instant) -> Result<Reply, Failure> {
    connection.call(words, deadline).map_err(|error| Failure::Lost(error.to_string()))
}

fn unexpected() -> Failure {
    Failure::retry("the answer is not that of a Redis server")
}

/// Every refusal may pass: an operator mends the key, the memory, the role of the server.
fn refusal(stream: &str, reason: &str) -> Failure {
    if reason.contains("WRONGTYPE") {
        return Failure::retry(format!(
            "{reason}: the key {stream} is not a stream; rename it (redis-cli RENAME), or write another stream"
        ));
    }
    Failure::retry(format!("the server refuses: {}", with_advice(reason)))
}

/// The server's word is the first, or somewhere in what it says about a script (before version 7).
fn with_advice(reason: &str) -> String {
    let advice = |word: &str| {
        Some(match word.trim_start_matches('-') {
            "NOAUTH" | "WRONGPASS" => "check user and password",
            "NOPERM" => "the user needs the commands EVAL, GET, PEXPIRE, SET, XADD and WAITAOF, and the keys",
            "MOVED" | "ASK" => "the stream is on another server of the cluster: write that one's address",
            "CLUSTERDOWN" => "the cluster has no server for the stream at the moment",
            "READONLY" | "MASTERDOWN" => "this server is a replica: write the address of its master",
            "OOM" => "the server's memory is full: raise maxmemory, or set max_length",
            "MISCONF" => "the server cannot write to its disk",
            _ => return None,
        })
    };
    match reason.split(' ').find_map(advice) {
        Some(advice) => format!("{reason} ({advice})"),
        None => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_keys_are_in_one_slot_of_a_cluster() {
        assert_eq!(seen_key("hooks:a", "k"), "{hooks:a}:seen:k");
        assert_eq!(seen_key("{hooks}:a", "k"), "{hooks}:a:seen:k");
        assert_eq!(seen_key("{}a", "k"), "{{}a}:seen:k");
    }
}
