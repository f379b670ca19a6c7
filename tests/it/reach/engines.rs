//! The servers, each in its own directory on a free port, and small clients to look into them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Issued, closed_port, example, is_installed, patient, wait_longer_for};

const MANUAL: &str = "src/manual/reach.md";

const START_DEADLINE: Duration = Duration::from_secs(30);

/// A running server. Killed when it is dropped.
pub struct Server {
    process: Child,
    command: (&'static str, Vec<String>),
    _dir: Arc<TempDir>,
    pub port: u16,
}

impl Server {
    fn start(program: &'static str, dir: Arc<TempDir>, port: u16, arguments: Vec<String>) -> Server {
        let process = spawn(program, &arguments);
        Server { process, command: (program, arguments), _dir: dir, port }
    }

    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Starts it again with what it has stored.
    pub fn restart(&mut self) {
        self.kill();
        self.process = spawn(self.command.0, &self.command.1);
        self.wait();
    }

    pub fn wait(&self) {
        wait_longer_for(&format!("{} on port {}", self.command.0, self.port), START_DEADLINE, || {
            TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
    }

    pub fn url(&self, scheme: &str) -> String {
        format!("{scheme}://127.0.0.1:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(program: &str, arguments: &[String]) -> Child {
    Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn directory() -> Arc<TempDir> {
    Arc::new(tempfile::Builder::new().prefix("engine-").tempdir().unwrap())
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// A certificate and its key as files: `cert.pem` and `key.pem`. The authority's is `root.pem`.
pub fn write_identity(dir: &TempDir, issued: &Issued) -> [PathBuf; 3] {
    let texts = [issued.certificate.pem(), issued.key.serialize_pem(), issued.root.pem()];
    let paths = ["cert.pem", "key.pem", "root.pem"].map(|name| dir.path().join(name));
    for (path, text) in paths.iter().zip(texts) {
        std::fs::write(path, text).unwrap();
    }
    paths
}

/// The arguments of each of the manual's commands that start this program, without the place of its data.
pub fn commands(program: &str) -> Vec<String> {
    let servers = [
        example(MANUAL, "sh", "nats-server -js -sd /var/lib/nats  "),
        example(MANUAL, "sh", "nats-server -js -sd /var/lib/nats --user"),
        example(MANUAL, "sh", "nats-server -js -sd /var/lib/nats -n a"),
        example(MANUAL, "sh", "redis-server --dir /var/lib/redis --appendonly yes --appendfsync always\n"),
        example(MANUAL, "sh", "redis-server --dir /var/lib/redis --appendonly yes --appendfsync always --requirepass"),
    ];
    let text = servers.concat().replace(" \\\n ", "");
    let lines = text.lines().filter_map(|line| line.strip_prefix(program)?.split('#').next());
    let without = |line: &str| line.replace(" -sd /var/lib/nats", "").replace(" --dir /var/lib/redis", "");
    lines.map(|line| without(line).trim().to_owned()).collect()
}

/// `None`, and a word about it, if it is not installed.
pub fn nats() -> Option<Server> {
    nats_with("-js")
}

pub fn nats_with(arguments: &str) -> Option<Server> {
    let dir = directory();
    nats_at(closed_port(), dir, arguments).inspect(Server::wait)
}

/// Does not wait until it is there: the servers of a cluster wait for each other.
pub fn nats_at(port: u16, dir: Arc<TempDir>, arguments: &str) -> Option<Server> {
    is_installed("nats-server", &["--version"]).then(|| {
        let arguments = arguments.replace("-js", &format!("-js -sd {}", dir.path().display()));
        let all = words(&format!("-a 127.0.0.1 -p {port} {arguments}"));
        Server::start("nats-server", dir, port, all)
    })
}

pub fn nats_over_tls(issued: &Issued) -> Option<Server> {
    let dir = directory();
    let [certificate, key, _] = write_identity(&dir, issued);
    let tls = format!("-js --tls --tlscert {} --tlskey {}", certificate.display(), key.display());
    nats_at(closed_port(), dir, &tls).inspect(Server::wait)
}

/// Every write is on the disk before its answer.
pub fn redis() -> Option<Server> {
    redis_with("")
}

/// Servers that may have `WAITAOF`: Debian's, and a later one from elsewhere.
const REDIS_SERVERS: [&str; 3] = ["redis-8-server", "valkey-server", "redis-server"];

/// The first version with `WAITAOF`.
const WITH_WAITAOF: (u32, u32) = (7, 2);

/// Each server of at least that version, with a disk that is synced every second. If there is none, a word about it.
pub fn redis_with_waitaof() -> Vec<Server> {
    let version = |program: &&str| {
        let output = Command::new(program).arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut parts = text.split("v=").nth(1)?.split('.').map_while(|part| part.parse().ok());
        Some((parts.next()?, parts.next()?))
    };
    let found = REDIS_SERVERS.into_iter().filter(|program| version(program).is_some_and(|found| found >= WITH_WAITAOF));
    let start = |program| {
        let (dir, port) = (directory(), closed_port());
        let keys = "--bind 127.0.0.1 --appendonly yes --appendfsync everysec";
        let all = words(&format!("{keys} --dir {} --port {port}", dir.path().display()));
        Server::start(program, dir, port, all)
    };
    let servers: Vec<Server> = found.map(start).collect();
    if servers.is_empty() {
        println!("skipped: no Redis or Valkey of version 7.2 or later is installed");
    }
    servers.iter().for_each(Server::wait);
    servers
}

pub fn redis_with(arguments: &str) -> Option<Server> {
    let dir = directory();
    redis_at(closed_port(), dir, arguments)
}

pub fn redis_at(port: u16, dir: Arc<TempDir>, arguments: &str) -> Option<Server> {
    is_installed("redis-server", &["--version"])
        .then(|| {
            let fixed =
                format!("--bind 127.0.0.1 --dir {} --appendonly yes --appendfsync always", dir.path().display());
            let port_word = if arguments.contains("--port") { String::new() } else { format!(" --port {port}") };
            let all = words(format!("{fixed}{port_word} {arguments}").trim());
            Server::start("redis-server", dir, port, all)
        })
        .inspect(Server::wait)
}

pub fn redis_over_tls(issued: &Issued) -> Option<Server> {
    let (dir, port) = (directory(), closed_port());
    let [certificate, key, root] = write_identity(&dir, issued);
    let tls = format!(
        "--port 0 --tls-port {port} --tls-cert-file {} --tls-key-file {} --tls-ca-cert-file {} --tls-auth-clients no",
        certificate.display(),
        key.display(),
        root.display()
    );
    redis_at(port, dir, &tls)
}

/// What `redis-cli` prints.
#[track_caller]
pub fn redis_cli(server: &Server, arguments: &[&str]) -> String {
    let output = Command::new("redis-cli").args(["-p", &server.port.to_string()]).args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// A message of a stream.
pub struct Stored {
    pub subject: String,
    pub headers: String,
    pub body: Vec<u8>,
}

/// A request to JetStream, by a client that knows just enough of the protocol.
pub fn try_jetstream(server: &Server, subject: &str, question: &Value) -> Option<Value> {
    let mut socket = TcpStream::connect(("127.0.0.1", server.port)).ok()?;
    socket.set_read_timeout(Some(patient(Duration::from_secs(5)))).ok()?;
    let mut lines = BufReader::new(socket.try_clone().ok()?);
    let question = if question.is_null() { String::new() } else { question.to_string() };
    let connect = "CONNECT {\"verbose\":false,\"user\":\"me\",\"pass\":\"s3cret\"}\r\nSUB _INBOX.test 1\r\n";
    write!(socket, "{connect}PUB {subject} _INBOX.test {}\r\n{question}\r\n", question.len()).ok()?;
    loop {
        let mut line = String::new();
        lines.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
        if line.starts_with("MSG") {
            let bytes = line.trim().rsplit(' ').next()?.parse().ok()?;
            let mut body = vec![0; bytes];
            lines.read_exact(&mut body).ok()?;
            return serde_json::from_slice(&body).ok();
        }
    }
}

#[track_caller]
pub fn jetstream(server: &Server, subject: &str, question: &Value) -> Value {
    let answer = wait_longer_for(subject, START_DEADLINE, || try_jetstream(server, subject, question));
    assert!(answer["error"].is_null(), "{answer}");
    answer
}

/// Makes the stream `hooks`, which takes `hooks.>`.
#[track_caller]
pub fn make_stream(server: &Server, settings: Value) {
    let mut stream = json!({ "name": "hooks", "subjects": ["hooks.>"], "storage": "file", "num_replicas": 1 });
    stream.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    // A server that has just started may not be ready for it.
    wait_longer_for("the stream", START_DEADLINE, || {
        let made = try_jetstream(server, "$JS.API.STREAM.CREATE.hooks", &stream)?;
        made["error"].is_null().then_some(())
    });
}

/// How many messages the stream has.
#[track_caller]
pub fn count(server: &Server) -> u64 {
    jetstream(server, "$JS.API.STREAM.INFO.hooks", &Value::Null)["state"]["messages"].as_u64().unwrap()
}

#[track_caller]
pub fn message(server: &Server, seq: u64) -> Stored {
    let answer = jetstream(server, "$JS.API.STREAM.MSG.GET.hooks", &json!({ "seq": seq }));
    let bytes = |key: &str| STANDARD.decode(answer["message"][key].as_str().unwrap_or_default()).unwrap();
    Stored {
        subject: answer["message"]["subject"].as_str().unwrap().to_owned(),
        headers: String::from_utf8(bytes("hdrs")).unwrap(),
        body: bytes("data"),
    }
}

/// A way to a server on which the `lost` first answers that contain `word` are lost, and the connection with them.
pub struct Cut {
    pub port: u16,
    connections: Arc<AtomicUsize>,
}

impl Cut {
    pub fn to(port: u16, word: &'static str, lost: usize) -> Cut {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let cut = Cut { port: listener.local_addr().unwrap().port(), connections: Arc::default() };
        let (connections, left) = (Arc::clone(&cut.connections), Arc::new(AtomicUsize::new(lost)));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                connections.fetch_add(1, Ordering::SeqCst);
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
                let left = Arc::clone(&left);
                std::thread::spawn(move || pass_on(server, client, word, &left));
            }
        });
        cut
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn pass_on(mut server: TcpStream, mut client: TcpStream, word: &str, left: &AtomicUsize) {
    let mut block = [0; 4096];
    while let Ok(bytes @ 1..) = server.read(&mut block) {
        let text = String::from_utf8_lossy(&block[..bytes]);
        let is_lost = text.contains(word)
            && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if is_lost || client.write_all(&block[..bytes]).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}
