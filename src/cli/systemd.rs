//! `hookbox systemd`: prints the units.

use std::io::Write;

use super::Failure;
use crate::systemd::{SERVICE_UNIT, SOCKET_UNIT};

pub(super) fn run(unit: Option<&str>, out: &mut dyn Write) -> Result<(), Failure> {
    match unit {
        None => Ok(write!(out, "{SERVICE_UNIT}\n{SOCKET_UNIT}")?),
        Some("service") => Ok(out.write_all(SERVICE_UNIT.as_bytes())?),
        Some("socket") => Ok(out.write_all(SOCKET_UNIT.as_bytes())?),
        Some(other) => Err(Failure::usage(format!("no unit {other:?}; there is: service, socket"))),
    }
}
