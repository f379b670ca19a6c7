//! Shows text page by page where standard output is a terminal.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;

use signal_hook::consts::SIGINT;

/// Where `$PAGER` is unset or cannot be started, in this order.
const PAGERS: [&str; 2] = ["less -R", "more"];

/// For `less` where `$LESS` is unset: quit if the text fits on the screen, and leave it there.
const LESS: (&str, &str) = ("LESS", "FRX");

/// Writes the text into the pager, or to `out` where there is none. A reader who quits early is no error.
pub(super) fn show(text: &str, out: &mut dyn Write) -> io::Result<()> {
    if io::stdout().is_terminal() && pagers().iter().any(|pager| has_shown(pager, text)) {
        return Ok(());
    }
    out.write_all(text.as_bytes())
}

/// None for a terminal that cannot move its cursor, or where `$PAGER` is empty.
fn pagers() -> Vec<String> {
    let is_dumb = env::var_os("TERM").is_none_or(|term| term == "dumb");
    match env::var("PAGER") {
        Ok(pager) if pager.is_empty() => Vec::new(),
        _ if is_dumb => Vec::new(),
        Ok(pager) => std::iter::once(pager).chain(PAGERS.map(str::to_owned)).collect(),
        Err(_) => PAGERS.map(str::to_owned).to_vec(),
    }
}

/// False if the pager cannot be started. No shell is asked: its words are what stands between spaces.
fn has_shown(pager: &str, text: &str) -> bool {
    let mut words = pager.split_whitespace();
    let Some(program) = words.next() else { return false };
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::piped());
    if env::var_os(LESS.0).is_none() {
        command.env(LESS.0, LESS.1);
    }
    // Ctrl-C is for the pager: without us it would share the terminal with the shell.
    let _ = signal_hook::flag::register(SIGINT, Arc::default());
    let Ok(mut child) = command.spawn() else { return false };
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(text.as_bytes()); // it may have quit
    }
    let _ = child.wait();
    true
}
