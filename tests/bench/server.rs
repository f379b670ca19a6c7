//! A program under measurement in its own directory, and the kernel's counters of it.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tempfile::TempDir;

use crate::load::SECRET;
use crate::peers::Rows;

/// A program that is not ready by then has failed.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// The directory of a program: its database, its configuration, its output.
pub struct Home(TempDir);

impl Home {
    /// In the build directory, which is on a disk: `/tmp` often is not.
    pub fn new() -> Home {
        let builder = tempfile::Builder::new().prefix("bench-").tempdir_in(env!("CARGO_TARGET_TMPDIR"));
        Home(builder.unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn with_config(self, text: &str) -> Home {
        let source = "[sources.github]\nprovider = \"github\"\nsecret = \"env:GITHUB_WEBHOOK_SECRET\"\n";
        fs::write(self.path("hookbox.toml"), format!("{text}\n{source}")).unwrap();
        self
    }

    pub fn database(&self) -> Connection {
        let database = Connection::open(self.path("webhooks.db")).unwrap();
        database.busy_timeout(START_TIMEOUT).unwrap();
        database
    }

    /// A database with our schema and nothing in it.
    pub fn with_schema(self) -> Home {
        Server::start(&self, &hookbox()).stop();
        self
    }

    /// A database in which so many events with this payload wait to be processed.
    pub fn with_backlog(self, events: i64, payload: &str) -> Home {
        let home = self.with_schema();
        let database = home.database();
        database.pragma_update(None, "synchronous", "OFF").unwrap();
        Rows::usual("unprocessed", payload, events).insert(&database);
        home
    }

    pub fn count(&self, sql: &str) -> i64 {
        self.database().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// `program` in this home. Its output goes to files, so that no pipe has to be read.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let output = |name: &str| File::create(self.path(name)).unwrap();
        let mut command = self.tool(program);
        command.stdout(output("stdout")).stderr(output("stderr"));
        command
    }

    /// The same without any output.
    pub fn tool(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.0.path()).env("GITHUB_WEBHOOK_SECRET", SECRET);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

/// The program that users run: `cargo bench` builds it with the release profile. `HOOKBOX_BIN` names another one.
pub fn hookbox() -> PathBuf {
    std::env::var_os("HOOKBOX_BIN")
        .map_or_else(|| env!("CARGO_BIN_EXE_hookbox").into(), |path| std::path::absolute(path).unwrap())
}

/// The builds whose memory is measured, with what to call them.
pub fn builds() -> Vec<(&'static str, PathBuf)> {
    let named = std::env::var_os("HOOKBOX_BENCH_BIN").map(|path| ("static build", std::path::absolute(path).unwrap()));
    [Some(("release build", hookbox())), named].into_iter().flatten().collect()
}

/// A running program that listens. Killed when it is dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
}

impl Server {
    pub fn start(home: &Home, program: &Path) -> Server {
        Server::start_with(home, home.command(program))
    }

    /// `command` begins one of our programs.
    pub fn start_with(home: &Home, mut command: Command) -> Server {
        let mut server = Server::spawn(command.args(["--listen", "127.0.0.1:0"]));
        wait_until_up(&command, || {
            let told = fs::read_to_string(home.path("stderr")).unwrap();
            server.address = told.lines().find_map(address_in)?;
            Some(())
        });
        server
    }

    /// `command` begins a program that listens at `address`, and is up when `is_ready` says so.
    pub fn start_at(address: SocketAddr, mut command: Command, is_ready: impl Fn() -> bool) -> Server {
        let mut server = Server::spawn(&mut command);
        server.address = address;
        wait_until_up(&command, || {
            let ended = server.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ends at once: {command:?}");
            is_ready().then_some(())
        });
        server
    }

    /// Its output is thrown away, because writing it is not a part of what is measured.
    pub fn start_quietly(home: &Home, program: &Path) -> Server {
        let address = free_address();
        let mut command = home.tool(program);
        command.args(["--listen", &address.to_string()]);
        Server::start_at(address, command, || TcpStream::connect(address).is_ok())
    }

    fn spawn(command: &mut Command) -> Server {
        Server { child: command.spawn().unwrap(), address: ([127, 0, 0, 1], 0).into() }
    }

    /// SIGTERM, and waits for the end. What the kernel has counted can still be read.
    pub fn stop(self) -> Server {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).unwrap();
        waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).unwrap();
        self
    }

    pub fn pid(&self) -> String {
        self.child.id().to_string()
    }

    /// The reading end of a pipe that `command` was given as its standard output.
    pub fn take_stdout(&mut self) -> std::process::ChildStdout {
        self.child.stdout.take().unwrap()
    }

    /// The largest resident set so far.
    pub fn peak_mb(&self) -> f64 {
        self.status("VmHWM:") / 1024.0
    }

    pub fn resident_mb(&self) -> f64 {
        self.status("VmRSS:") / 1024.0
    }

    /// Bytes that the program has caused to be written to a disk.
    pub fn written_bytes(&self) -> f64 {
        number_after(&self.read("io"), "\nwrite_bytes:")
    }

    /// How often its threads went to sleep.
    pub fn sleeps(&self) -> f64 {
        let tasks = fs::read_dir(self.proc("task")).unwrap().flatten();
        let status = |task: fs::DirEntry| fs::read_to_string(task.path().join("status")).unwrap_or_default();
        tasks.map(|task| number_after(&status(task), "voluntary_ctxt_switches:")).sum()
    }

    /// Time on a processor, user and system, over all threads; the kernel counts it in nanoseconds.
    pub fn cpu(&self) -> Duration {
        let tasks = fs::read_dir(self.proc("task")).unwrap().flatten();
        let spent = |task: fs::DirEntry| fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        let first = |text: String| text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0);
        Duration::from_nanos(tasks.map(|task| first(spent(task))).sum())
    }

    /// Time on a processor, also that of threads which have ended; in hundredths of a second (`man 5 proc_pid_stat`).
    pub fn process_cpu(&self) -> Duration {
        let stat = self.read("stat");
        let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let ticks = after_name.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>();
        Duration::from_millis(ticks * 10)
    }

    fn status(&self, field: &str) -> f64 {
        number_after(&self.read("status"), field)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.proc(name)).unwrap()
    }

    fn proc(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.child.id()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap()
}

fn wait_until_up<T>(command: &Command, mut is_up: impl FnMut() -> Option<T>) {
    let started = Instant::now();
    while is_up().is_none() {
        assert!(started.elapsed() < START_TIMEOUT, "it does not start: {command:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// `... listening on http://127.0.0.1:40123`.
fn address_in(line: &str) -> Option<SocketAddr> {
    let (_, address) = line.split_once("listening on http://")?;
    address.trim_end_matches('/').parse().ok()
}

fn number_after(text: &str, field: &str) -> f64 {
    let (_, rest) = text.split_once(field).unwrap_or(("", "0"));
    rest.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0.0)
}
