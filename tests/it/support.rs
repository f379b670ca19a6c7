//! What the tests are written with: a home directory with a config, the running program, raw HTTP, destinations, disks,
//! clocks.

mod clock;
mod disk;
mod http;
mod machine;
mod manual;
mod program;
mod prometheus;
mod random;
mod senders;
mod stub;
mod terminal;
mod trace;
mod turn;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub use clock::{set_clock, with_clock};
pub use disk::{Disk, make_ext4};
pub use http::{Address, Connection, Request, Response, connect_from, hex, sign_github};
pub use machine::{Machine, Running};
pub use manual::{Block, blocks, example};
pub use program::{Home, Hookbox, Output, WriteLock, bound_by_permissions, is_installed, python, runner};
pub use prometheus::{Prometheus, promtool};
pub use random::Random;
pub use rustix::process::Signal;
pub use senders::{Senders, assert_stored, body_of};
pub use stub::{
    Answer, Issued, Received, Stub, authority, believing, closed_port, expired, identity_of, impostor, issue, refusing,
    self_made,
};
pub use terminal::in_a_terminal;
pub use trace::{Call, Tracer, can_trace, strace, strace_failing, strace_injecting};
pub use turn::{needs_no_turn, take_turn, take_turn_nearly_alone, take_turn_with_browser};

/// The secret of deliveries: that of the example in GitHub's documentation.
pub const SECRET: &str = "It's a Secret to Everybody";

/// The built-in source as config: for tests that need a config for something else.
pub const SOURCE: &str = "[sources.github]\nprovider = \"github\"\nsecret = \"env:GITHUB_WEBHOOK_SECRET\"\n";

/// Far longer than anything takes: it ends a test that would otherwise hang.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// Polls until there is a value. Panics with `what` was awaited if there is none in time.
#[track_caller]
pub fn wait_for<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    wait_longer_for(what, DEADLINE, ask)
}

#[track_caller]
pub fn wait_longer_for<T>(what: &str, deadline: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = patient(deadline);
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < deadline, "waited {deadline:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// `time`, multiplied by `HOOKBOX_PATIENCE` if that is set: for an emulated program or a slow machine.
/// Only for how long a test waits, never for the program's configuration.
pub fn patient(time: Duration) -> Duration {
    time * std::env::var("HOOKBOX_PATIENCE").map_or(1, |factor| factor.parse().unwrap())
}

/// The tests need a descriptor for each connection too.
pub fn allow_descriptors(count: u64) {
    let now = getrlimit(Resource::Nofile);
    if now.current.is_some_and(|current| current < count) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(count), maximum: now.maximum }).unwrap();
    }
}

/// A file of `tests/it/data/`.
pub fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/data").join(name)
}
