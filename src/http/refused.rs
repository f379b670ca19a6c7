//! Requests that the gate refuses, as the other side counts and logs them.

use std::fmt::Debug;

use super::Peer;
use crate::metrics::RejectReason;

/// A request that the gate has refused itself.
#[derive(Debug)]
pub struct Refused<'a> {
    pub reason: RejectReason,
    /// The rule that it breaks, by which log lines are limited.
    pub rule: &'static str,
    /// The rule and the field by name, for the operator.
    pub text: &'a str,
    /// Without the query; empty where the request line cannot be read.
    pub path: &'a str,
    /// The values of `X-Forwarded-For`, as far as the head came.
    pub forwarded_for: &'a [String],
    pub peer: Peer,
}

/// Is given each request that a gate refuses, by its thread.
pub trait RefusalObserver: Debug + Send + Sync {
    fn observe(&self, refused: &Refused<'_>);
}
