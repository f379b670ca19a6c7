//! Types that the event loop, client connections and upstream connections pass to each other.

use super::limits::Timeouts;
use super::traffic::Traffic;
use crate::cidr::Cidr;
use crate::http::blocks::Budget;
use crate::http::bodies::{Bodies, UnreadBody};
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Instant;

/// Unique, so that a late response cannot reach another connection. In the order of acceptance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// The data that every step of a connection needs.
#[derive(Debug)]
pub struct Context {
    pub now: Instant,
    pub timeouts: Timeouts,
    pub budget: Budget,
    pub bodies: Bodies,
    pub max_body_bytes: u64,
    pub trusted_proxies: Arc<Vec<Cidr>>,
    pub is_draining: bool,
    /// No place is free: keep-alive ends after the current response, or a few clients that never pause would keep out all
    /// others.
    pub is_crowded: bool,
    pub traffic: Arc<Traffic>,
}

/// A complete request, ready to be forwarded.
#[derive(Debug)]
pub struct Request {
    pub owner: ConnectionId,
    pub head: Vec<u8>,
    pub body: Option<UnreadBody>,
    pub is_head: bool,
    /// Only one of these is forwarded at a time.
    pub is_large: bool,
}

/// Reads once from a non-blocking socket: the number of bytes, 0 if there are none now. `None` at the end of input.
pub fn read(stream: &mut impl Read, buffer: &mut [u8]) -> Option<usize> {
    match stream.read(buffer) {
        Ok(0) => None,
        result => transferred(result),
    }
}

/// The number of bytes read or written, 0 if the next poll is to try again. `None` if the connection is lost.
pub fn transferred(result: io::Result<usize>) -> Option<usize> {
    match result {
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Some(0),
        result => result.ok(),
    }
}
