//! What hookbox is measured against: other receivers, itself storing nothing, and SQLite alone.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::load::{self, Kept, SECRET, Sender};
use crate::server::{Home, Server, free_address};

/// A peer, installed in a directory of its own.
pub struct Peer {
    pub name: String,
    pub stores: bool,
    home: Home,
    command: fn(&Home, SocketAddr) -> Command,
    is_ready: fn(&Home) -> bool,
}

impl Peer {
    /// Those that can be installed here. Prints which cannot.
    pub fn all() -> Vec<Peer> {
        let told = |why: &String| eprintln!("skipped: {why}");
        [flask(), webhook()].into_iter().filter_map(|peer| peer.inspect_err(told).ok()).collect()
    }

    /// Started for each measurement, and ready when it acknowledges: its start is not measured.
    pub fn start(&self) -> Server {
        let address = free_address();
        let acknowledges = || Sender::new(address, Kept::Closed, "{}").deliver().is_ok_and(|status| status == 200);
        let is_ready = || (self.is_ready)(&self.home) && acknowledges();
        Server::start_at(address, (self.command)(&self.home, address), is_ready)
    }
}

/// The older Python receiver with its worker, as their files start them, but for the port, the debugger, and the worker's
/// sleep of five seconds.
pub struct Older;

const OLDER_RECEIVER: &str = "
import sys
import receiver_with_db as receiver
receiver.init_db()
receiver.app.run(port=int(sys.argv[1]))
";

const OLDER_WORKER: &str = "
import worker
worker.run_worker(loop_delay=0.002)
";

impl Older {
    /// Errs where its files, Python or Flask are missing.
    pub fn find() -> Result<Older, String> {
        let home = Older.home_with_files()?;
        succeed(home.tool("python3").args(["-c", "import flask"])).map(|()| Older)
    }

    pub fn home(&self) -> Home {
        self.home_with_files().unwrap()
    }

    fn home_with_files(&self) -> Result<Home, String> {
        let home = Home::new();
        for file in ["receiver_with_db.py", "worker.py"] {
            let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/data/older").join(file);
            std::fs::copy(&from, home.path(file)).map_err(|error| format!("{}: {error}", from.display()))?;
        }
        Ok(home)
    }

    /// The receiver and, if wanted, the worker.
    pub fn start(&self, home: &Home, with_worker: bool) -> Vec<Server> {
        let address = free_address();
        let mut receiver = home.tool("python3");
        receiver.args(["-c", OLDER_RECEIVER, &address.port().to_string()]);
        let receiver = Server::start_at(address, receiver, || TcpStream::connect(address).is_ok());
        let worker = || {
            let mut worker = home.tool("python3");
            worker.args(["-c", OLDER_WORKER]);
            Server::start_at(address, worker, || true)
        };
        [Some(receiver), with_worker.then(worker)].into_iter().flatten().collect()
    }
}

/// Numbers of gunicorn processes: the one of its documentation for a small machine, and one per core.
const WORKERS: usize = 2;

/// A log line of each worker that has loaded the program: the socket listens long before.
const GUNICORN_CONFIG: &str = "
def on_starting(server):
    open('ready', 'w').close()

def post_worker_init(worker):
    with open('ready', 'a') as ready:
        print(worker.pid, file=ready)
";

const FLASK_VERSIONS: &str = "
from importlib.metadata import version
print('Flask', version('flask') + ', gunicorn', version('gunicorn'))
";

/// The older Python receiver as it is usually deployed. It verifies nothing, and stores.
fn flask() -> Result<Peer, String> {
    let home = Home::new();
    let receiver = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/data/older/receiver_with_db.py");
    std::fs::copy(receiver, home.path("receiver_with_db.py")).map_err(|error| error.to_string())?;
    std::fs::write(home.path("gunicorn.conf.py"), GUNICORN_CONFIG).map_err(|error| error.to_string())?;
    succeed(home.command("python3").args(["-m", "venv", "venv"]))?;
    succeed(home.command(home.path("venv/bin/pip")).args(["install", "--quiet", "flask", "gunicorn"]))?;
    let create = "import receiver_with_db; receiver_with_db.init_db()";
    succeed(home.command(home.path("venv/bin/python")).args(["-c", create]))?;
    let command = |home: &Home, address: SocketAddr| {
        let mut command = home.command(home.path("venv/bin/gunicorn"));
        command.args(["--workers", &WORKERS.to_string(), "--bind", &address.to_string(), "receiver_with_db:app"]);
        command
    };
    let is_ready =
        |home: &Home| std::fs::read_to_string(home.path("ready")).is_ok_and(|text| text.lines().count() == WORKERS);
    let versions = told(home.command(home.path("venv/bin/python")).args(["-c", FLASK_VERSIONS]))?;
    let name = format!("{versions} with {WORKERS} workers");
    Ok(Peer { name, stores: true, home, command, is_ready })
}

/// Debian's package. It verifies the signature, starts a command for each delivery, and stores nothing.
fn webhook() -> Result<Peer, String> {
    let home = Home::new();
    let version = told(home.command("webhook").arg("-version"))?;
    let hooks = serde_json::json!([{
        "id": "github",
        "execute-command": "/bin/true",
        "trigger-rule": { "match": {
            "type": "payload-hmac-sha256",
            "secret": SECRET,
            "parameter": { "source": "header", "name": "X-Hub-Signature-256" },
        } },
    }]);
    std::fs::write(home.path("hooks.json"), hooks.to_string()).map_err(|error| error.to_string())?;
    let command = |home: &Home, address: SocketAddr| {
        let mut command = home.command("webhook");
        command.args(["-hooks", "hooks.json", "-urlprefix", "webhooks", "-ip", "127.0.0.1"]);
        command.args(["-port", &address.port().to_string()]);
        command
    };
    let name = format!("{version} (Debian's; stores nothing)");
    Ok(Peer { name, stores: false, home, command, is_ready: |_| true })
}

/// What a command that must succeed prints.
fn told(command: &mut Command) -> Result<String, String> {
    match command.stdout(Stdio::piped()).output() {
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        Ok(output) => Err(format!("{command:?}: {}", output.status)),
        Err(error) => Err(format!("{command:?}: {error}")),
    }
}

fn succeed(command: &mut Command) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{command:?}: {status}")),
        Err(error) => Err(format!("{command:?}: {error}")),
    }
}

/// Builds hookbox without the transaction, in its own directory, so that it is not mistaken for the real one.
pub fn storing_nothing() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("store-nothing");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).stdout(Stdio::null());
    cargo.args(["rustc", "--quiet", "--release", "--bin", "hookbox", "--target-dir"]).arg(&directory);
    cargo.args(["--", "--cfg", "hookbox_store_nothing"]);
    assert!(cargo.status().unwrap().success(), "{cargo:?}");
    directory.join("release/hookbox")
}

/// The same rows into the same tables, durable, `batch` in a transaction, by one connection: what the disk allows.
pub fn bare_inserts_per_second(home: &Home, batch: i64, body_bytes: usize, duration: Duration) -> f64 {
    let database = home.database();
    database.pragma_update(None, "synchronous", "FULL").unwrap();
    let body = load::body(body_bytes);
    let (started, mut rows) = (Instant::now(), 0);
    while started.elapsed() < duration {
        Rows::usual("unprocessed", &body, batch).insert(&database);
        rows += batch;
    }
    rows as f64 / started.elapsed().as_secs_f64()
}

/// Events, all alike but for their ids.
pub struct Rows<'a> {
    pub status: &'a str,
    pub headers: &'a str,
    pub payload: &'a str,
    pub count: i64,
}

impl<'a> Rows<'a> {
    pub fn usual(status: &'a str, payload: &'a str, count: i64) -> Rows<'a> {
        Rows { status, headers: HEADERS, payload, count }
    }

    /// Inserts them as another program would, in one transaction.
    pub fn insert(&self, database: &Connection) {
        database
            .execute(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
                 INSERT INTO webhook_events
                     (source, event_type, delivery_id, payload_json, received_at, status, headers_json)
                 SELECT 'github', 'issues', lower(hex(randomblob(18))), ?2, '2025-01-31T12:00:00+00:00', ?3, ?4 FROM n",
                (self.count, self.payload, self.status, self.headers),
            )
            .unwrap();
    }
}

/// About what is kept of a delivery's header.
const HEADERS: &str = r#"{"Host":"127.0.0.1:5000","User-Agent":"GitHub-Hookshot/044aadd","Accept":"*/*","Content-Type":"application/json","X-GitHub-Event":"issues","X-Hub-Signature-256":"sha256=0000000000000000000000000000000000000000000000000000000000000000","X-GitHub-Delivery":"72d3162e-cc78-11e3-81ab-4c9367dc0958"}"#;
