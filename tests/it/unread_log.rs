//! Standard error and standard output lead to pipes that are full and not read.

use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pipe::pipe;
use rustix::process::{Pid, kill_process};

use crate::support::{Address, Connection, Home, Request, SOURCE, Signal, wait_for, wait_longer_for};

/// Far beyond every bound of a stop: the configured `stop_timeout` of a second, and that of the last lines.
const STOP_DEADLINE: Duration = Duration::from_secs(40);

/// What fills the pipes before the program starts.
const FILLER: u8 = b'#';

/// The end to read, and the full one to write to.
fn full_pipe() -> (OwnedFd, OwnedFd) {
    let (read, write) = pipe().unwrap();
    fcntl_setfl(&write, OFlags::NONBLOCK).unwrap();
    let block = [FILLER; 4096];
    while rustix::io::write(&write, &block).is_ok() {}
    fcntl_setfl(&write, OFlags::empty()).unwrap();
    (read, write)
}

/// `serve` on a Unix socket, because it cannot tell its port. Killed when it is dropped.
struct Unread {
    home: Home,
    child: Child,
    socket: PathBuf,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

impl Unread {
    fn start(home: Home) -> Unread {
        let (stdout, to_stdout) = full_pipe();
        let (stderr, to_stderr) = full_pipe();
        let socket = home.path("socket");
        let mut command = home.command();
        command.args(["--listen", &format!("unix:{}", socket.display()), "--admin", "off"]);
        let child = command.stdin(Stdio::null()).stdout(to_stdout).stderr(to_stderr).spawn().unwrap();
        Unread { home, child, socket, stdout, stderr }
    }

    fn connect(&self) -> Connection {
        wait_for("the socket", || Address::Unix(self.socket.clone()).try_connect().ok())
    }

    #[track_caller]
    fn deliver(&self, connection: &mut Connection, id: &str) {
        connection.send(&Request::github("issues", id, "{}").bytes());
        assert_eq!(connection.response().status, 200, "{id}");
    }

    #[track_caller]
    fn assert_alive(&self) {
        let mut connection = self.connect();
        connection.send(&Request::get("/healthz").bytes());
        let response = connection.response();
        assert_eq!((response.status, response.text().trim()), (200, "ok"));
    }

    #[track_caller]
    fn stop(&mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        wait_longer_for("the end", STOP_DEADLINE, || self.child.try_wait().unwrap())
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of a pipe from now on, without what filled it.
fn lines(pipe: &OwnedFd) -> impl Iterator<Item = String> + use<> {
    let file = std::fs::File::from(pipe.as_fd().try_clone_to_owned().unwrap());
    let text = |line: Vec<u8>| String::from_utf8_lossy(&line).trim_start_matches(char::from(FILLER)).to_owned();
    BufReader::new(file).split(b'\n').map(move |line| text(line.unwrap()))
}

#[test]
fn nobody_reads_the_log_and_1500_deliveries_are_answered_and_processed_later() {
    let home = Home::with_config(&format!("stop_timeout = '1s'\n{SOURCE}[actions.log]\nkind = 'log'\non = ['*']\n"));
    // The watchdog asks every tenth of a second.
    let mut unread = Unread::start(home.env("WATCHDOG_USEC", "200000"));
    let mut connection = unread.connect();
    for number in 0..1500 {
        unread.deliver(&mut connection, &format!("d-{number}"));
    }
    unread.assert_alive();
    assert_eq!(unread.child.try_wait().unwrap(), None, "the watchdog has ended it");
    assert_eq!(unread.home.query::<i64>("SELECT count(*) FROM webhook_events WHERE status = 'processed'"), [0]);
    assert_eq!(unread.stop().code(), Some(0), "within its bound");
    assert_eq!(unread.home.query::<String>("SELECT DISTINCT state FROM jobs"), ["queued"]);
    unread.child = unread
        .home
        .command()
        .args(["--listen", "127.0.0.1:0", "--admin", "off"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(unread.child.stdout.take().unwrap());
    let handled = stdout.lines().map_while(Result::ok).filter(|line| line.contains("Handling event")).take(1500);
    assert!(handled.last().unwrap().contains("(delivery d-1499)"));
}

#[test]
fn dropped_lines_are_told_when_the_log_is_read_again() {
    let mut unread = Unread::start(Home::with_config(&format!("{SOURCE}[actions]\n")));
    let mut connection = unread.connect();
    let long = "x".repeat(200);
    for number in 0..1500 {
        unread.deliver(&mut connection, &format!("{long}-{number}"));
    }
    let mut lines = lines(&unread.stderr);
    let notice = lines.by_ref().find(|line| line.contains(" lines were dropped")).unwrap();
    let (_, count) = notice.split_once("WARN  ").unwrap();
    let count: usize = count.split(' ').next().unwrap().parse().unwrap();
    assert!((1..1500).contains(&count), "{notice}");
    unread.deliver(&mut connection, "at last");
    assert!(lines.any(|line| line.contains("at last")));
    assert_eq!(unread.stop().code(), Some(0));
    assert_eq!(lines.last().unwrap().split_once("INFO  ").unwrap().1, "stopped");
}

#[test]
fn a_start_that_fails_ends_although_nobody_reads_why() {
    let mut unread = Unread::start(Home::with_config("listne = 1\n"));
    let status = wait_longer_for("the end", STOP_DEADLINE, || unread.child.try_wait().unwrap());
    assert_eq!(status.code(), Some(2));
}

#[test]
fn only_the_log_action_waits_where_only_standard_output_is_not_read() {
    let config = format!(
        "{SOURCE}[actions.log]\nkind = 'log'\non = ['*']\n\
        [actions.note]\nkind = 'command'\nrun = ['sh', '-c', 'echo >> noted']\non = ['*']\n"
    );
    let unread = Unread::start(Home::with_config(&config));
    let mut connection = unread.connect();
    unread.deliver(&mut connection, "d-1");
    unread.home.wait_for_file("noted");
    let open = "SELECT action FROM jobs WHERE state IN ('queued', 'running')";
    wait_for("the job to wait", || (unread.home.query::<String>(open) == ["log"]).then_some(()));
    let mut printed = lines(&unread.stdout);
    assert!(printed.next().unwrap().contains("Handling event issues (delivery d-1)"));
    let done = "SELECT action FROM jobs WHERE state = 'succeeded' ORDER BY action";
    wait_for("the job", || (unread.home.query::<String>(done) == ["log", "note"]).then_some(()));
}
