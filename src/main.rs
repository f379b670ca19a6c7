//! hookbox receives webhooks, stores them in SQLite, answers, and only then does the slow work.
//!
//! The **gate** reads each request from the public socket under limits and deadlines, and passes it on to tiny_http when it
//! is complete and valid. The one **receiver** thread verifies deliveries by their **provider**'s preset (large ones on a
//! thread beside it), **stores** waiting ones together, and acknowledges them after the commit. The **router** adds a job
//! for each action whose conditions an event meets. The **worker** threads of an action claim its jobs, run it, and record
//! the outcome; **retry** says how long to wait before the next attempt. SQLite is the queue, and threads share little else:
//! stop flags, wake-ups, the current configuration, counts. An acknowledged delivery is on disk, and a job recorded as done
//! is done again only by a replay.
//!
//! The private listener with the operator's page, **admin**, has a gate of its own, so that it cannot delay a delivery.
//!
//! A module uses only modules that are declared below it; a test checks that.

#![cfg_attr(fuzzing, no_main, allow(dead_code, unused_imports))]

// The top: the command line, the service, its private listener.
mod cli;
mod service;
mod admin;

// The steps of a delivery.
mod gate;
mod receive;
mod route;
mod worker;

// Beside them: what never arrived.
mod recover;

// Used by the steps.
mod config;
mod action;
mod client;
mod provider;
mod retry;
mod template;
mod store;

// Shared by all of these: sockets, counts, the log, the event itself.
mod ask;
mod listen;
mod http;
mod metrics;
mod log;
mod news;
mod event;

// Tools, which use nothing of the above.
mod charset;
mod cidr;
mod clock;
mod current;
mod digest;
mod json;
mod manual;
mod packed;
mod secret;
mod systemd;
mod shell;
mod stop;
mod suggest;
mod text;
mod units;

// The entry of a build for fuzzing, in place of `main`.
#[cfg(fuzzing)]
#[path = "../tests/fuzz/main.rs"]
mod fuzz;

fn main() -> std::process::ExitCode {
    cli::main()
}
