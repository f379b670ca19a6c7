//! A connection for a protocol of its own (NATS, Redis): a socket, with TLS where that is asked for. Every step ends at a
//! deadline, and what the server sends is read into bounded memory.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use ureq::Timeout;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, Resolver};
use ureq::unversioned::transport::NextTimeout;

use super::certificates::Trust;
use super::connection::with_advice;
use super::server::Server;

/// A server that does not accept within this time leaves the rest of the attempt to the next one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What is read from a socket at once: an answer is shorter.
const BLOCK_BYTES: usize = 4 << 10;

/// A message up to this size is copied, so that it is one packet.
const COPIED_BYTES: usize = 64 << 10;

/// The certificates that an action trusts.
#[derive(Clone, Debug)]
pub struct Certificates(Trust);

impl Certificates {
    /// `Err` says why `ca_file` cannot be used.
    pub fn of(ca_file: Option<&Path>) -> Result<Certificates, String> {
        Trust::of(ca_file).map(Certificates).map_err(|error| format!("ca_file: {error}"))
    }
}

/// An open connection.
pub struct Wire {
    input: Input<Stream>,
}

enum Stream {
    Plain(Timed),
    Tls(Box<StreamOwned<ClientConnection, Timed>>),
}

/// A blocking socket whose reads and writes end at the deadline.
struct Timed {
    socket: TcpStream,
    deadline: Instant,
}

impl Wire {
    /// Connects without TLS to the first address of the server that accepts.
    pub fn connect(server: &Server, deadline: Instant) -> io::Result<Wire> {
        let deadline = deadline.min(Instant::now() + CONNECT_TIMEOUT);
        let addresses = resolve(server, deadline)?;
        let mut failure = io::Error::from(ErrorKind::AddrNotAvailable);
        for (at, address) in addresses.iter().enumerate() {
            // An address that does not answer leaves the others their part of the time.
            let parts = u32::try_from(addresses.len() - at).unwrap_or(u32::MAX);
            match TcpStream::connect_timeout(address, (left(deadline)? / parts).max(Duration::from_millis(1))) {
                Ok(socket) => {
                    socket.set_nodelay(true)?;
                    return Ok(Wire { input: Input::new(Stream::Plain(Timed { socket, deadline })) });
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Goes on with TLS. What came before it and was not read was not from the server that TLS proves: it is an error.
    pub fn secure(self, host: &str, certificates: &Certificates) -> io::Result<Wire> {
        let Stream::Plain(mut timed) = self.input.into_stream()? else {
            return Err(io::Error::other("TLS within TLS"));
        };
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|_| io::Error::other("the host is not a name that TLS knows"))?;
        let tls = certificates.0.config().and_then(|config| ClientConnection::new(config, name));
        let mut tls = tls.map_err(io::Error::other)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut timed).map_err(with_advice)?;
        }
        Ok(Wire { input: Input::new(Stream::Tls(Box::new(StreamOwned::new(tls, timed)))) })
    }

    /// From now on, what is not done at this time is an error.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.timed_mut().deadline = deadline;
    }

    /// Sends the parts one after another; small ones in one packet, and a large body without a copy.
    pub fn send(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let stream = &mut self.input.stream;
        if parts.iter().map(|part| part.len()).sum::<usize>() <= COPIED_BYTES {
            stream.write_all(&parts.concat())?;
        } else {
            parts.iter().try_for_each(|part| stream.write_all(part))?;
        }
        stream.flush()
    }

    pub fn input(&mut self) -> &mut impl Answers {
        &mut self.input
    }

    /// Whether the server has closed the connection while it was not used.
    pub fn has_ended(&mut self) -> bool {
        let socket = &self.timed_mut().socket;
        let peeked = socket.set_nonblocking(true).and_then(|()| socket.peek(&mut [0]));
        let is_open = match peeked {
            Ok(bytes) => bytes > 0, // such as a PING
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        };
        !is_open || socket.set_nonblocking(false).is_err()
    }

    fn timed_mut(&mut self) -> &mut Timed {
        match &mut self.input.stream {
            Stream::Plain(timed) => timed,
            Stream::Tls(tls) => &mut tls.sock,
        }
    }
}

fn resolve(server: &Server, deadline: Instant) -> io::Result<Vec<SocketAddr>> {
    let (host, port) = (&server.host, server.port);
    let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let uri: Uri = format!("http://{authority}/").parse().map_err(io::Error::other)?;
    let after = left(deadline)?.into();
    let timeout = NextTimeout { after, reason: Timeout::Resolve, per_read: None, per_write: None };
    let found = DefaultResolver::default().resolve(&uri, &Config::default(), timeout).map_err(io::Error::other)?;
    Ok(found.iter().copied().collect())
}

fn left(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(no_answer()),
        left => Ok(left),
    }
}

fn no_answer() -> io::Error {
    io::Error::new(ErrorKind::TimedOut, "no answer in time")
}

impl Timed {
    fn limit(&self) -> io::Result<()> {
        let left = Some(left(self.deadline)?);
        self.socket.set_read_timeout(left)?;
        self.socket.set_write_timeout(left)
    }
}

impl Read for Timed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.limit()?;
        self.socket.read(into).map_err(timed_out)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.limit()?;
        self.socket.write(bytes).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A blocking socket has this error for a time that is over.
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::WouldBlock { no_answer() } else { error }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(timed) => timed.read(into),
            Stream::Tls(tls) => tls.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(timed) => timed.write(bytes),
            Stream::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(timed) => timed.flush(),
            Stream::Tls(tls) => tls.flush(),
        }
    }
}

/// What a server sends, piece by piece.
pub trait Answers {
    /// How many bytes the next answer may have, in all.
    fn allow(&mut self, bytes: usize);

    /// A line, without its end.
    fn line(&mut self) -> io::Result<Vec<u8>>;

    /// So many bytes.
    fn exactly(&mut self, bytes: usize) -> io::Result<Vec<u8>>;
}

/// Reads with a buffer. An answer that is longer than allowed is an error, before it is in memory.
pub struct Input<S> {
    stream: S,
    /// What has come and was not read.
    ahead: Vec<u8>,
    allowed_bytes: usize,
}

impl<S: Read> Input<S> {
    pub fn new(stream: S) -> Input<S> {
        Input { stream, ahead: Vec::new(), allowed_bytes: 0 }
    }

    fn into_stream(self) -> io::Result<S> {
        if self.ahead.is_empty() {
            return Ok(self.stream);
        }
        Err(io::Error::new(ErrorKind::InvalidData, "the server sends more before TLS begins"))
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut block = [0; BLOCK_BYTES];
        match self.stream.read(&mut block) {
            Ok(0) => Err(io::Error::new(ErrorKind::UnexpectedEof, "the server has closed the connection")),
            Ok(bytes) => {
                self.ahead.extend_from_slice(&block[..bytes]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn take(&mut self, bytes: usize) -> io::Result<Vec<u8>> {
        self.allowed_bytes = self.allowed_bytes.checked_sub(bytes).ok_or_else(too_long)?;
        let rest = self.ahead.split_off(bytes);
        Ok(std::mem::replace(&mut self.ahead, rest))
    }
}

impl<S: Read> Answers for Input<S> {
    fn allow(&mut self, bytes: usize) {
        self.allowed_bytes = bytes;
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut searched_bytes = 0;
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.ahead[searched_bytes..]) {
                let mut line = self.take(searched_bytes + at + 1)?;
                line.truncate(line.trim_ascii_end().len());
                return Ok(line);
            }
            searched_bytes = self.ahead.len();
            if searched_bytes > self.allowed_bytes {
                return Err(too_long());
            }
            self.fill()?;
        }
    }

    fn exactly(&mut self, bytes: usize) -> io::Result<Vec<u8>> {
        if bytes > self.allowed_bytes {
            return Err(too_long());
        }
        while self.ahead.len() < bytes {
            self.fill()?;
        }
        self.take(bytes)
    }
}

fn too_long() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "the server's answer is longer than any that is expected")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_bytes_are_read_up_to_what_is_allowed() {
        let mut input = Input::new(&b"+OK\r\nabcdef\nrest"[..]);
        input.allow(9);
        assert_eq!(input.line().unwrap(), b"+OK");
        assert_eq!(input.exactly(3).unwrap(), b"abc");
        assert_eq!(input.line().unwrap_err().kind(), ErrorKind::InvalidData);
        input.allow(100);
        assert_eq!(input.line().unwrap(), b"def");
        assert_eq!(input.exactly(5).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert_eq!(input.line().unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn an_endless_line_and_a_huge_length_stay_out_of_memory() {
        let mut input = Input::new(io::repeat(b'x'));
        input.allow(64 << 10);
        assert_eq!(input.line().unwrap_err().kind(), ErrorKind::InvalidData);
        assert!(input.ahead.len() < (64 << 10) + 2 * BLOCK_BYTES);
        assert_eq!(input.exactly(usize::MAX).unwrap_err().kind(), ErrorKind::InvalidData);
    }
}
