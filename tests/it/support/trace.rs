//! The program under `strace`: its system calls in order, and faults in them.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::Home;
use super::program::runner;
use super::wait_for;

/// One system call. `began` and `ended` are positions in the trace: one that ended before another began is before it.
pub struct Call {
    pub name: String,
    /// The first argument, which is a descriptor in all traced calls.
    pub fd: String,
    pub text: String,
    pub began: usize,
    pub ended: usize,
}

impl Call {
    pub fn is_sync(&self) -> bool {
        matches!(self.name.as_str(), "fsync" | "fdatasync")
    }

    pub fn is_file_write(&self) -> bool {
        matches!(self.name.as_str(), "pwrite64" | "pwritev" | "pwritev2")
    }

    pub fn is_read(&self) -> bool {
        matches!(self.name.as_str(), "read" | "readv" | "recvfrom" | "recvmsg")
    }
}

/// The same home with the program traced into the file `trace`. `None` if that is not possible here.
pub fn strace(home: Home) -> Option<Home> {
    let calls = "trace=fsync,fdatasync,pwrite64,pwritev,read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg";
    // -s: whole pages and requests.
    traced(home, &["-s", "70000", "-e", calls])
}

/// The same home with `fault` injected into the program's system calls, as strace's `inject` describes it.
pub fn strace_injecting(home: Home, fault: &str) -> Option<Home> {
    let call = fault.split(':').next().unwrap_or_default();
    traced(home, &["-e", &format!("trace={call}"), "-e", &format!("inject={fault}")])
}

fn traced(home: Home, how: &[&str]) -> Option<Home> {
    if !can_trace() {
        return None;
    }
    // -D: the program stays our child, and gets our signals.
    let words = [&["strace", "-D", "-f", "-e", "signal=none", "-o", "trace"], how].concat();
    Some(home.wrapped_in(&words))
}

/// Whether the program can be traced here. Otherwise the test prints that it is skipped.
pub fn can_trace() -> bool {
    let mut trial = Command::new("strace");
    trial.args(["-o", "/dev/null", "true"]).stdout(Stdio::null()).stderr(Stdio::null());
    if !trial.status().is_ok_and(|status| status.success()) || !runner().is_empty() {
        println!("skipped: strace is not installed, not permitted, or the program is emulated");
        return false;
    }
    true
}

/// `strace` of a process that runs already, or of one of its threads. Ends with it, or when this is dropped.
pub struct Tracer(Child);

impl Tracer {
    pub fn attach(id: u32, how: &[&str]) -> Tracer {
        let mut command = Command::new("strace");
        command.args(["-p", &id.to_string(), "-e", "signal=none"]).args(how);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut tracer = Tracer(child);
        let line = format!("TracerPid:\t{}\n", tracer.0.id());
        let status = format!("/proc/{id}/status");
        let is_attached = || std::fs::read_to_string(&status).is_ok_and(|text| text.contains(&line));
        // A fault in the call that is interrupted may have ended both at once.
        wait_for("strace", || (is_attached() || tracer.0.try_wait().unwrap().is_some()).then_some(()));
        tracer
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process(rustix::process::Pid::from_child(&self.0), super::Signal::TERM);
        let _ = self.0.wait();
    }
}

/// The same home with some system calls of the program failing: `pwrite64:error=EIO:when=30+37` lets every 37th from the
/// 30th on fail. `None` if that is not possible here.
pub fn strace_failing(home: Home, fault: &str) -> Option<Home> {
    strace(home).map(|home| {
        let inject = format!("inject={fault}");
        home.wrapped_in(&[
            "strace",
            "-D",
            "-f",
            "-e",
            "trace=pwrite64,fsync,fdatasync",
            "-e",
            "signal=none",
            "-e",
            &inject,
            "-o",
            "/dev/null",
        ])
    })
}

impl Call {
    /// All calls of a trace in the order in which they ended.
    pub fn read_all(trace: &Path) -> Vec<Call> {
        let trace = std::fs::read(trace).unwrap();
        let mut unfinished: HashMap<String, Call> = HashMap::new();
        let mut calls = Vec::new();
        for (at, line) in String::from_utf8_lossy(&trace).lines().enumerate() {
            let Some((thread, rest)) = line.split_once(' ') else { continue };
            let rest = rest.trim_start();
            if let Some((_, resumed)) = rest.split_once(" resumed>") {
                if let Some(mut call) = unfinished.remove(thread) {
                    call.text.push_str(resumed);
                    call.ended = at;
                    calls.push(call);
                }
                continue;
            }
            let Some((name, arguments)) = rest.split_once('(') else { continue };
            let fd: String = arguments.chars().take_while(char::is_ascii_digit).collect();
            let call = Call { name: name.to_owned(), fd, text: arguments.to_owned(), began: at, ended: at };
            if rest.ends_with("<unfinished ...>") {
                unfinished.insert(thread.to_owned(), call);
            } else {
                calls.push(call);
            }
        }
        calls
    }
}
