//! Requests that the gate refuses, as the other side counts and logs them.

use std::fmt::Debug;

use super::client::Client;
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
    pub client: Client,
}

/// Is given each request that a gate refuses, by its thread.
pub trait RefusalObserver: Debug + Send + Sync {
    fn observe(&self, refused: &Refused<'_>);
}
