//! The one handle for every thread of the service, and what threads tell the main thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Sender;
use std::thread::{Builder, JoinHandle};

use rustix::process::{getpriority_process, setpriority_process};

use super::error::{Error, Result};
use crate::listen::Listener;
use crate::stop::Stop;

/// The nice value of background threads: on a busy core they still get a tenth of its time.
const BACKGROUND_NICE: i32 = 10;

/// A message to the main thread.
pub(super) enum Message {
    Stop,
    Reload,
    /// The page's address is there: this listens at it.
    PageAddress(Listener),
    /// The thread of this name has ended, and was not asked to.
    Ended(String),
}

/// A running thread, from outside. Dropping it leaves the thread running.
pub(super) struct Thread {
    stop: Stop,
    wake: Box<dyn Fn() + Send>,
    handle: JoinHandle<()>,
}

impl Thread {
    /// Runs `body`, which returns soon after `stop` is set and `wake` was called. If it returns earlier, or panics, the
    /// main thread is told.
    pub(super) fn spawn(
        name: &str,
        stop: &Stop,
        wake: impl Fn() + Send + 'static,
        messages: &Sender<Message>,
        body: impl FnOnce() + Send + 'static,
    ) -> Result<Thread> {
        let (is_stopping, report_end) = (stop.clone(), report_end(name, messages));
        let run = move || {
            let ended = catch_unwind(AssertUnwindSafe(body));
            if ended.is_err() || !is_stopping.is_set() {
                report_end();
            }
        };
        let failed = |error| Error::failed(format!("the thread {name} cannot be started: {error}"));
        let handle = Builder::new().name(name.to_owned()).spawn(run).map_err(failed)?;
        Ok(Thread { stop: stop.clone(), wake: Box::new(wake), handle })
    }

    pub(super) fn wake(&self) {
        (self.wake)();
    }

    /// Asks it to end, and does not wait for that.
    pub(super) fn request_stop(&self) {
        self.stop.set();
        self.wake();
    }

    pub(super) fn has_ended(&self) -> bool {
        self.handle.is_finished()
    }

    /// Waits until it has ended.
    pub(super) fn join(self) {
        let _ = self.handle.join(); // `spawn` has caught the panic
    }

    pub(super) fn stop(self) {
        self.request_stop();
        self.join();
    }
}

/// Tells the main thread that a thread has ended: a service with a thread missing is worse than a restart.
pub(super) fn report_end(name: &str, messages: &Sender<Message>) -> impl FnOnce() + Send + 'static {
    let (name, messages) = (name.to_owned(), messages.clone());
    move || {
        let _ = messages.send(Message::Ended(name)); // without a receiver the process is already stopping
    }
}

/// The body of a background thread.
pub(super) fn in_background(body: impl FnOnce() + Send + 'static) -> impl FnOnce() + Send + 'static {
    || {
        lower_priority();
        body();
    }
}

/// Lets threads that a provider waits for run before the calling one: with one or two cores, a worker that catches up would
/// take their time. Where that is not allowed, nothing else changes.
pub(super) fn lower_priority() {
    // Both are about the calling thread alone on Linux. A service that was started with a higher value keeps it.
    if getpriority_process(None).is_ok_and(|nice| nice < BACKGROUND_NICE) {
        let _ = setpriority_process(None, BACKGROUND_NICE);
    }
}
