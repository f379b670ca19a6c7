//! A raw HTTP client: it sends exactly the given bytes, also invalid and incomplete ones.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ring::hmac;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::{SECRET, patient};

/// Longer than the program's own deadline for a request (10 s), because some tests wait for that.
const ANSWER_DEADLINE: Duration = Duration::from_secs(25);

/// `sha256=<hex>`, as in `X-Hub-Signature-256`.
pub fn sign_github(secret: &str, body: &[u8]) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), body);
    format!("sha256={}", hex(tag.as_ref()))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A request: method, target, header lines in order, body, and how its length is given.
#[derive(Clone)]
pub struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    chunked: bool,
}

impl Request {
    pub fn new(method: &str, target: &str) -> Request {
        let headers = vec![("Host".to_owned(), "hookbox.test".to_owned())];
        Request { method: method.to_owned(), target: target.to_owned(), headers, body: Vec::new(), chunked: false }
    }

    pub fn get(target: &str) -> Request {
        Request::new("GET", target)
    }

    /// What GitHub sends, signed with [`SECRET`].
    pub fn github(event: &str, id: &str, body: impl AsRef<[u8]>) -> Request {
        Request::new("POST", "/webhooks/github")
            .header("User-Agent", "GitHub-Hookshot/044aadd")
            .header("Content-Type", "application/json")
            .header("X-GitHub-Event", event)
            .header("X-GitHub-Delivery", id)
            .header("X-Hub-Signature-256", &sign_github(SECRET, body.as_ref()))
            .body(body)
    }

    /// Adds a header line, even if there is one with this name.
    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn without(mut self, name: &str) -> Request {
        self.headers.retain(|(have, _)| !have.eq_ignore_ascii_case(name));
        self
    }

    /// Replaces every header line of this name.
    pub fn with(self, name: &str, value: &str) -> Request {
        self.without(name).header(name, value)
    }

    pub fn signed_with(self, secret: &str) -> Request {
        let signature = sign_github(secret, &self.body);
        self.with("X-Hub-Signature-256", &signature)
    }

    pub fn method(mut self, method: &str) -> Request {
        method.clone_into(&mut self.method);
        self
    }

    pub fn target(mut self, target: &str) -> Request {
        target.clone_into(&mut self.target);
        self
    }

    /// Replaces the body, not the signature.
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Request {
        self.body = body.as_ref().to_vec();
        self
    }

    /// The body in chunks, without `Content-Length`.
    pub fn chunked(mut self) -> Request {
        self.chunked = true;
        self
    }

    pub fn head(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if self.chunked {
            head.push_str("Transfer-Encoding: chunked\r\n");
        } else if self.method != "GET" && !self.headers.iter().any(|(name, _)| name == "Content-Length") {
            let _ = write!(head, "Content-Length: {}\r\n", self.body.len());
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head();
        if !self.chunked {
            bytes.extend(&self.body);
            return bytes;
        }
        // An odd size, so that no chunk ends where a reader's buffer does.
        for chunk in self.body.chunks(4099) {
            bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
            bytes.extend(chunk);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"0\r\n\r\n");
        bytes
    }
}

/// Where the program listens.
#[derive(Clone, Debug)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Address {
    pub fn try_connect(&self) -> io::Result<Connection> {
        let stream = match self {
            Address::Tcp(address) => Stream::Tcp(TcpStream::connect(address)?),
            Address::Unix(path) => Stream::Unix(UnixStream::connect(path)?),
        };
        Ok(Connection { stream, unread: Vec::new() })
    }

    #[track_caller]
    pub fn connect(&self) -> Connection {
        self.try_connect().unwrap()
    }

    /// From another address of this machine, as another client.
    #[track_caller]
    pub fn connect_from(&self, client: Ipv4Addr) -> Connection {
        Connection { stream: Stream::Tcp(connect_from(client, self.tcp())), unread: Vec::new() }
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub fn send(&self, request: &Request) -> Response {
        let mut connection = self.connect();
        connection.send_lossy(&request.bytes());
        connection.response()
    }

    pub fn tcp(&self) -> SocketAddr {
        match self {
            Address::Tcp(address) => *address,
            Address::Unix(path) => panic!("listens on {}", path.display()),
        }
    }
}

/// A connection from this address of this machine.
#[track_caller]
pub fn connect_from(client: Ipv4Addr, address: SocketAddr) -> TcpStream {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddrV4::new(client, 0)).unwrap();
    connect(&socket, &address).unwrap();
    socket.into()
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    fn set_read_timeout(&self, limit: Duration) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.set_read_timeout(Some(limit)),
            Stream::Unix(stream) => stream.set_read_timeout(Some(limit)),
            Stream::Tls(stream) => stream.sock.set_read_timeout(Some(limit)),
        }
    }

    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(block),
            Stream::Unix(stream) => stream.read(block),
            Stream::Tls(stream) => read_tls(stream, block),
        }
    }
}

/// Reads without first writing what is still buffered: an early answer can be read although the other side
/// reads no more.
fn read_tls(stream: &mut StreamOwned<ClientConnection, TcpStream>, block: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.conn.reader().read(block) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
        stream.conn.read_tls(&mut stream.sock)?;
        stream.conn.process_new_packets().map_err(io::Error::other)?;
    }
}

/// One connection to the program.
pub struct Connection {
    stream: Stream,
    unread: Vec<u8>,
}

impl Connection {
    /// A connection over TLS to the server of this name.
    #[track_caller]
    pub fn over_tls(stream: TcpStream, config: Arc<ClientConfig>, name: &'static str) -> Connection {
        let session = ClientConnection::new(config, name.try_into().unwrap()).unwrap();
        Connection { stream: Stream::Tls(Box::new(StreamOwned::new(session, stream))), unread: Vec::new() }
    }

    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap();
    }

    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.write_all(bytes),
            Stream::Unix(stream) => stream.write_all(bytes),
            Stream::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }

    /// For a request that may be refused before all of it is sent: the answer counts, not the broken pipe.
    pub fn send_lossy(&mut self, bytes: &[u8]) {
        let _ = self.try_send(bytes);
    }

    /// Closes the sending side.
    pub fn finish_sending(&mut self) {
        let _ = match &self.stream {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
            Stream::Tls(stream) => stream.sock.shutdown(Shutdown::Write),
        };
    }

    /// A receive buffer as small as the kernel allows.
    pub fn read_little_at_a_time(&mut self) {
        match &self.stream {
            Stream::Tcp(stream) => set_socket_recv_buffer_size(stream, 1),
            Stream::Unix(stream) => set_socket_recv_buffer_size(stream, 1),
            Stream::Tls(stream) => set_socket_recv_buffer_size(&stream.sock, 1),
        }
        .unwrap();
    }

    /// From now on, a send that would block for longer than this fails.
    pub fn limit_sending(&mut self, limit: Duration) {
        match &self.stream {
            Stream::Tcp(stream) => stream.set_write_timeout(Some(limit)),
            Stream::Unix(stream) => stream.set_write_timeout(Some(limit)),
            Stream::Tls(stream) => stream.sock.set_write_timeout(Some(limit)),
        }
        .unwrap();
    }

    #[track_caller]
    pub fn response(&mut self) -> Response {
        self.try_response().unwrap_or_else(|problem| panic!("no answer: {problem}"))
    }

    /// The answer to a HEAD, which has no body despite its `Content-Length`.
    #[track_caller]
    pub fn head_response(&mut self) -> Response {
        self.read_head(Instant::now() + patient(ANSWER_DEADLINE))
            .unwrap_or_else(|problem| panic!("no answer: {problem}"))
    }

    /// The next answer, interim ones (`100`) too.
    pub fn try_response(&mut self) -> io::Result<Response> {
        let deadline = Instant::now() + patient(ANSWER_DEADLINE);
        let mut response = self.read_head(deadline)?;
        if response.status < 200 || response.status == 204 || response.status == 304 {
            return Ok(response);
        }
        match response.header("Content-Length").map(|length| length.parse::<usize>().unwrap()) {
            Some(length) => {
                while self.unread.len() < length {
                    if self.read_more(deadline)? == 0 {
                        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed within the body"));
                    }
                }
                response.body = self.unread.drain(..length).collect();
            }
            None => {
                while self.read_more(deadline)? > 0 {}
                response.body = std::mem::take(&mut self.unread);
            }
        }
        Ok(response)
    }

    fn read_head(&mut self, deadline: Instant) -> io::Result<Response> {
        let head_end = loop {
            if let Some(at) = self.unread.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at;
            }
            if self.read_more(deadline)? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed before a whole answer"));
            }
        };
        let head = String::from_utf8_lossy(&self.unread[..head_end]).into_owned();
        self.unread.drain(..head_end + 4);
        Ok(Response::parse(&head))
    }

    /// Everything until the program closes the connection.
    pub fn rest(&mut self) -> Vec<u8> {
        let deadline = Instant::now() + patient(ANSWER_DEADLINE);
        while matches!(self.read_more(deadline), Ok(1..)) {}
        std::mem::take(&mut self.unread)
    }

    /// Whether the program closes the connection within `limit`. Ignores what it sends until then.
    pub fn ends_within(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        loop {
            match self.read_more(deadline) {
                Ok(0) => return true,
                Ok(_) => self.unread.clear(),
                Err(error) => return !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
            }
        }
    }

    fn read_once(&mut self, block: &mut [u8], deadline: Instant) -> io::Result<usize> {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.stream.set_read_timeout(left)?;
        self.stream.read(block)
    }

    fn read_more(&mut self, deadline: Instant) -> io::Result<usize> {
        let mut block = [0; 16 * 1024];
        let read = loop {
            // A machine that is put to sleep interrupts a read with a timeout.
            match self.read_once(&mut block, deadline) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.unread.extend(&block[..read]);
        Ok(read)
    }
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    fn parse(head: &str) -> Response {
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.")).and_then(|line| line.get(2..5));
        let status = status.and_then(|digits| digits.parse().ok());
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("not a header line: {line}"));
            (name.to_owned(), value.trim().to_owned())
        });
        let headers = headers.collect();
        Response { status: status.unwrap_or_else(|| panic!("not HTTP: {head}")), headers, body: Vec::new() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

#[test]
fn the_signature_is_the_one_in_githubs_documentation() {
    let expected = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    assert_eq!(sign_github(SECRET, b"Hello, World!"), expected);
}
