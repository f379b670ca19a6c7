//! What JetStream is asked, and what its answers mean.
//! Source: <https://docs.nats.io/reference/reference-protocols/nats_api_reference>

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;

use crate::action::engine::Failure;
use crate::action::{ActionReport, excerpt};
use crate::client::ServerError;
use crate::client::nats::{Answer, Connection};

/// A stream that has a leader answers in milliseconds, or when its disk has the message. Then another server is asked, so
/// that one that hangs delays nothing longer than an election takes. A repeat is recognised by its id.
const ANSWER_WAIT: Duration = Duration::from_secs(3);

/// A message is sent at this rate at least, over the slowest of uplinks; the wait for its answer begins afterwards.
const SLOWEST_BYTES_S: usize = 64 << 10;

/// The one error of a server that leaves the connection open.
/// Source: <https://docs.nats.io/reference/reference-protocols/nats-protocol#okerr>
const PERMISSION_ERROR: &str = "Permissions Violation";

/// No one is subscribed to the subject.
const NO_RESPONDERS: u16 = 503;

/// JetStream's codes: the message is there already; it is too large for the stream; the cluster elects.
/// Source: <https://github.com/nats-io/nats-server/blob/main/server/errors.json>
const WRONG_LAST_SEQUENCE: u32 = 10071;
const MESSAGE_TOO_LARGE: u32 = 10054;
const PASSING: [u32; 3] = [10008, 10009, 10164];

/// A rendered message.
pub(super) struct Message<'a> {
    pub subject: String,
    pub headers: String,
    pub body: &'a [u8],
}

/// What JetStream answers to a message, and to a question about its streams.
#[derive(Default, Deserialize)]
#[serde(default)]
struct JetStreamAnswer {
    stream: Option<String>,
    seq: u64,
    duplicate: bool,
    error: Option<JetStreamError>,
    streams: Option<Vec<String>>,
    config: Option<StreamConfig>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JetStreamError {
    err_code: u32,
    description: String,
}

/// The settings of a stream that matter here.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct StreamConfig {
    pub name: String,
    pub retention: String,
    pub num_replicas: u32,
    max_msg_size: i64,
    duplicate_window: u64,
}

impl StreamConfig {
    pub fn dedup_window(&self) -> Duration {
        Duration::from_nanos(self.duplicate_window)
    }
}

/// Publishes and waits until the stream has confirmed. `Ok` is the detail of the attempt.
pub(super) fn publish(
    connection: &mut Connection,
    message: &Message<'_>,
    deadline: Instant,
) -> Result<String, Failure> {
    let Message { subject, headers, body } = message;
    let message_bytes = (headers.len() + body.len()) as u64;
    if let Some(max_bytes) = connection.max_payload_bytes.filter(|max_bytes| message_bytes > *max_bytes) {
        return Err(Failure::Over(ActionReport::give_up(format!(
            "the message has {message_bytes} bytes, and the server takes at most {max_bytes} (max_payload)"
        ))));
    }
    let until = answer_deadline(deadline, body.len());
    let answer = connection.request(subject, headers, body, until).map_err(failure)?;
    if answer.status == Some(NO_RESPONDERS) {
        return Err(no_responders(connection, subject, deadline));
    }
    let JetStreamAnswer { stream, seq, duplicate, error, .. } = jetstream(&answer)?;
    match (error, stream) {
        (Some(error), _) => judge(connection, error, message, deadline),
        (None, Some(stream)) if seq > 0 && duplicate => Ok(format!("duplicate: {stream} has it already, as {seq}")),
        (None, Some(stream)) if seq > 0 => Ok(format!("stored in {stream} as {seq}")),
        _ => Err(Failure::retry(format!("the answer is not that of a stream: {}", excerpt(&answer.body)))),
    }
}

fn judge(
    connection: &mut Connection,
    JetStreamError { err_code, description }: JetStreamError,
    message: &Message<'_>,
    deadline: Instant,
) -> Result<String, Failure> {
    match err_code {
        // The subject is this delivery's own.
        WRONG_LAST_SEQUENCE => Ok(format!("duplicate: the stream has it already ({description})")),
        MESSAGE_TOO_LARGE => {
            let stream = stream_of(connection, &message.subject, deadline)?.unwrap_or_default();
            let max_bytes = stream_config(connection, &stream, deadline)?.max_msg_size;
            let message_bytes = message.headers.len() + message.body.len();
            Err(Failure::Over(ActionReport::give_up(format!(
                "the message has {message_bytes} bytes, and the stream {stream} takes at most {max_bytes} (max_msg_size)"
            ))))
        }
        code if PASSING.contains(&code) => Err(Failure::Passing(description)),
        code => Err(Failure::retry(format!("JetStream refuses: {description} ({code})"))),
    }
}

/// Why there was no answer: there is no stream, or the cluster elects its leader.
fn no_responders(connection: &mut Connection, subject: &str, deadline: Instant) -> Failure {
    match stream_of(connection, subject, deadline) {
        Ok(None) => {
            let all = subject.split_once('.').map_or(subject.to_owned(), |(first, _)| format!("{first}.>"));
            Failure::retry(format!(
                "no stream takes the subject {subject}; to make one: \
                 nats stream add hooks --subjects '{all}' --dupe-window 48h --defaults"
            ))
        }
        Ok(Some(stream)) => Failure::Passing(format!("the stream {stream} has no leader at the moment")),
        Err(failure) => failure,
    }
}

/// The name of the stream that takes this subject.
pub(super) fn stream_of(
    connection: &mut Connection,
    subject: &str,
    deadline: Instant,
) -> Result<Option<String>, Failure> {
    let question = json!({ "subject": subject }).to_string();
    let answer = ask(connection, "$JS.API.STREAM.NAMES", &question, deadline)?;
    Ok(answer.streams.unwrap_or_default().into_iter().next())
}

pub(super) fn stream_config(
    connection: &mut Connection,
    stream: &str,
    deadline: Instant,
) -> Result<StreamConfig, Failure> {
    let answer = ask(connection, &format!("$JS.API.STREAM.INFO.{stream}"), "", deadline)?;
    answer.config.ok_or_else(|| Failure::Passing(format!("the stream {stream} does not answer")))
}

fn ask(
    connection: &mut Connection,
    subject: &str,
    question: &str,
    deadline: Instant,
) -> Result<JetStreamAnswer, Failure> {
    let until = answer_deadline(deadline, question.len());
    let answer = connection.request(subject, "", question.as_bytes(), until).map_err(failure)?;
    if answer.status == Some(NO_RESPONDERS) {
        let off = "JetStream does not answer: it is off (nats-server -js turns it on), or elects its leader";
        return Err(Failure::Passing(off.to_owned()));
    }
    jetstream(&answer)
}

fn jetstream(answer: &Answer) -> Result<JetStreamAnswer, Failure> {
    serde_json::from_slice(&answer.body)
        .map_err(|_| Failure::retry(format!("the answer is not that of a stream: {}", excerpt(&answer.body))))
}

fn answer_deadline(deadline: Instant, sent_bytes: usize) -> Instant {
    let sending = Duration::from_secs((sent_bytes / SLOWEST_BYTES_S) as u64);
    deadline.min(Instant::now() + sending + ANSWER_WAIT)
}

fn failure(error: ServerError) -> Failure {
    match error {
        ServerError::Refused(reason) if reason.contains(PERMISSION_ERROR) => Failure::retry(format!(
            "the server refuses: {reason} (the user must be allowed to publish the subject, and to subscribe to _INBOX.>)"
        )),
        error => Failure::Lost(error.to_string()),
    }
}
