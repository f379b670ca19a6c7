//! Bugs of the past, one file per kind, each test named after what the bug did.

mod environment;
mod files;
mod foreign_programs;
mod forwarding;
mod limits;
mod lost_files;
mod payloads;
mod reload;
mod replay;
mod shared_connections;
