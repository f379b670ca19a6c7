//! A child process in a process group of its own, fed and drained without ever waiting for it alone.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::MAX_DETAIL_BYTES;
use crate::stop::Stop;

/// How long a group has between TERM and KILL.
const TERM_GRACE: Duration = Duration::from_secs(5);

/// How often the child and the stop flag are looked at while nothing can be read or written.
const TICK: Duration = Duration::from_millis(20);

/// After the child's end its group is killed; what it had written is then in the pipes, and its descendants' ends close.
const DRAIN: Duration = Duration::from_secs(1);

/// From TERM to the end of [`run`], with some time for a busy machine.
pub(super) const CLEAN_UP: Duration = Duration::from_secs(TERM_GRACE.as_secs() + DRAIN.as_secs() + 1);

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Code(i32),
    Signal(i32),
    TimedOut,
    Interrupted,
}

#[derive(Debug)]
pub(super) struct Finished {
    pub(super) exit: Exit,
    /// The beginning of what it wrote to standard output and standard error, as they came.
    pub(super) output: Vec<u8>,
}

/// Runs a command to its end, with `input` on its standard input. At `timeout`, or `grace` after the stop flag is set, its
/// whole group gets TERM, and KILL a little later. Nothing of the group is left afterwards.
pub(super) fn run(
    mut command: Command,
    input: &[u8],
    timeout: Duration,
    stop: &Stop,
    grace: Duration,
) -> io::Result<Finished> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut group = Group { child: command.spawn()?, is_reaped: false };
    let mut pipes = Pipes::of(&mut group.child, input)?;
    let mut ending = Ending { deadline: Instant::now() + timeout, stop_seen: false, cause: None };
    while !group.leader_has_ended()? {
        pipes.exchange(TICK)?;
        ending.look(&group, stop, grace);
    }
    let status = group.end()?;
    let drained_by = Instant::now() + DRAIN;
    while pipes.is_open() && Instant::now() < drained_by {
        pipes.exchange(TICK)?;
    }
    Ok(Finished { exit: ending.cause.unwrap_or_else(|| exit_of(status)), output: pipes.output })
}

/// When and why a child is made to end.
struct Ending {
    deadline: Instant,
    stop_seen: bool,
    cause: Option<Exit>,
}

impl Ending {
    fn look(&mut self, group: &Group, stop: &Stop, grace: Duration) {
        if stop.is_set() && !self.stop_seen {
            self.stop_seen = true;
            self.deadline = self.deadline.min(Instant::now() + grace);
        }
        if Instant::now() < self.deadline {
            return;
        }
        let signal = if self.cause.is_none() { Signal::TERM } else { Signal::KILL };
        let cause = if self.stop_seen { Exit::Interrupted } else { Exit::TimedOut };
        self.cause.get_or_insert(cause);
        group.kill(signal);
        self.deadline = Instant::now() + TERM_GRACE;
    }
}

/// A child that leads a process group. Whatever happens, the group does not outlive this.
struct Group {
    child: Child,
    is_reaped: bool,
}

impl Group {
    /// The leader is not reaped by this: until it is, nobody else can get its number, and a signal to the group cannot
    /// reach strangers.
    fn leader_has_ended(&self) -> io::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(Pid::from_child(&self.child)), options)?.is_some())
    }

    /// Ends whatever the leader has left behind, then reaps it.
    fn end(&mut self) -> io::Result<ExitStatus> {
        self.kill(Signal::KILL);
        let status = self.child.wait()?;
        self.is_reaped = true;
        Ok(status)
    }

    fn kill(&self, signal: Signal) {
        // The group may be gone, which is what was wanted.
        let _ = kill_process_group(Pid::from_child(&self.child), signal);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.is_reaped {
            let _ = self.end();
        }
    }
}

/// Our ends of the child's three pipes; each is gone once it has been closed.
struct Pipes<'a> {
    input: Option<(ChildStdin, &'a [u8])>,
    sources: Vec<Box<dyn Source>>,
    output: Vec<u8>,
}

trait Source: Read + AsFd {}
impl<T: Read + AsFd> Source for T {}

impl<'a> Pipes<'a> {
    fn of(child: &mut Child, input: &'a [u8]) -> io::Result<Pipes<'a>> {
        let mut sources: Vec<Box<dyn Source>> = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            sources.push(Box::new(stdout));
        }
        if let Some(stderr) = child.stderr.take() {
            sources.push(Box::new(stderr));
        }
        let input = child.stdin.take().map(|stdin| (stdin, input));
        let fds = sources.iter().map(|source| source.as_fd()).chain(input.iter().map(|(stdin, _)| stdin.as_fd()));
        fds.into_iter().try_for_each(set_nonblocking)?;
        Ok(Pipes { input, sources, output: Vec::new() })
    }

    fn is_open(&self) -> bool {
        !self.sources.is_empty()
    }

    /// Waits until something can be written or read, `timeout` at most, and does it.
    fn exchange(&mut self, timeout: Duration) -> io::Result<()> {
        let writes = self.input.iter().map(|(stdin, _)| PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::OUT));
        let reads = self.sources.iter().map(|source| PollFd::from_borrowed_fd(source.as_fd(), PollFlags::IN));
        let mut fds: Vec<PollFd<'_>> = writes.chain(reads).collect();
        let timeout = Timespec { tv_sec: 0, tv_nsec: timeout.subsec_nanos().into() };
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        drop(fds);
        self.feed();
        self.drain();
        Ok(())
    }

    /// A child may close its standard input whenever it has read enough.
    fn feed(&mut self) {
        let Some((stdin, rest)) = &mut self.input else { return };
        match stdin.write(rest) {
            Ok(written_bytes) => *rest = &rest[written_bytes..],
            Err(error) if is_not_now(&error) => return,
            Err(_) => *rest = &[],
        }
        if rest.is_empty() {
            self.input = None;
        }
    }

    /// Keeps the beginning and throws away the rest: a child that writes without end must neither stall nor fill memory.
    fn drain(&mut self) {
        let mut buffer = [0; 16 << 10];
        let output = &mut self.output;
        self.sources.retain_mut(|source| match source.read(&mut buffer) {
            Ok(0) => false,
            Ok(read_bytes) => {
                let room_bytes = MAX_DETAIL_BYTES - output.len();
                output.extend_from_slice(&buffer[..read_bytes.min(room_bytes)]);
                true
            }
            Err(error) => is_not_now(&error),
        });
    }
}

fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)?)
}

fn is_not_now(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn exit_of(status: ExitStatus) -> Exit {
    status.code().map_or_else(|| Exit::Signal(status.signal().unwrap_or_default()), Exit::Code)
}
