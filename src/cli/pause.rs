//! `hookbox pause` and `hookbox resume`.

use std::io::Write;

use super::Failure;
use crate::clock;
use crate::config::Config;
use crate::store::Commands;

pub(super) fn pause(config: &Config, action: &str, out: &mut dyn Write) -> Result<(), Failure> {
    let known = config.actions.contains_key(action);
    if !known {
        let names: Vec<&str> = config.actions.keys().map(String::as_str).collect();
        let there_is = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        return Err(Failure::usage(format!("no action {action:?} in the config; there is: {there_is}")));
    }
    let paused = Commands::open(&config.database)?.pause(action, clock::now())?;
    Ok(writeln!(out, "{action} {}", if paused { "is paused" } else { "was paused already" })?)
}

/// Also takes an action that is no longer configured: its pause would otherwise return with it.
pub(super) fn resume(config: &Config, action: &str, out: &mut dyn Write) -> Result<(), Failure> {
    let resumed = Commands::open(&config.database)?.resume(action)?;
    Ok(writeln!(out, "{action} {}", if resumed { "goes on" } else { "was not paused" })?)
}
