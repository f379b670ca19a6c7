//! Bugs of the past, one file per kind, each test named after what the bug did.

mod environment;
mod files;
mod foreign_programs;
mod forwarding;
mod largest_id;
mod limits;
mod lost_files;
mod payloads;
mod rebuilt_tables;
mod reload;
mod replay;
mod shared_connections;
