//! How fast a backlog goes to an engine of this machine, beside a program that answers HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{PACE, USUAL_BYTES, open_events};
use crate::Scale;
use crate::load;
use crate::server::{Home, Server, hookbox};
use crate::table::{Spread, per_second, row};

const START: Duration = Duration::from_secs(10);

/// A server that is not ours, ended when it is dropped.
struct Engine {
    process: Child,
    port: u16,
    _dir: TempDir,
}

impl Engine {
    /// `None` if it is not installed. `DIR` and `PORT` are replaced in its arguments.
    fn start(program: &str, arguments: &str) -> Option<Engine> {
        let (dir, port) = (TempDir::new().unwrap(), free_port());
        let arguments = arguments.replace("DIR", &dir.path().display().to_string()).replace("PORT", &port.to_string());
        let mut command = Command::new(program);
        command.args(arguments.split(' ')).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(process) = command.spawn() else {
            eprintln!("skipped: {program} is not installed");
            return None;
        };
        let engine = Engine { process, port, _dir: dir };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < START, "{program} does not listen");
            std::thread::sleep(PACE);
        }
        Some(engine)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub fn drained_into_engines(scale: &Scale) {
    let port = answering();
    drained(scale, "http action", &format!("kind = \"http\"\nurl = \"http://127.0.0.1:{port}/\""));
    for (dedup, what) in [("window", "nats action"), ("subject", "nats action, one subject a delivery")] {
        let Some(engine) = Engine::start("nats-server", "-js -a 127.0.0.1 -p PORT -sd DIR") else { return };
        make_stream(engine.port);
        let keys = format!("subject = \"hooks.{{{{ event }}}}\"\ndedup = \"{dedup}\"");
        drained(scale, what, &format!("kind = \"nats\"\nurl = \"nats://127.0.0.1:{}\"\n{keys}", engine.port));
    }
    for fsync in ["always", "everysec"] {
        let arguments = format!("--bind 127.0.0.1 --port PORT --dir DIR --appendonly yes --appendfsync {fsync}");
        let Some(engine) = Engine::start("redis-server", &arguments) else { return };
        let keys = format!("kind = \"redis\"\nurl = \"redis://127.0.0.1:{}\"\nstream = \"hooks\"", engine.port);
        drained(scale, &format!("redis action, appendfsync {fsync}"), &keys);
    }
}

fn drained(scale: &Scale, what: &str, keys: &str) {
    let events = scale.backlog / 10;
    let rates = (0..scale.rounds).map(|round| {
        let home = Home::new().with_backlog(events, &load::body(USUAL_BYTES));
        // Another name makes other ids, so that an engine takes them again.
        let home = home.with_config(&format!("[actions.a{round}]\non = [\"*\"]\n{keys}\n"));
        rustix::fs::sync();
        let began = Instant::now();
        let _server = Server::start(&home, &hookbox());
        while open_events(&home) > 0 {
            std::thread::sleep(PACE);
        }
        events as f64 / began.elapsed().as_secs_f64()
    });
    let rate = Spread::of(rates, per_second);
    row(&format!("events of 8 KiB drained by the {what}"), &rate.to_string(), "", "");
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Answers every request on a kept connection with 200.
fn answering() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || answer_all(&client));
        }
    });
    port
}

fn answer_all(mut client: &TcpStream) -> Option<()> {
    let mut input = BufReader::new(client);
    loop {
        let (mut line, mut body_bytes) = (String::new(), 0);
        while line != "\r\n" {
            line.clear();
            input.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
            if let Some(length) = line.to_lowercase().strip_prefix("content-length:") {
                body_bytes = length.trim().parse().ok()?;
            }
        }
        input.read_exact(&mut vec![0; body_bytes]).ok()?;
        client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").ok()?;
    }
}

fn make_stream(port: u16) {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let stream = r#"{"name":"hooks","subjects":["hooks.>"],"storage":"file","num_replicas":1}"#;
    let subject = "$JS.API.STREAM.CREATE.hooks";
    let request = format!("CONNECT {{}}\r\nSUB made 1\r\nPUB {subject} made {}\r\n{stream}\r\n", stream.len());
    socket.write_all(request.as_bytes()).unwrap();
    let made = BufReader::new(socket).lines().map_while(Result::ok).find(|line| line.contains("\"created\""));
    assert!(made.is_some(), "the stream was not made");
}
