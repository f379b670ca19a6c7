//! A child process in a process group of its own. Writing to it, reading from it and waiting for it happen in one loop, so
//! that no full pipe blocks the run.

use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, test_kill_process_group, waitid};

use super::orphans;
use crate::stop::Stop;

/// How long a group has between TERM and KILL.
const TERM_GRACE: Duration = Duration::from_secs(5);

/// How often the child and the stop flag are polled while its pipes are not ready.
const TICK: Duration = Duration::from_millis(20);

/// How long a group has after its leader has ended by itself: a script whose last line is `setsid program &` ends before
/// the program has left the group. That takes some milliseconds, and a hundred times as long on a busy Raspberry Pi.
const LEAVE_GRACE: Duration = Duration::from_secs(2);

/// How often the group is looked at meanwhile.
const LEAVE_TICK: Duration = Duration::from_millis(5);

/// How long the pipes are read after the group was killed: its output is in them, and its ends are closed.
const DRAIN: Duration = Duration::from_secs(1);

/// From TERM to the end of [`run`], with a reserve for a busy machine.
pub(super) const CLEAN_UP: Duration =
    Duration::from_secs(TERM_GRACE.as_secs() + LEAVE_GRACE.as_secs() + DRAIN.as_secs() + 1);

/// How likely the kernel ends a command when memory runs out, from -1000 to 1000 (proc_pid_oom_score_adj(5)). Ours is 0 or
/// less, so that it ends a command first, and deliveries are still received.
const OOM_SCORE_ADJ: i32 = 500;

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
    /// The beginning of its standard output and standard error, in the order of arrival.
    pub(super) output: Vec<u8>,
    /// It had more output than was to be kept.
    pub(super) is_cut: bool,
}

/// The limits of a run.
pub(super) struct Limits<'a> {
    /// At its end, or `grace` after the stop flag is set, the process group gets TERM, and KILL a little later.
    pub(super) timeout: Duration,
    pub(super) stop: &'a Stop,
    pub(super) grace: Duration,
    /// How much of its output is kept.
    pub(super) output_bytes: usize,
}

/// Runs a command with `input` on its standard input. The whole process group has ended when this returns; what has left it
/// lives on.
pub(super) fn run(mut command: Command, input: &[u8], limits: &Limits<'_>) -> io::Result<Finished> {
    let (output, childs_end) = io::pipe()?;
    command.stdin(Stdio::piped()).stdout(childs_end.try_clone()?).stderr(childs_end).process_group(0);
    let mut group = Group { child: orphans::spawn(&mut command)?, is_reaped: false };
    prefer_for_oom(&group.child);
    // It has ends of the pipe too, and the output ends only when all of them are closed.
    drop(command);
    let mut pipes = Pipes::of(group.child.stdin.take(), input, output, limits.output_bytes)?;
    let mut deadline = Deadline { at: Instant::now() + limits.timeout, is_stopping: false, cause: None };
    while !group.leader_has_ended()? {
        pipes.exchange(TICK)?;
        deadline.enforce(&group, limits.stop, limits.grace);
    }
    let status = if deadline.cause.is_some() { group.end()? } else { group.leave(&mut pipes)? };
    let drained_by = Instant::now() + DRAIN;
    while pipes.output.is_some() && Instant::now() < drained_by {
        pipes.exchange(TICK)?;
    }
    Ok(Finished {
        exit: deadline.cause.unwrap_or_else(|| exit_of(status)),
        output: pipes.received,
        is_cut: pipes.is_cut,
    })
}

/// When the group gets its next signal, and why it got the first.
struct Deadline {
    at: Instant,
    is_stopping: bool,
    cause: Option<Exit>,
}

impl Deadline {
    fn enforce(&mut self, group: &Group, stop: &Stop, grace: Duration) {
        if stop.is_set() && !self.is_stopping {
            self.is_stopping = true;
            self.at = self.at.min(Instant::now() + grace);
        }
        if Instant::now() < self.at {
            return;
        }
        let signal = if self.cause.is_none() { Signal::TERM } else { Signal::KILL };
        let cause = if self.is_stopping { Exit::Interrupted } else { Exit::TimedOut };
        self.cause.get_or_insert(cause);
        group.kill(signal);
        self.at = Instant::now() + TERM_GRACE;
    }
}

/// A child that leads a process group. Dropping it ends the group.
struct Group {
    child: Child,
    is_reaped: bool,
}

impl Group {
    /// Does not reap the leader: until it is reaped, its process id cannot be used again, and a signal to the group cannot
    /// reach an unrelated process.
    fn leader_has_ended(&self) -> io::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(Pid::from_child(&self.child)), options)?.is_some())
    }

    /// Ends the rest of the group, then reaps the leader.
    fn end(&mut self) -> io::Result<ExitStatus> {
        self.kill(Signal::KILL);
        self.reap()
    }

    /// Reaps the leader, which has ended, gives the rest of the group time to leave it, and then ends what is still in it.
    fn leave(&mut self, pipes: &mut Pipes<'_>) -> io::Result<ExitStatus> {
        let status = self.reap()?;
        let leave_by = Instant::now() + LEAVE_GRACE;
        while self.has_members() && Instant::now() < leave_by {
            pipes.exchange(LEAVE_TICK)?;
        }
        // The number of a group is not used again while it has members.
        if self.has_members() {
            self.kill(Signal::KILL);
        }
        Ok(status)
    }

    fn reap(&mut self) -> io::Result<ExitStatus> {
        let status = orphans::wait(&mut self.child)?;
        self.is_reaped = true;
        Ok(status)
    }

    /// Only once the leader is reaped: until then, it is a member.
    fn has_members(&self) -> bool {
        test_kill_process_group(Pid::from_child(&self.child)).is_ok()
    }

    fn kill(&self, signal: Signal) {
        // An error means that the group has ended already.
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

/// Our ends of the child's two pipes, as far as they are open.
struct Pipes<'a> {
    input: Option<(ChildStdin, &'a [u8])>,
    output: Option<PipeReader>,
    received: Vec<u8>,
    room_bytes: usize,
    is_cut: bool,
}

impl<'a> Pipes<'a> {
    fn of(stdin: Option<ChildStdin>, input: &'a [u8], output: PipeReader, room_bytes: usize) -> io::Result<Pipes<'a>> {
        stdin.iter().map(AsFd::as_fd).chain([output.as_fd()]).try_for_each(set_nonblocking)?;
        let input = stdin.map(|stdin| (stdin, input));
        Ok(Pipes { input, output: Some(output), received: Vec::new(), room_bytes, is_cut: false })
    }

    /// Writes and reads what is ready; waits for it, `timeout` at most.
    fn exchange(&mut self, timeout: Duration) -> io::Result<()> {
        let writes = self.input.iter().map(|(stdin, _)| PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::OUT));
        let reads = self.output.iter().map(|output| PollFd::from_borrowed_fd(output.as_fd(), PollFlags::IN));
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

    /// Writes input until the child has all of it, or has closed its standard input.
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

    /// Keeps the beginning and discards the rest: a child that writes endlessly neither blocks nor fills memory.
    fn drain(&mut self) {
        let Some(output) = &mut self.output else { return };
        let mut buffer = [0; 16 << 10];
        match output.read(&mut buffer) {
            Ok(read_bytes) if read_bytes > 0 => {
                let kept_bytes = read_bytes.min(self.room_bytes);
                self.received.extend_from_slice(&buffer[..kept_bytes]);
                self.room_bytes -= kept_bytes;
                self.is_cut |= kept_bytes < read_bytes;
            }
            Err(error) if is_not_now(&error) => {}
            Ok(_) | Err(_) => self.output = None,
        }
    }
}

/// Where that is not possible, as in a container without `/proc`, the kernel decides as it does otherwise.
fn prefer_for_oom(child: &Child) {
    let path = format!("/proc/{}/oom_score_adj", child.id());
    let current = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse::<i32>().ok());
    if current.is_some_and(|current| current < OOM_SCORE_ADJ) {
        let _ = std::fs::write(&path, OOM_SCORE_ADJ.to_string());
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
