//! hookbox receives webhooks, stores them in SQLite, answers, and only then does the slow work.
//!
//! A delivery passes the modules below in their order. The **gate** takes it in from the public socket ([`listen`]) under
//! limits and deadlines, and hands it to tiny_http only when it is whole and sane. The one **receiver** thread verifies
//! it by its **provider**'s preset, **stores** everything that waits in one transaction, and acknowledges after the
//! commit. The **router** makes a job of each action that an event is for, and one **worker** thread an action claims
//! jobs, runs the **action**, and records how it went; **retry** says when to try again. SQLite is the queue: threads
//! share little else: a stop flag, a wake-up ([`stop`]), the current configuration, counts ([`metrics`]). What was
//! acknowledged is on disk, and what is on record as done is not done again.
//!
//! Beside that way, behind a gate of its own, the private listener ([`admin`]) serves the operator's page.

mod cli;

mod config;
mod current;
mod secret;
mod units;
mod event;

mod manual;
mod systemd;
mod listen;
mod gate;
mod receive;
mod provider;
mod digest;
mod store;

mod route;
mod worker;
mod service;
mod housekeeping;
mod retry;
mod action;
mod template;

mod ask;
mod admin;
mod metrics;

mod watchdog;
mod cidr;
mod clock;
mod json;
mod log;
mod shell;
mod stop;
mod suggest;

fn main() -> std::process::ExitCode {
    cli::main()
}
