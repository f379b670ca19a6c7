//! Whether deliveries are taken: asked where they come in, as any sender would find out.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::listen::LocalAddress;

const QUESTION: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n";

/// The receiver takes a second to find out that another program holds the lock.
const PATIENCE: Duration = Duration::from_secs(2);

/// A page asks every two seconds, and so does each one beside it.
const FRESH: Duration = Duration::from_secs(1);

/// Head and line of an answer are far shorter.
const MAX_ANSWER_BYTES: u64 = 4096;

/// What the receiver says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    pub is_well: bool,
    /// `ok`, or what is wrong.
    pub line: String,
}

/// Asks at the public local_address, and remembers the answer for a moment.
pub struct HealthProbe {
    local_address: LocalAddress,
    last: Option<(Instant, Health)>,
}

impl HealthProbe {
    pub fn at(local_address: LocalAddress) -> HealthProbe {
        HealthProbe { local_address, last: None }
    }

    pub fn listen(&mut self) -> Health {
        if let Some((at, health)) = &self.last
            && at.elapsed() < FRESH
        {
            return health.clone();
        }
        let silent = |error| Health { is_well: false, line: format!("the receiver does not answer: {error}") };
        let health = self.ask().unwrap_or_else(silent);
        self.last = Some((Instant::now(), health.clone()));
        health
    }

    fn ask(&self) -> io::Result<Health> {
        let mut connection = self.local_address.connect(PATIENCE)?;
        connection.write_all(QUESTION)?;
        let mut answer = String::new();
        connection.take(MAX_ANSWER_BYTES).read_to_string(&mut answer)?;
        read(&answer).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

fn read(answer: &str) -> Option<Health> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let is_well = head.starts_with("HTTP/1.1 200 ");
    Some(Health { is_well, line: body.lines().next().unwrap_or_default().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_what_the_receiver_says() {
        let health = |is_well, line: &str| Some(Health { is_well, line: line.to_owned() });
        assert_eq!(read("HTTP/1.1 200 OK\r\nDate: x\r\n\r\nok\n"), health(true, "ok"));
        assert_eq!(read("HTTP/1.1 503 Service Unavailable\r\n\r\nfull\n"), health(false, "full"));
        assert_eq!(read("HTTP/1.1 200 OK\r\n"), None);
    }
}
