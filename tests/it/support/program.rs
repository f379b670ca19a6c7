//! The program with its home: a directory, a config, an environment.

use std::ffi::OsString;
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::types::FromSql;
use rusqlite::{ToSql, params};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use super::{Address, Connection, Request, Response, SECRET, patient, take_turn, wait_for, wait_longer_for};

/// A command that runs to its end does so in milliseconds.
const COMMAND_DEADLINE: Duration = Duration::from_secs(20);

/// Its own directory, with or without a config, and an environment without the variables of this machine.
pub struct Home {
    dir: TempDir,
    env: Vec<(String, String)>,
    args: Vec<String>,
    listen: String,
    admin: Option<String>,
    wrapper: Vec<String>,
    stdout_unread: bool,
    passed: Option<TcpListener>,
    database: PathBuf,
}

impl Home {
    /// The built-in defaults, with a secret for the built-in source.
    pub fn new() -> Home {
        take_turn();
        let dir = tempfile::Builder::new().prefix("hookbox-test-").tempdir().unwrap();
        let home = Home {
            database: dir.path().join("webhooks.db"),
            dir,
            env: Vec::new(),
            args: Vec::new(),
            listen: "127.0.0.1:0".to_owned(),
            admin: Some("off".to_owned()),
            wrapper: Vec::new(),
            stdout_unread: false,
            passed: None,
        };
        let home = home.env("GITHUB_WEBHOOK_SECRET", SECRET);
        // Otherwise only root can look at its descriptors and counts.
        if rustix::process::geteuid().is_root() { home } else { home.env("HOOKBOX_DUMPABLE", "1") }
    }

    pub fn with_config(text: &str) -> Home {
        let home = Home::new();
        home.write("hookbox.toml", text);
        home
    }

    pub fn env(mut self, name: &str, value: &str) -> Home {
        self.env.retain(|(have, _)| have != name);
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn without_secret(self) -> Home {
        self.without_env("GITHUB_WEBHOOK_SECRET")
    }

    pub fn without_env(mut self, name: &str) -> Home {
        self.env.retain(|(have, _)| have != name);
        self
    }

    /// Another argument of `serve`, after `--listen`.
    pub fn arg(mut self, arg: &str) -> Home {
        self.args.push(arg.to_owned());
        self
    }

    pub fn listen(mut self, address: &str) -> Home {
        address.clone_into(&mut self.listen);
        self
    }

    /// With an admin listener on a free port.
    pub fn with_admin(self) -> Home {
        self.admin(Some("127.0.0.1:0"))
    }

    /// The same, and no client needs a token.
    pub fn with_open_admin(self) -> Home {
        let config = std::fs::read_to_string(self.path("hookbox.toml")).unwrap_or_default();
        let open = "[admin]\ntoken = \"none\"\n";
        let config = match config.contains("[admin]\n") {
            true => config.replace("[admin]\n", open),
            false => format!("{config}\n{open}"),
        };
        self.write("hookbox.toml", config);
        self.with_admin()
    }

    /// The address of the admin listener; `None` leaves it to the config.
    pub fn admin(mut self, address: Option<&str>) -> Home {
        self.admin = address.map(str::to_owned);
        self
    }

    /// A command that starts the program, and becomes it or passes signals on.
    pub fn wrapped_in(mut self, wrapper: &[&str]) -> Home {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Starts the program as a service manager with a listening socket does: the socket is descriptor 3.
    pub fn passing(self, listener: &TcpListener) -> Home {
        self.passing_as("http", listener)
    }

    /// The same with another name of the socket.
    pub fn passing_as(mut self, name: &str, listener: &TcpListener) -> Home {
        self.passed = Some(listener.try_clone().unwrap());
        let variables = format!("LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES={name}");
        let become_it = format!("exec 3<&0 </dev/null; {variables} exec \"$0\" \"$@\"");
        self.wrapped_in(&["sh", "-c", &become_it])
    }

    /// Another path of the database, for `serve` and for queries.
    pub fn database(mut self, path: &Path) -> Home {
        path.clone_into(&mut self.database);
        self.arg("--database").arg(&path.display().to_string())
    }

    /// Whether stdout of `serve` is left unread: once the pipe is full, printing blocks.
    pub fn stdout_unread(mut self, unread: bool) -> Home {
        self.stdout_unread = unread;
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub fn db(&self) -> rusqlite::Connection {
        let db = rusqlite::Connection::open(&self.database).unwrap();
        db.busy_timeout(patient(Duration::from_secs(5))).unwrap();
        db
    }

    /// The first column of every row.
    #[track_caller]
    pub fn query<T: FromSql>(&self, sql: &str) -> Vec<T> {
        let db = self.db();
        let mut statement = db.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }

    /// How many events are stored.
    #[track_caller]
    pub fn stored(&self) -> i64 {
        self.query("SELECT count(*) FROM webhook_events")[0]
    }

    /// The lines of a file in this directory; 0 if there is none.
    pub fn line_count(&self, name: &str) -> usize {
        std::fs::read_to_string(self.path(name)).map_or(0, |text| text.lines().count())
    }

    #[track_caller]
    pub fn wait_for_file(&self, name: &str) {
        wait_for(name, || self.path(name).exists().then_some(()));
    }

    /// Inserts an unprocessed event as another program does.
    #[track_caller]
    pub fn insert_event(&self, delivery_id: &str, payload: impl ToSql) {
        let sql = "INSERT INTO webhook_events
            (source, event_type, delivery_id, payload_json, received_at, processed_at, status)
            VALUES ('github', 'issues', ?1, ?2, '2025-01-31T12:00:00+00:00', NULL, 'unprocessed')";
        self.db().execute(sql, params![delivery_id, payload]).unwrap();
    }

    /// Holds SQLite's write lock, as another program does, until the returned value is dropped.
    #[track_caller]
    pub fn lock_database(&self) -> WriteLock {
        let db = self.db();
        db.execute_batch("BEGIN IMMEDIATE").unwrap();
        WriteLock(db)
    }

    #[track_caller]
    pub fn assert_sound(&self) {
        assert_eq!(self.query::<String>("PRAGMA integrity_check"), ["ok"]);
    }

    #[track_caller]
    pub fn start(self) -> Hookbox {
        self.try_start().unwrap_or_else(|ended| panic!("ended at once: {}", ended.1))
    }

    /// Starts `serve`. `Err` if it ended by itself.
    #[track_caller]
    pub fn try_start(self) -> Result<Hookbox, Box<(Home, Output)>> {
        let mut command = self.command();
        command.args(self.arguments());
        let mut process = Process::spawn(command, self.stdout_unread, self.passed.as_ref());
        match process.wait_until_listening() {
            Ok(address) => Ok(Hookbox { home: self, process, address }),
            Err(status) => Err(Box::new((self, process.output(status)))),
        }
    }

    /// `serve`, which must end by itself.
    #[track_caller]
    pub fn start_in_vain(&self) -> Output {
        self.run(self.arguments())
    }

    fn arguments(&self) -> Vec<String> {
        let admin = self.admin.iter().flat_map(|address| ["--admin", address]);
        let all = ["--listen", &self.listen].into_iter().chain(admin).chain(self.args.iter().map(String::as_str));
        all.map(str::to_owned).collect()
    }

    /// Runs a command to its end.
    #[track_caller]
    pub fn run<S: AsRef<str>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        let mut command = self.command();
        let args: Vec<String> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        command.args(&args);
        let mut process = Process::spawn(command, false, None);
        let what = format!("the end of: hookbox {}", args.join(" "));
        let status = wait_longer_for(&what, COMMAND_DEADLINE, || process.child.try_wait().unwrap());
        process.output(status)
    }

    /// Copies the program into this home, for a user who cannot read where it was built. By another process: a file that
    /// this one writes may be open in a child that another test starts at that moment, and then it cannot be executed.
    pub fn copy_program(&self) {
        let program = self.command().get_program().to_owned();
        assert!(Command::new("cp").arg(program).arg(self.path("hookbox")).status().unwrap().success());
    }

    /// The program in this home, without arguments, in a cleared environment.
    pub fn command(&self) -> Command {
        let program = std::env::var_os("HOOKBOX_BIN").unwrap_or_else(|| OsString::from(env!("CARGO_BIN_EXE_hookbox")));
        let mut words: Vec<OsString> = self.wrapper.iter().map(OsString::from).collect();
        words.extend(runner());
        words.push(program);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(self.dir.path()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.dir.path()).env("TMPDIR", self.dir.path());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// Another program's write transaction, which is rolled back when this is dropped.
pub struct WriteLock(#[expect(dead_code)] rusqlite::Connection);

/// Permissions bind the program, even when it runs as root. `None` if that cannot be arranged.
pub fn bound_by_permissions(home: Home) -> Option<Home> {
    if !rustix::process::geteuid().is_root() {
        return Some(home);
    }
    let words = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"];
    if !Command::new(words[0]).args(&words[1..]).arg("true").status().is_ok_and(|status| status.success()) {
        println!("skipped: setpriv is not there");
        return None;
    }
    Some(home.wrapped_in(&words))
}

/// The emulator for a program of another machine. `cross` sets `CROSS_RUNNER`.
pub fn runner() -> Vec<OsString> {
    if let Ok(runner) = std::env::var("HOOKBOX_RUNNER") {
        return runner.split_whitespace().map(OsString::from).collect();
    }
    match std::env::var("CROSS_RUNNER").as_deref() {
        Ok("qemu-user") => vec![OsString::from(format!("qemu-{}", std::env::consts::ARCH))],
        _ => Vec::new(),
    }
}

/// Whether this command succeeds, such as `strace --version`. Otherwise the test prints that it is skipped.
pub fn is_installed(program: &str, arguments: &[&str]) -> bool {
    let found = Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

/// `python3 -u` in this home. `None` if Python is not installed.
pub fn python(home: &Home) -> Option<Command> {
    if !is_installed("python3", &["--version"]) {
        return None;
    }
    let mut command = Command::new("python3");
    command.arg("-u").current_dir(home.path("."));
    Some(command)
}

/// The running program. Killed when it is dropped; if the test fails, what it printed is shown.
pub struct Hookbox {
    home: Home,
    process: Process,
    address: Address,
}

impl Deref for Hookbox {
    type Target = Home;

    fn deref(&self) -> &Home {
        &self.home
    }
}

impl Hookbox {
    pub fn address(&self) -> Address {
        self.address.clone()
    }

    /// The address of the admin listener.
    #[track_caller]
    pub fn admin_address(&self) -> Address {
        let told = |line: &str| address_after("page and metrics: ", line);
        wait_for("the address of the page", || self.stderr().lines().find_map(told))
    }

    pub fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.address.tcp())
    }

    pub fn connect(&self) -> Connection {
        self.address.connect()
    }

    #[track_caller]
    pub fn send(&self, request: &Request) -> Response {
        self.address.send(request)
    }

    /// Delivers an event, which must be acknowledged.
    #[track_caller]
    pub fn deliver(&self, event: &str, id: &str, body: impl AsRef<[u8]>) {
        let response = self.send(&Request::github(event, id, body));
        assert_eq!(response.status, 200, "{}", response.text());
    }

    /// The program answers and is healthy.
    #[track_caller]
    pub fn assert_alive(&self) {
        let response = self.send(&Request::get("/healthz"));
        assert_eq!(response.status, 200, "{}", response.text());
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.process.child)
    }

    /// Begins to read a stdout that was left unread.
    pub fn read_stdout(&mut self) {
        if let Some(stdout) = self.process.unread.take() {
            self.process.stdout = Captured::from(stdout);
        }
    }

    pub fn stdout(&self) -> String {
        self.process.stdout.text()
    }

    pub fn stderr(&self) -> String {
        self.process.stderr.text()
    }

    #[track_caller]
    pub fn wait_for_stdout(&self, text: &str) {
        wait_for(&format!("{text:?} on stdout"), || self.stdout().contains(text).then_some(()));
    }

    #[track_caller]
    pub fn wait_for_stderr(&self, text: &str) {
        wait_for(&format!("{text:?} on stderr"), || self.stderr().contains(text).then_some(()));
    }

    /// Waits until no stored event is unprocessed.
    #[track_caller]
    pub fn wait_until_done(&self) {
        let open = "SELECT count(*) FROM webhook_events WHERE status = 'unprocessed'";
        wait_for("every event to be processed", || (self.query::<i64>(open)[0] == 0).then_some(()));
    }

    /// Waits until a thread asks again and again for the lock that another program has on the database: nothing else in the
    /// program sleeps by the clock.
    #[track_caller]
    pub fn wait_until_it_waits_for_the_lock(&self) {
        let tasks = || std::fs::read_dir(format!("/proc/{}/task", self.process.child.id())).unwrap().flatten();
        let sleeps = |task: &std::fs::DirEntry| {
            std::fs::read_to_string(task.path().join("wchan")).is_ok_and(|place| place.contains("nanosleep"))
        };
        wait_for("it to wait for the lock", || tasks().any(|task| sleeps(&task)).then_some(()));
    }

    /// At no time was so much memory resident. Not checked under an emulator, whose memory it would be.
    #[track_caller]
    pub fn assert_peak_below(&self, mib: u64) {
        let peak_mib = self.proc_status("VmHWM") >> 10;
        println!("at most {peak_mib} MiB were resident");
        assert!(peak_mib < mib || !runner().is_empty(), "{peak_mib} MiB");
    }

    /// Ends the strace of the program: during a delayed call it does not notice that the program has ended.
    pub fn kill_tracer(&self) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.child.id())).unwrap();
        let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:")?.trim().parse().ok());
        kill_process(tracer.and_then(Pid::from_raw).unwrap(), Signal::KILL).unwrap();
    }

    /// How many descriptors are open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process.child.id())).unwrap().count()
    }

    /// How many of them are sockets. Files of the database are opened when each thread first uses it.
    pub fn sockets(&self) -> usize {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", self.process.child.id())).unwrap();
        let links = descriptors.flatten().filter_map(|descriptor| std::fs::read_link(descriptor.path()).ok());
        links.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
    }

    /// A number from `/proc/PID/status`, such as `VmHWM` (in KiB) or `Threads`. Under an emulator it is the emulator's.
    #[track_caller]
    pub fn proc_status(&self, key: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("no {key} in {status}"));
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Replaces the config and waits until it is loaded.
    #[track_caller]
    pub fn reload(&self, config: impl AsRef<[u8]>) {
        let count = || self.stderr().matches("config reloaded").count();
        let before = count();
        self.write("hookbox.toml", config);
        self.signal(Signal::HUP);
        wait_for("the reload", || (count() > before).then_some(()));
    }

    /// User and system time of the process, in hundredths of a second.
    pub fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.child.id())).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }

    /// SIGTERM, and what the program left behind.
    #[track_caller]
    pub fn stop(self) -> (Home, Output) {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Waits until the program ends.
    #[track_caller]
    pub fn wait(mut self) -> (Home, Output) {
        let status = wait_for("the program to end", || self.process.child.try_wait().unwrap());
        (self.home, self.process.output(status))
    }

    /// SIGKILL: what a power cut does to the process.
    pub fn kill9(self) -> Home {
        drop(self.process);
        self.home
    }
}

/// What a program left behind.
pub struct Output {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Output {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// One object a line.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The only object.
    #[track_caller]
    pub fn json(&self) -> Value {
        let mut deserializer = serde_json::Deserializer::from_slice(&self.stdout);
        // A payload may be as deep as this reader's limit, and stands two levels down.
        deserializer.disable_recursion_limit();
        let read = Value::deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
        read.unwrap_or_else(|problem| panic!("{problem}: {self}"))
    }

    /// It succeeded.
    #[track_caller]
    pub fn ok(self) -> Output {
        assert_eq!(self.code, Some(0), "{self}");
        self
    }

    /// It failed with this code and a message that contains all of these words.
    #[track_caller]
    pub fn refused(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self}");
        for word in words {
            assert!(self.stderr.contains(word), "no {word:?} in: {self}");
        }
        assert!(!self.stderr.contains("panicked"), "{self}");
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit {:?}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.text(), self.stderr)
    }
}

pub(super) struct Process {
    pub(super) child: Child,
    pub(super) stdout: Captured,
    pub(super) stderr: Captured,
    /// Kept open if it is left unread.
    unread: Option<ChildStdout>,
}

impl Process {
    #[track_caller]
    pub(super) fn spawn(mut command: Command, stdout_unread: bool, stdin: Option<&TcpListener>) -> Process {
        command.stdin(stdin.map_or(Stdio::null(), |listener| OwnedFd::from(listener.try_clone().unwrap()).into()));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|problem| panic!("{command:?}: {problem}"));
        let stdout = child.stdout.take().unwrap();
        let stderr = Captured::from(child.stderr.take().unwrap());
        if stdout_unread {
            return Process { child, stdout: Captured::from(std::io::empty()), stderr, unread: Some(stdout) };
        }
        Process { child, stdout: Captured::from(stdout), stderr, unread: None }
    }

    #[track_caller]
    fn wait_until_listening(&mut self) -> Result<Address, ExitStatus> {
        wait_for("a line `listening on ...` on stderr", || match self.child.try_wait().unwrap() {
            Some(status) => Some(Err(status)),
            None => self.stderr.text().lines().find_map(address_in).map(Ok),
        })
    }

    pub(super) fn output(&mut self, status: ExitStatus) -> Output {
        self.stdout.finish();
        self.stderr.finish();
        Output { code: status.code(), stdout: self.stdout.bytes(), stderr: self.stderr.text() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- stdout of the program\n{}", self.stdout.text());
            eprintln!("--- stderr of the program\n{}", self.stderr.text());
        }
    }
}

/// `... listening on http://127.0.0.1:40123` or `... listening on unix:/path`.
fn address_in(line: &str) -> Option<Address> {
    address_after("listening on ", line)
}

fn address_after(words: &str, line: &str) -> Option<Address> {
    let (_, address) = line.split_once(words)?;
    let word = |text: &str| text.split([' ', ',']).next().unwrap_or_default().trim_end_matches('/').to_owned();
    if let Some(rest) = address.strip_prefix("http://") {
        return word(rest).parse().ok().map(Address::Tcp);
    }
    address.strip_prefix("unix:").map(|rest| Address::Unix(Path::new(&word(rest)).to_owned()))
}

/// The content of a pipe so far, read by a thread so that the program never waits for the test.
pub(super) struct Captured {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Captured {
    fn from(pipe: impl Read + Send + 'static) -> Captured {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&bytes);
        let reader = std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while matches!(pipe.read_until(b'\n', &mut line), Ok(1..)) {
                into.lock().unwrap_or_else(PoisonError::into_inner).append(&mut line);
            }
        });
        Captured { bytes, reader: Some(reader) }
    }

    fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    /// Waits for the end of the pipe: only for a program that has ended.
    fn finish(&mut self) {
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}
