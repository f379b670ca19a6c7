//! The NATS protocol, as far as requests need it: one is published with an inbox of ours as its reply subject, and the
//! answer is read there. Source: <https://docs.nats.io/reference/reference-protocols/nats-protocol>

use std::io::{self, ErrorKind};
use std::time::Instant;

use serde::Deserialize;
use serde_json::json;

use super::server::{Protocol, Server, ServerError};
use super::wire::{Answers, Certificates, Wire};
use crate::digest;
use crate::secret::Secret;

/// The schemes of NATS, and its port.
pub const PROTOCOL: Protocol = Protocol { plain: "nats", tls: "tls", port: 4222 };

/// INFO names the other servers of a cluster, and JetStream's answers the settings of a stream: both are a few kilobytes.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// The first line of a block of headers.
pub const HEADERS_VERSION: &str = "NATS/1.0\r\n";

/// An open connection that has subscribed to its own inbox.
pub struct Connection {
    wire: Wire,
    inbox: String,
    requests: u64,
    /// The largest message that the server takes, headers included; `None` where it does not say.
    pub max_payload_bytes: Option<u64>,
}

/// How a client proves who it is.
#[derive(Clone, Debug, Default)]
pub struct Login {
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub token: Option<Secret>,
}

/// An answer in our inbox.
#[derive(Debug)]
pub struct Answer {
    /// Of an answer without content: 503 means that no one has subscribed.
    pub status: Option<u16>,
    pub body: Vec<u8>,
}

/// What the server says first. Other members are left out.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Info {
    headers: bool,
    max_payload: i64,
    tls_required: bool,
    tls_available: bool,
    auth_required: bool,
}

/// What the server sends.
#[derive(Debug, PartialEq, Eq)]
enum Message {
    Info(Vec<u8>),
    Ping,
    Pong,
    Fine,
    Error(String),
    Content { subject: String, status: Option<u16>, body: Vec<u8> },
}

impl Connection {
    /// Connects, with TLS if either side wants it, and logs in.
    pub fn open(
        server: &Server,
        login: &Login,
        certificates: &Certificates,
        deadline: Instant,
    ) -> Result<Connection, ServerError> {
        let mut wire = Wire::connect(server, deadline)?;
        wire.set_deadline(deadline);
        let info = read_info(wire.input())?;
        let is_tls = server.is_tls || info.tls_required;
        if is_tls {
            if !info.tls_required && !info.tls_available {
                return Err(ServerError::Refused("it has no TLS: write nats:// if that is meant".to_owned()));
            }
            wire = wire.secure(&server.host, certificates)?;
        }
        if !info.headers {
            return Err(ServerError::Refused("it is older than 2.2 or takes no headers".to_owned()));
        }
        let inbox = format!("_INBOX.{}", digest::hex(&digest::random::<12>()));
        let connect = connect_options(login, is_tls);
        wire.send(&[format!("CONNECT {connect}\r\nPING\r\n").as_bytes()])?;
        let mut connection = Connection {
            wire,
            inbox,
            requests: 0,
            max_payload_bytes: u64::try_from(info.max_payload).ok().filter(|bytes| *bytes > 0),
        };
        connection.wait_for_pong(info.auth_required)?;
        connection.wire.send(&[format!("SUB {}.* 1\r\n", connection.inbox).as_bytes()])?;
        Ok(connection)
    }

    /// Publishes and waits for the answer. `headers` is a whole block of them, or nothing. The caller has checked that the
    /// subject is one token of a line.
    pub fn request(
        &mut self,
        subject: &str,
        headers: &str,
        body: &[u8],
        deadline: Instant,
    ) -> Result<Answer, ServerError> {
        self.wire.set_deadline(deadline);
        self.requests += 1;
        let reply = format!("{}.{}", self.inbox, self.requests);
        let (headers_bytes, all_bytes) = (headers.len(), headers.len() + body.len());
        let line = match headers_bytes {
            0 => format!("PUB {subject} {reply} {all_bytes}\r\n"),
            _ => format!("HPUB {subject} {reply} {headers_bytes} {all_bytes}\r\n"),
        };
        let sent = self.wire.send(&[line.as_bytes(), headers.as_bytes(), body, b"\r\n"]);
        // A server that closes may have said why before.
        let answer = self.answer(&reply);
        match (sent, answer) {
            (Err(error), Err(ServerError::Lost(_))) => Err(error.into()),
            (_, answer) => answer,
        }
    }

    /// Whether the server has closed the connection while it was not used.
    pub fn has_ended(&mut self) -> bool {
        self.wire.has_ended()
    }

    fn wait_for_pong(&mut self, needs_login: bool) -> Result<(), ServerError> {
        loop {
            match self.read()? {
                Message::Pong => return Ok(()),
                Message::Error(reason) if needs_login => {
                    return Err(ServerError::Refused(format!("{reason}: check user, password and token")));
                }
                Message::Error(reason) => return Err(ServerError::Refused(reason)),
                _ => {}
            }
        }
    }

    fn answer(&mut self, reply: &str) -> Result<Answer, ServerError> {
        loop {
            match self.read()? {
                Message::Content { subject, status, body } if subject == reply => return Ok(Answer { status, body }),
                Message::Error(reason) => return Err(ServerError::Refused(reason)),
                // Late answers to requests before this one among them.
                _ => {}
            }
        }
    }

    /// The next message; a question whether we are there is answered.
    fn read(&mut self) -> io::Result<Message> {
        let message = read(self.wire.input())?;
        if message == Message::Ping {
            self.wire.send(&[b"PONG\r\n"])?;
        }
        Ok(message)
    }
}

fn connect_options(login: &Login, is_tls: bool) -> serde_json::Value {
    let mut options = json!({
        "verbose": false, "pedantic": false, "headers": true, "no_responders": true, "tls_required": is_tls,
        "lang": "rust", "name": "hookbox", "version": env!("CARGO_PKG_VERSION"),
    });
    let text = |secret: &Secret| String::from_utf8_lossy(secret.as_bytes()).into_owned();
    let values = [
        ("user", login.user.clone()),
        ("pass", login.password.as_ref().map(text)),
        ("auth_token", login.token.as_ref().map(text)),
    ];
    for (name, value) in values.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        options[name] = value.into();
    }
    options
}

fn read_info(input: &mut impl Answers) -> io::Result<Info> {
    match read(input)? {
        Message::Info(json) => {
            serde_json::from_slice(&json).map_err(|error| invalid(&format!("its INFO is not as documented: {error}")))
        }
        _ => Err(invalid("it does not begin with INFO: is this a NATS server?")),
    }
}

/// Reads one message, whose length is bounded.
fn read(input: &mut impl Answers) -> io::Result<Message> {
    input.allow(MAX_ANSWER_BYTES);
    let line = input.line()?;
    let Ok(line) = std::str::from_utf8(&line) else { return Err(invalid("a line is not UTF-8")) };
    let (verb, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    Ok(match verb.to_ascii_uppercase().as_str() {
        "INFO" => Message::Info(rest.as_bytes().to_vec()),
        "PING" => Message::Ping,
        "PONG" => Message::Pong,
        "+OK" => Message::Fine,
        "-ERR" => Message::Error(rest.trim_matches(['\'', ' ']).to_owned()),
        "MSG" | "HMSG" => read_content(input, verb.len() == 4, rest)?,
        _ => return Err(invalid("a line is of no known kind: is this a NATS server?")),
    })
}

/// `SUBJECT SID [REPLY] [HEADERS_BYTES] ALL_BYTES`, and so many bytes.
fn read_content(input: &mut impl Answers, has_headers: bool, arguments: &str) -> io::Result<Message> {
    let words: Vec<&str> = arguments.split_ascii_whitespace().collect();
    let lengths = if has_headers { 2 } else { 1 };
    let number = |word: Option<&&str>| word.and_then(|word| word.parse::<usize>().ok());
    let all_bytes = number(words.last()).filter(|_| (2 + lengths..=3 + lengths).contains(&words.len()));
    let headers_bytes = if has_headers { number(words.iter().rev().nth(1)) } else { Some(0) };
    let (Some(all_bytes), Some(headers_bytes)) = (all_bytes, headers_bytes) else {
        return Err(invalid("a message has no lengths"));
    };
    let mut headers = input.exactly(all_bytes)?;
    if headers_bytes > all_bytes || input.exactly(2)? != b"\r\n" {
        return Err(invalid("a message has another length than it says"));
    }
    let body = headers.split_off(headers_bytes);
    Ok(Message::Content { subject: words[0].to_owned(), status: status(&headers), body })
}

/// The status behind the version in the first line of headers.
fn status(headers: &[u8]) -> Option<u16> {
    let line = headers.split(|byte| *byte == b'\r').next()?;
    std::str::from_utf8(line).ok()?.strip_prefix("NATS/1.0")?.split_ascii_whitespace().next()?.parse().ok()
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

#[cfg(fuzzing)]
pub mod fuzz {
    use crate::client::wire::Input;

    /// Reads what a server sends to its end, in bounded memory.
    pub fn nats(input: &[u8]) {
        let mut server = Input::new(input);
        let _ = super::read_info(&mut server);
        while super::read(&mut server).is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::Input;
    use super::*;

    fn message(bytes: &[u8]) -> io::Result<Message> {
        read(&mut Input::new(bytes))
    }

    #[test]
    fn messages_are_read() {
        let content = |status, body: &[u8]| Message::Content { subject: "a.1".to_owned(), status, body: body.to_vec() };
        for (bytes, expected) in [
            (&b"MSG a.1 1 5\r\nhello\r\n"[..], content(None, b"hello")),
            (b"MSG a.1 1 reply 2\r\n\r\n\r\n", content(None, b"\r\n")),
            (b"HMSG a.1 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n", content(Some(503), b"")),
            (b"HMSG a.1 1 r 20 22\r\nNATS/1.0\r\nA: 503\r\n\r\nok\r\n", content(None, b"ok")),
            (b"-ERR 'Authorization Violation'\r\n", Message::Error("Authorization Violation".to_owned())),
            (b"ping\r\n", Message::Ping),
            (b"INFO {}\r\n", Message::Info(b"{}".to_vec())),
        ] {
            assert_eq!(message(bytes).unwrap(), expected, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        for bytes in [
            &b"INF"[..],
            b"MSG a.1 1\r\n\r\n",
            b"MSG a.1 1 5\r\nhi\r\n\r\n\r\n",
            b"MSG a.1 1 18446744073709551615\r\n",
            b"MSG a.1 1 -1\r\n",
            b"HMSG a.1 1 9 4\r\nabcd\r\n",
            b"HMSG a.1 1 4\r\nabcd\r\n",
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"\xff\xfe\r\n",
        ] {
            assert!(message(bytes).is_err(), "{}", String::from_utf8_lossy(bytes));
        }
        let endless = [b"INFO {\"x\":\"", &vec![b'x'; 1 << 20][..], b"\"}\r\n"].concat();
        assert!(message(&endless).unwrap_err().to_string().contains("longer"));
    }
}
