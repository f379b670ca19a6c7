//! The private connections to tiny_http behind the gate.

pub(super) mod pool;
pub(super) mod response;
pub mod socket;
