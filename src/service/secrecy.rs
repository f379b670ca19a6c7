//! Keeps the secrets in this process from the commands of actions, which run as the same user.

use log::warn;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// In a debug build, leaves the process as it is: the tests look at its descriptors and counts.
const SWITCH: &str = "HOOKBOX_DUMPABLE";

/// From now on only root can read our environment, memory and descriptors, in `/proc` or with a debugger (PR_SET_DUMPABLE
/// in prctl(2)). The kernel writes no core dump either, which would have the secrets in it.
pub(super) fn hide_process() {
    if cfg!(debug_assertions) && std::env::var_os(SWITCH).is_some() {
        return;
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        warn!("commands can read the environment of hookbox: {error}");
    }
}
