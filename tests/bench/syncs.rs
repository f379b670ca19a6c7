//! Syncs of running programs, counted by the kernel for perf, or by strace where perf may not count.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::server::Home;

const EVENTS: &str = "syscalls:sys_enter_fsync,syscalls:sys_enter_fdatasync";

/// Neither reports when it has begun.
const ATTACHED_AFTER: Duration = Duration::from_millis(500);

/// What counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SyncCounter {
    /// Costs the program nothing.
    Perf,
    /// Makes the program several times slower, so that it commits fewer deliveries at once, or more.
    Strace,
}

/// It counts until it is interrupted.
pub struct Counting {
    counter: SyncCounter,
    process: Child,
    report: PathBuf,
}

impl SyncCounter {
    pub fn available() -> Option<SyncCounter> {
        let mut perf = Command::new("perf");
        perf.args(["stat", "--event", EVENTS, "true"]);
        let mut strace = Command::new("strace");
        strace.args(["-o", "/dev/null", "true"]);
        let works = |(counter, mut command): (SyncCounter, Command)| {
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success()).then_some(counter)
        };
        [(SyncCounter::Perf, perf), (SyncCounter::Strace, strace)].into_iter().find_map(works)
    }

    pub fn attach(self, home: &Home, pids: &[String]) -> Counting {
        let report = home.path("syncs");
        let pids = pids.join(",");
        let mut command = match self {
            SyncCounter::Perf => {
                let mut perf = home.tool("perf");
                perf.args(["stat", "--field-separator", ",", "--event", EVENTS, "--pid", &pids, "--output"]);
                perf
            }
            SyncCounter::Strace => {
                let mut strace = home.tool("strace");
                strace.args(["-f", "-q", "-c", "-e", "trace=fsync,fdatasync", "-p", &pids, "-o"]);
                strace
            }
        };
        let process = command.arg(&report).spawn().unwrap();
        std::thread::sleep(ATTACHED_AFTER);
        Counting { counter: self, process, report }
    }
}

impl Counting {
    pub fn end(mut self) -> f64 {
        kill_process(Pid::from_child(&self.process), Signal::INT).unwrap();
        self.process.wait().unwrap();
        let report = fs::read_to_string(&self.report).unwrap();
        self.count_in(&report).unwrap_or_else(|| panic!("no count in {report:?}"))
    }

    fn count_in(&self, report: &str) -> Option<f64> {
        let lines = report.lines().map(str::trim_end);
        match self.counter {
            // Fields: the count, the unit, the event.
            SyncCounter::Perf => {
                lines.filter(|line| line.contains("sync")).map(|line| line.split(',').next()?.parse::<f64>().ok()).sum()
            }
            // Columns: share, seconds, microseconds a call, calls, name. No line where there was no call.
            SyncCounter::Strace => {
                let calls = lines.filter(|line| line.ends_with("sync"));
                calls.map(|line| line.split_whitespace().nth(3)?.parse::<f64>().ok()).sum()
            }
        }
    }
}
