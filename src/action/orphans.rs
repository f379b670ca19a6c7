//! The children of this process: those that a thread waits for, and those of others that process 1 inherits.
//!
//! Process 1 of a container becomes the parent of every process whose parent has ended, and has to reap it: otherwise it
//! stays a zombie. Reaping any child that has ended would take the exit code of a command from the thread that waits for
//! it. Hence our own children are on a list.

use std::io;
use std::process::{self, Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, WaitOptions, waitpid};

/// The process ids of children that a thread of ours reaps.
static OWN: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// Starts a child that only [`wait`] reaps.
pub(super) fn spawn(command: &mut Command) -> io::Result<Child> {
    // Held until the child is on the list: it may end at once. If the program cannot be run, `spawn` reaps by itself.
    let mut own = own();
    let child = command.spawn()?;
    own.push(Pid::from_child(&child));
    Ok(child)
}

/// Waits until a child that [`spawn`] has started has ended, and reaps it.
pub(super) fn wait(child: &mut Child) -> io::Result<ExitStatus> {
    let status = child.wait()?;
    let pid = Pid::from_child(child);
    own().retain(|own| *own != pid);
    Ok(status)
}

/// Reaps the children that have ended and that no thread of ours waits for. It is for process 1: other processes inherit
/// none. Without `/proc` it does nothing.
pub fn reap() {
    for pid in zombies() {
        let own = own();
        if !own.contains(&pid) {
            // An error means that it is not a child of ours any more.
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
}

fn own() -> MutexGuard<'static, Vec<Pid>> {
    OWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The children of this process that have ended and are not reaped.
fn zombies() -> impl Iterator<Item = Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw));
    pids.filter(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
        is_zombie_of(&stat, process::id())
    })
}

/// Whether this line of `/proc/PID/stat` is about a zombie with that parent (proc_pid_stat(5)).
fn is_zombie_of(stat: &str, parent: u32) -> bool {
    // The program's name comes before, in parentheses.
    stat.rsplit_once(") ").is_some_and(|(_, fields)| fields.starts_with(&format!("Z {parent} ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_zombies_with_this_parent_are_found() {
        assert!(is_zombie_of("17 (a) Z 1 (b) Z 1 17 17 0 -1", 1));
        assert!(is_zombie_of("17 (sleep) Z 1 17 17 0 -1", 1));
        assert!(!is_zombie_of("17 (sleep) Z 12 17 17 0 -1", 1));
        assert!(!is_zombie_of("17 (sleep) S 1 17 17 0 -1", 1));
        assert!(!is_zombie_of("17 (x) Z 1 ) S 1 17 17 0 -1", 1));
        assert!(!is_zombie_of("", 1));
    }
}
