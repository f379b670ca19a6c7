//! `kind = "nats"`: a message to a stream of NATS JetStream, which has confirmed that it is stored.
//! Source: <https://docs.nats.io/nats-concepts/jetstream/headers>

mod jetstream;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::engine::{self, Failure};
use super::{ActionReport, Call};
use crate::client::nats::{Connection, HEADERS_VERSION, Login, PROTOCOL};
use crate::client::{Certificates, Kept, Server};
use crate::secret::{Env, Secret, SecretRef};
use crate::template::{Template, TemplateError};
pub use jetstream::StreamConfig;
use jetstream::{Message, publish, stream_config, stream_of};

/// Far within the 4 KiB that a server takes for a line with two subjects.
const MAX_SUBJECT_BYTES: usize = 1024;

/// How subjects begin that are commands to the server, or answers for which a client or another server waits.
/// Source: <https://docs.nats.io/nats-concepts/subjects#characters-allowed-and-recommended-for-subject-names>
const RESERVED: [&str; 4] = ["$", "_INBOX.", "_R_.", "_GR_."];

/// The action as configured.
#[derive(Clone, Debug)]
pub struct Nats {
    /// Tried in turn. An address may contain a password.
    pub servers: Vec<SecretRef>,
    pub user: Option<SecretRef>,
    pub password: Option<SecretRef>,
    pub token: Option<SecretRef>,
    pub subject: Template,
    pub dedup: Dedup,
    pub ca_file: Option<PathBuf>,
}

/// How the stream recognises a repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dedup {
    /// By its id, within the stream's window.
    Window,
    /// By its subject, which is one for each delivery, as long as the message is retained.
    Subject,
}

/// The action with its secrets fetched.
pub struct NatsRunner {
    servers: Vec<(Server, Login)>,
    /// The server to try first: the one that was good the last time.
    first: AtomicUsize,
    subject: Template,
    dedup: Dedup,
    certificates: Certificates,
    kept: Kept<Connection>,
}

impl Nats {
    pub(super) fn summary(&self) -> String {
        format!("publish {} to {}", self.subject.source(), engine::displayed(&self.servers, &PROTOCOL))
    }

    pub fn secrets(&self) -> impl Iterator<Item = &SecretRef> {
        self.servers.iter().chain(&self.user).chain(&self.password).chain(&self.token)
    }

    pub(super) fn prepare(&self, env: &Env<'_>) -> Result<NatsRunner, String> {
        let login = Login {
            user: engine::text("user", self.user.as_ref(), env)?,
            password: engine::secret("password", self.password.as_ref(), env)?,
            token: engine::secret("token", self.token.as_ref(), env)?,
        };
        let mut servers = Vec::new();
        for url in &self.servers {
            let url = engine::text("url", Some(url), env)?.unwrap_or_default();
            for url in url.split(',') {
                let server = Server::parse(url, &PROTOCOL).map_err(|error| format!("url: {error}"))?;
                let login = with_login_of(&server, login.clone());
                servers.push((server, login));
            }
        }
        Ok(NatsRunner {
            servers,
            first: AtomicUsize::new(0),
            subject: self.subject.clone(),
            dedup: self.dedup,
            certificates: Certificates::of(self.ca_file.as_deref())?,
            kept: Kept::default(),
        })
    }
}

/// The address may have a user and a password, or alone a token; keys of the configuration go before.
fn with_login_of(server: &Server, login: Login) -> Login {
    if login.user.is_some() || login.token.is_some() {
        return login;
    }
    match (&server.user, &server.password) {
        (Some(token), None) if login.password.is_none() => {
            Login { token: Secret::new(token.clone().into_bytes()), ..login }
        }
        (user, password) => Login { user: user.clone(), password: login.password.or(password.clone()), token: None },
    }
}

impl NatsRunner {
    pub(super) fn run(&self, call: &Call<'_>) -> Option<ActionReport> {
        let message = match self.message(call) {
            Ok(message) => message,
            Err(reason) => return Some(ActionReport::give_up(reason)),
        };
        engine::attempt(call, self.servers.len(), |deadline| {
            let published = self.with_connection(deadline, |connection| publish(connection, &message, deadline));
            if matches!(published, Err(Failure::Lost(_))) {
                self.first.fetch_add(1, Ordering::Relaxed);
            }
            published
        })
    }

    pub(super) fn preview(&self, call: &Call<'_>) -> Result<String, TemplateError> {
        Ok(match self.message(call) {
            Ok(Message { subject, headers, body }) => {
                let (servers, fields) = (self.summary(), &headers[HEADERS_VERSION.len()..]);
                format!("publish {subject} to {servers}\n{fields}{}\n", String::from_utf8_lossy(body))
            }
            Err(reason) => format!("its job would be dead at once: {reason}\n"),
        })
    }

    /// The subject of this event's message, and the stream that takes it, if there is one.
    pub fn stream_for(&self, call: &Call<'_>) -> Result<(String, Option<StreamConfig>), String> {
        let Message { subject, .. } = self.message(call)?;
        let deadline = Instant::now() + call.timeout;
        let config = self.with_connection(deadline, |connection| match stream_of(connection, &subject, deadline)? {
            Some(stream) => stream_config(connection, &stream, deadline).map(Some),
            None => Ok(None),
        });
        config.map(|config| (subject, config)).map_err(|failure| match failure {
            Failure::Lost(reason) | Failure::Passing(reason) => reason,
            Failure::Over(report) => report.detail,
        })
    }

    fn summary(&self) -> String {
        let servers: Vec<String> = self.servers.iter().map(|(server, _)| server.to_string()).collect();
        servers.join(", ")
    }

    fn message<'a>(&self, call: &Call<'a>) -> Result<Message<'a>, String> {
        let rendered = self.subject.render(call.scope).map_err(|error| error.to_string())?;
        let mut subject = as_subject(&rendered, self.subject.source());
        let mut headers = format!("{HEADERS_VERSION}Nats-Msg-Id: {}\r\nce-specversion: 1.0\r\n", call.idempotency_key);
        if self.dedup == Dedup::Subject {
            subject = format!("{subject}.{}", call.idempotency_key);
            headers.push_str("Nats-Expected-Last-Subject-Sequence: 0\r\n");
        }
        if subject.len() > MAX_SUBJECT_BYTES {
            return Err(format!("the subject would have {} bytes, and at most {MAX_SUBJECT_BYTES} fit", subject.len()));
        }
        for detail in engine::details(call) {
            headers.push_str(&format!("{}: {}\r\n", detail.header, detail.value));
        }
        headers.push_str("\r\n");
        Ok(Message { subject, headers, body: call.event.bytes() })
    }

    /// Does something with a connection, which is kept unless it broke.
    fn with_connection<T>(
        &self,
        deadline: Instant,
        use_it: impl FnOnce(&mut Connection) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut kept = std::iter::from_fn(|| self.kept.take());
        let mut connection = match kept.find_map(|mut old| (!old.has_ended()).then_some(old)) {
            Some(connection) => connection,
            None => self.open(deadline)?,
        };
        let result = use_it(&mut connection);
        if !matches!(result, Err(Failure::Lost(_))) {
            self.kept.put(connection);
        }
        result
    }

    /// Connects to the first server that accepts.
    fn open(&self, deadline: Instant) -> Result<Connection, Failure> {
        let (first, count) = (self.first.load(Ordering::Relaxed), self.servers.len());
        let mut reasons = Vec::new();
        for tried in 0..count {
            let at = first.wrapping_add(tried) % count;
            let (server, login) = &self.servers[at];
            // A server that hangs leaves the others their part of the time.
            let parts = u32::try_from(count - tried).unwrap_or(u32::MAX);
            let until = Instant::now() + deadline.saturating_duration_since(Instant::now()) / parts;
            match Connection::open(server, login, &self.certificates, until) {
                Ok(connection) => {
                    self.first.swap(at, Ordering::Relaxed);
                    return Ok(connection);
                }
                Err(error) => reasons.push(format!("{server}: {error}")),
            }
        }
        Err(Failure::retry(reasons.join("; ")))
    }
}

/// What is rendered as a subject: one word of a line, without wildcards, and without empty tokens. It begins as a reserved
/// one only where its template does.
fn as_subject(rendered: &str, template: &str) -> String {
    let is_unfit = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '*' | '>');
    let rendered = rendered.replace(is_unfit, "_");
    let tokens = rendered.split('.').map(|token| if token.is_empty() { "_" } else { token });
    let subject = tokens.collect::<Vec<_>>().join(".");
    if !RESERVED.iter().any(|word| subject.starts_with(word) && !template.starts_with(word)) {
        return subject;
    }
    format!("_{}", subject.strip_prefix('$').unwrap_or(&subject))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_rendered_is_one_word_without_wildcards_and_empty_tokens() {
        for (rendered, subject) in [
            ("hooks.gitlab.Push Hook", "hooks.gitlab.Push_Hook"),
            ("hooks.a.\r\nPUB x 0\r\n\r\n", "hooks.a.__PUB_x_0____"),
            ("hooks.*.>", "hooks._._"),
            ("hooks..a.", "hooks._.a._"),
            ("", "_"),
            ("a\u{a0}b\u{2028}c\tö", "a_b_c_ö"),
            ("a\0b\u{7f}c\u{85}d", "a_b_c_d"),
            ("$JS.API.STREAM.PURGE.hooks", "_JS.API.STREAM.PURGE.hooks"),
            ("$SYS.REQ.SERVER.PING", "_SYS.REQ.SERVER.PING"),
            ("$$JS.a", "_$JS.a"),
            ("_INBOX.abc.1", "__INBOX.abc.1"),
            ("_R_.a", "__R_.a"),
            ("_INBOXES.a", "_INBOXES.a"),
        ] {
            assert_eq!(as_subject(rendered, "{{ payload.x }}"), subject, "{rendered:?}");
        }
        assert_eq!(as_subject("$KV.hooks.a", "$KV.hooks.{{ event }}"), "$KV.hooks.a");
    }
}
