//! Syncs of running programs, counted by the kernel: by perf, or by strace where perf may not count.

use std::fs;
use std::process::Child;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::server::Home;

const EVENTS: &str = "syscalls:sys_enter_fsync,syscalls:sys_enter_fdatasync";

/// Neither reports when it has begun.
const ATTACHED_AFTER: Duration = Duration::from_millis(500);

/// Finds the number of syncs in a report.
type Read = fn(&str) -> Option<f64>;

/// A program that counts until it is interrupted.
pub struct SyncCounter {
    program: Child,
    report: std::path::PathBuf,
    read: Read,
}

impl SyncCounter {
    /// None if neither of the two can count here.
    pub fn attach(home: &Home, pids: &[String]) -> Option<SyncCounter> {
        let pids = pids.join(",");
        let mut perf = home.tool("perf");
        perf.args(["stat", "--field-separator", ",", "--output", "syncs", "--event", EVENTS, "--pid", &pids]);
        let mut strace = home.tool("strace");
        strace.args(["-f", "-q", "-c", "-e", "trace=fsync,fdatasync", "-o", "syncs", "-p", &pids]);
        let counters: [(_, Read); 2] = [(perf, of_perf), (strace, of_strace)];
        counters.into_iter().find_map(|(mut command, read)| {
            let mut program = command.spawn().ok()?;
            std::thread::sleep(ATTACHED_AFTER);
            let is_counting = program.try_wait().ok()?.is_none();
            is_counting.then(|| SyncCounter { program, report: home.path("syncs"), read })
        })
    }

    pub fn count(mut self) -> Option<f64> {
        kill_process(Pid::from_child(&self.program), Signal::INT).ok()?;
        self.program.wait().ok()?;
        (self.read)(&fs::read_to_string(&self.report).ok()?)
    }
}

/// Lines of fields: the count, the unit, the event.
fn of_perf(report: &str) -> Option<f64> {
    let counts = report.lines().filter(|line| line.contains("sync")).map(|line| line.split(',').next()?.parse().ok());
    counts.collect::<Option<Vec<f64>>>().filter(|counts| !counts.is_empty()).map(|counts| counts.iter().sum())
}

/// A table: share, seconds, microseconds a call, calls, errors, name. It is empty where there was no call.
fn of_strace(report: &str) -> Option<f64> {
    let calls = report.lines().filter(|line| line.trim_end().ends_with("sync"));
    calls.map(|line| line.split_whitespace().nth(3)?.parse::<f64>().ok()).sum()
}
