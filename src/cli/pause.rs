//! `hookbox pause` and `hookbox resume`.

use std::io::Write;

use super::{Failure, table};
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
    let mut commands = Commands::open(&config.database)?;
    let paused = commands.pause(action, clock::now())?;
    writeln!(out, "{action} {}", if paused { "is paused" } else { "was paused already" })?;
    write_held(&commands, Some(action), out)
}

/// Names the actions that go on later because their destinations ask for that, or `action` alone.
pub(super) fn write_held(commands: &Commands, action: Option<&str>, out: &mut dyn Write) -> Result<(), Failure> {
    let held = commands.held(clock::now())?;
    for (name, until) in held.iter().filter(|(name, _)| action.is_none_or(|action| action == name)) {
        let name = table::one_line(name);
        writeln!(out, "{name} waits until {until}: its destination asks for that (sooner: hookbox resume {name})")?;
    }
    Ok(())
}

/// Also takes an action that is no longer configured: its pause would otherwise return with it.
pub(super) fn resume(config: &Config, action: &str, out: &mut dyn Write) -> Result<(), Failure> {
    let resumed = Commands::open(&config.database)?.resume(action, clock::now())?;
    Ok(writeln!(out, "{action} {}", if resumed { "is resumed" } else { "was not paused" })?)
}
