//! The upstream side of the gate: everything that exists only because tiny_http stands behind it.

pub(super) mod pool;
pub(super) mod response;
pub mod socket;
