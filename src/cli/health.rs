//! `hookbox health`: asks the running receiver whether it takes deliveries, for a container's or a monitor's check.

use std::io::{self, ErrorKind, Write};
use std::time::Duration;

use super::Failure;
use crate::ask::{self, Response};
use crate::config::Config;
use crate::listen::{Listen, LocalAddress};

/// A busy receiver answers within a second. Container engines give a check 30 s.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn run(config: &Config, out: &mut dyn Write) -> Result<(), Failure> {
    let listen = &config.listen;
    let response = LocalAddress::of(listen).and_then(|address| ask::health(&address, TIMEOUT));
    let response = response.map_err(|error| Failure::failed(no_answer(listen, &error)))?;
    judge(listen, &response).map_err(Failure::failed)?;
    Ok(writeln!(out, "ok: hookbox takes deliveries at {listen}")?)
}

/// An error says why deliveries are not taken.
fn judge(listen: &Listen, response: &Response) -> Result<(), String> {
    match (response.status, response.line().as_str()) {
        (200, "ok") => Ok(()),
        (503, reason) => Err(format!("hookbox refuses deliveries at {listen}: {reason}")),
        _ => Err(another_program(listen)),
    }
}

fn no_answer(listen: &Listen, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            format!("no answer at {listen} within {} s", TIMEOUT.as_secs())
        }
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof => another_program(listen),
        _ => format!("no answer at {listen}: {error}"),
    }
}

fn another_program(listen: &Listen) -> String {
    format!("another program than hookbox answers at {listen}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_200_with_ok_is_healthy() {
        let listen = "127.0.0.1:5000".parse().unwrap();
        let judged = |status, body: &str| judge(&listen, &Response { status, body: body.into() });
        assert_eq!(judged(200, "ok\n"), Ok(()));
        assert!(judged(503, "the disk is full\n").unwrap_err().ends_with("127.0.0.1:5000: the disk is full"));
        for (status, body) in [(200, "hello"), (404, "ok"), (502, "ok")] {
            assert!(judged(status, body).unwrap_err().starts_with("another program"), "{status} {body}");
        }
    }

    #[test]
    fn an_answer_that_does_not_come_in_time_is_told_as_that() {
        let listen = "127.0.0.1:5000".parse().unwrap();
        assert_eq!(no_answer(&listen, &ErrorKind::WouldBlock.into()), "no answer at 127.0.0.1:5000 within 5 s");
    }
}
