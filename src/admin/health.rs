//! Whether deliveries are received, checked at the public address as a sender would.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::listen::LocalAddress;

const QUESTION: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n";

/// Longer than the second after which the receiver reports that another program holds the lock.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How long a result is reused: every open page asks every two seconds.
const MAX_AGE: Duration = Duration::from_secs(1);

/// The response is far shorter.
const MAX_ANSWER_BYTES: u64 = 4096;

/// The receiver's answer to `GET /healthz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    pub is_well: bool,
    /// `ok`, or what is wrong.
    pub line: String,
}

/// Asks at the public address, and caches the answer for a moment.
pub struct HealthProbe {
    local_address: LocalAddress,
    last: Option<(Instant, Health)>,
}

impl HealthProbe {
    pub fn new(local_address: LocalAddress) -> HealthProbe {
        HealthProbe { local_address, last: None }
    }

    pub fn check(&mut self) -> Health {
        if let Some((at, health)) = &self.last
            && at.elapsed() < MAX_AGE
        {
            return health.clone();
        }
        let silent = |error| Health { is_well: false, line: format!("the receiver does not answer: {error}") };
        let health = self.ask().unwrap_or_else(silent);
        self.last = Some((Instant::now(), health.clone()));
        health
    }

    fn ask(&self) -> io::Result<Health> {
        let mut connection = self.local_address.connect(TIMEOUT)?;
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
    fn the_line_is_the_receivers() {
        let health = |is_well, line: &str| Some(Health { is_well, line: line.to_owned() });
        assert_eq!(read("HTTP/1.1 200 OK\r\nDate: x\r\n\r\nok\n"), health(true, "ok"));
        assert_eq!(read("HTTP/1.1 503 Service Unavailable\r\n\r\nfull\n"), health(false, "full"));
        assert_eq!(read("HTTP/1.1 200 OK\r\n"), None);
    }
}
