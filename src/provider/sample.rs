//! Test deliveries, shaped like the provider's own.

use super::Sample;

pub(super) const GITHUB: Sample = Sample { event_type: "ping", body: include_str!("samples/github-ping.json") };
