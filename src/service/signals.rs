//! The signals of the process.

use std::io;
use std::process;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::Builder;

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

use super::error::{Error, Result};
use super::thread::Message;
use crate::action::reap_orphans;

/// The process that inherits those whose parents have ended, such as the only one of a container.
const INIT: u32 = 1;

/// Starts a thread that passes signals on. It is never stopped: a second SIGTERM changes nothing.
pub(super) fn watch(messages: Sender<Message>) -> Result<()> {
    let failed = |error| Error::failed(format!("signals cannot be watched: {error}"));
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(failed)?;
    // Any handler will do. If SIGCHLD is inherited as ignored, the kernel discards the exit codes of commands. SIGXFSZ ends
    // a process that writes beyond its limit on file sizes; with a handler the write fails instead.
    for signal in [SIGCHLD, SIGXFSZ] {
        signal_hook::flag::register(signal, Arc::default()).map_err(failed)?;
    }
    let watch = move || {
        for signal in signals.forever() {
            let message = if signal == SIGHUP { Message::Reload } else { Message::Stop };
            if messages.send(message).is_err() {
                return; // the main thread is stopping already
            }
        }
    };
    Builder::new().name("signals".to_owned()).spawn(watch).map_err(failed)?;
    if process::id() == INIT { reap_as_init().map_err(failed) } else { Ok(()) }
}

/// Starts a thread that reaps what the commands of actions leave behind.
fn reap_as_init() -> io::Result<()> {
    let mut ends = Signals::new([SIGCHLD])?;
    let reap = move || {
        reap_orphans(); // what was there before
        ends.forever().for_each(|_| reap_orphans());
    };
    Builder::new().name("reaper".to_owned()).spawn(reap).map(drop)
}
