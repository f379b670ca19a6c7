//! The protocol of Redis and Valkey (RESP 2), as far as single commands need it.
//! Source: <https://redis.io/docs/latest/develop/reference/protocol-spec/>

use std::io::{self, ErrorKind};
use std::time::Instant;

use super::server::{Protocol, Server, ServerError};
use super::wire::{Answers, Certificates, Wire};
use crate::secret::Secret;

/// The schemes of Redis, and its port.
pub const PROTOCOL: Protocol = Protocol { plain: "redis", tls: "rediss", port: 6379 };

/// The longest answer is that to INFO, a few kilobytes.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// A list within a list within a list is deeper than any answer to our commands.
const MAX_DEPTH: usize = 3;

/// An open connection that has logged in.
pub struct Connection {
    wire: Wire,
}

/// How a client proves who it is, and the database that it wants.
#[derive(Clone, Debug, Default)]
pub struct Login {
    /// `None`: the user `default`.
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub database: u32,
}

/// The answer to a command.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    Text(String),
    Number(i64),
    Nothing,
    List(Vec<Reply>),
    /// The server's words.
    Error(String),
}

impl Reply {
    pub fn text(&self) -> Option<&str> {
        match self {
            Reply::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl Connection {
    /// Connects, with TLS if the address wants it, logs in, and selects the database.
    pub fn open(
        server: &Server,
        login: &Login,
        certificates: &Certificates,
        deadline: Instant,
    ) -> Result<Connection, ServerError> {
        let mut wire = Wire::connect(server, deadline)?;
        wire.set_deadline(deadline);
        if server.is_tls {
            wire = wire.secure(&server.host, certificates)?;
        }
        let mut connection = Connection { wire };
        let password = login.password.as_ref().map(Secret::as_bytes);
        match (login.user.as_ref().map(String::as_bytes), password) {
            (Some(user), Some(password)) => connection.expect_fine(&[b"AUTH", user, password], deadline)?,
            (None, Some(password)) => connection.expect_fine(&[b"AUTH", password], deadline)?,
            // Otherwise a server that wants a password closes the connection when it sees a long command.
            (_, None) => connection.expect_fine(&[b"PING"], deadline)?,
        }
        if login.database > 0 {
            connection.expect_fine(&[b"SELECT", login.database.to_string().as_bytes()], deadline)?;
        }
        Ok(connection)
    }

    /// Sends one command and reads its answer. The last argument may be large.
    pub fn call(&mut self, arguments: &[&[u8]], deadline: Instant) -> io::Result<Reply> {
        self.wire.set_deadline(deadline);
        let Some((last, others)) = arguments.split_last() else { return Err(invalid("there is no command")) };
        let mut head = format!("*{}\r\n", arguments.len()).into_bytes();
        for argument in others {
            head.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
            head.extend_from_slice(argument);
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(format!("${}\r\n", last.len()).as_bytes());
        let sent = self.wire.send(&[&head, last, b"\r\n"]);
        // A server that closes may have said why before.
        let reply = read(self.wire.input());
        match (sent, reply) {
            (Err(error), Err(_)) => Err(error),
            (_, reply) => reply,
        }
    }

    /// Whether the server has closed the connection while it was not used.
    pub fn has_ended(&mut self) -> bool {
        self.wire.has_ended()
    }

    fn expect_fine(&mut self, arguments: &[&[u8]], deadline: Instant) -> Result<(), ServerError> {
        match self.call(arguments, deadline)? {
            Reply::Error(reason) => Err(ServerError::Refused(reason)),
            _ => Ok(()),
        }
    }
}

/// Reads one answer, whose length is bounded.
fn read(input: &mut impl Answers) -> io::Result<Reply> {
    input.allow(MAX_ANSWER_BYTES);
    read_part(input, MAX_DEPTH)
}

fn read_part(input: &mut impl Answers, depth: usize) -> io::Result<Reply> {
    let line = input.line()?;
    let (Some(kind), Ok(rest)) = (line.first(), std::str::from_utf8(line.get(1..).unwrap_or_default())) else {
        return Err(invalid("an answer is not text"));
    };
    match kind {
        b'+' => Ok(Reply::Text(rest.to_owned())),
        b'-' => Ok(Reply::Error(rest.to_owned())),
        b':' => number(rest).map(Reply::Number),
        b'$' | b'*' if number(rest)? == -1 => Ok(Reply::Nothing),
        b'$' => read_text(input, length(rest)?),
        b'*' if depth > 0 => {
            (0..length(rest)?).map(|_| read_part(input, depth - 1)).collect::<io::Result<_>>().map(Reply::List)
        }
        _ => Err(invalid("an answer is of no known kind: is this a Redis server?")),
    }
}

fn read_text(input: &mut impl Answers, bytes: usize) -> io::Result<Reply> {
    let text = input.exactly(bytes)?;
    if input.exactly(2)? != b"\r\n" {
        return Err(invalid("an answer has another length than it says"));
    }
    Ok(Reply::Text(String::from_utf8_lossy(&text).into_owned()))
}

fn number(text: &str) -> io::Result<i64> {
    text.parse().map_err(|_| invalid("an answer has no number where one belongs"))
}

fn length(text: &str) -> io::Result<usize> {
    text.parse().map_err(|_| invalid("an answer has no length"))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

#[cfg(fuzzing)]
pub mod fuzz {
    use crate::client::wire::Input;

    /// Reads what a server sends to its end, in bounded memory.
    pub fn redis(input: &[u8]) {
        let mut server = Input::new(input);
        while super::read(&mut server).is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::Input;
    use super::*;

    fn reply(bytes: &[u8]) -> io::Result<Reply> {
        read(&mut Input::new(bytes))
    }

    #[test]
    fn answers_are_read() {
        let text = |text: &str| Reply::Text(text.to_owned());
        for (bytes, expected) in [
            (&b"+OK\r\n"[..], text("OK")),
            (b"-ERR no\r\n", Reply::Error("ERR no".to_owned())),
            (b":-3\r\n", Reply::Number(-3)),
            (b"$4\r\na\r\nb\r\n", text("a\r\nb")),
            (b"$-1\r\n", Reply::Nothing),
            (b"*-1\r\n", Reply::Nothing),
            (b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n", Reply::List(vec![text("a"), Reply::List(vec![Reply::Number(1)])])),
        ] {
            assert_eq!(reply(bytes).unwrap(), expected, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for bytes in [
            &b"+O"[..],
            b"\r\n",
            b":x\r\n",
            b"$3\r\nabcd\r\n",
            b"$-2\r\n",
            b"$9999999999999999999\r\n",
            b"*1000000000\r\n",
            b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
            b"HTTP/1.1 400 Bad Request\r\n",
        ] {
            assert!(reply(bytes).is_err(), "{}", String::from_utf8_lossy(bytes));
        }
        let many = ["*70000\r\n", &":1\r\n".repeat(70_000)].concat();
        assert!(reply(many.as_bytes()).unwrap_err().to_string().contains("longer"));
        assert!(reply(&vec![b'+'; 1 << 20]).unwrap_err().to_string().contains("longer"));
    }
}
