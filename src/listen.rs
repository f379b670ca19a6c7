//! The public sockets: where to listen, binding, and one accepted connection.

use std::fmt;
use std::fs;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A thousand senders may connect at the same instant; std asks for 128, and the kernel drops what does not fit.
const BACKLOG: i32 = 1024;

/// Owner and group may connect: the group is how a proxy is let in.
const SOCKET_MODE: u32 = 0o660;

const UNIX_PREFIX: &str = "unix:";

/// Where to listen, as the operator wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// `host:port`; the host is a name or an address, IPv6 in brackets.
    Tcp(String),
    Unix(PathBuf),
}

/// Why a text is not a place to listen, or why listening there failed. Written for the operator.
#[derive(Debug)]
pub enum ListenError {
    NoHost(String),
    NotAnAddress(String),
    NoPath,
    InUse(String),
    NotASocket(PathBuf),
    Failed(String, io::Error),
}

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Listen, ListenError> {
        if let Some(path) = text.strip_prefix(UNIX_PREFIX) {
            return if path.is_empty() { Err(ListenError::NoPath) } else { Ok(Listen::Unix(path.into())) };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(|| ListenError::NotAnAddress(text.into()))?;
        if host.is_empty() {
            return Err(ListenError::NoHost(port.into()));
        }
        if !is_host(host) || !is_port(port) {
            return Err(ListenError::NotAnAddress(text.into()));
        }
        Ok(Listen::Tcp(text.into()))
    }
}

/// IPv6 addresses need their brackets: without them the last group reads as a port.
fn is_host(host: &str) -> bool {
    match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|v6| v6.parse::<std::net::Ipv6Addr>().is_ok()),
        None => host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)),
    }
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(address) => f.write_str(address),
            Listen::Unix(path) => write!(f, "{UNIX_PREFIX}{}", path.display()),
        }
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenError::NoHost(port) => write!(
                f,
                "which address? write 127.0.0.1:{port} for this machine only, or 0.0.0.0:{port} for every network"
            ),
            ListenError::NotAnAddress(text) => {
                write!(f, "{text:?} is neither host:port (127.0.0.1:5000, [::1]:5000) nor unix:/path/of/socket")
            }
            ListenError::NoPath => write!(f, "the path after {UNIX_PREFIX} is missing"),
            ListenError::InUse(place) => {
                write!(f, "{place} is in use by another program: stop it, or listen somewhere else")
            }
            ListenError::NotASocket(path) => {
                write!(f, "{} exists and is not a socket: move it away, or listen somewhere else", path.display())
            }
            ListenError::Failed(place, error) => write!(f, "cannot listen on {place}: {error}"),
        }
    }
}

impl std::error::Error for ListenError {}

/// A bound public socket, non-blocking and close-on-exec.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: String,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix { listener: UnixListener, _file: SocketFile },
}

/// The file of a Unix socket, removed on drop unless another program has put its own in the place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device_and_inode: (u64, u64),
}

/// Binds. A stale Unix socket (nobody answers) is replaced; a live one, or a file that is none, is an error.
pub fn bind(listen: &Listen) -> Result<Listener, ListenError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse(listen.to_string()),
        _ => ListenError::Failed(listen.to_string(), error),
    };
    match listen {
        Listen::Tcp(address) => bind_tcp(address).map_err(failed),
        Listen::Unix(path) => {
            make_room(path)?;
            bind_unix(path).map_err(failed)
        }
    }
}

fn bind_tcp(address: &str) -> io::Result<Listener> {
    let listener = TcpListener::bind(address)?;
    rustix::net::listen(&listener, BACKLOG)?;
    listener.set_nonblocking(true)?;
    let address = format!("http://{}", listener.local_addr()?);
    Ok(Listener { socket: Socket::Tcp(listener), address })
}

fn bind_unix(path: &Path) -> io::Result<Listener> {
    let listener = UnixListener::bind(path)?;
    let file = SocketFile { path: path.into(), device_and_inode: device_and_inode(path)? };
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
    rustix::net::listen(&listener, BACKLOG)?;
    listener.set_nonblocking(true)?;
    let address = format!("{UNIX_PREFIX}{}", path.display());
    Ok(Listener { socket: Socket::Unix { listener, _file: file }, address })
}

/// A killed process leaves its socket file behind, and bind refuses any file. Only a refused connection proves that
/// nobody listens: a full backlog or missing permission is an answer of someone alive.
fn make_room(path: &Path) -> Result<(), ListenError> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(ListenError::NotASocket(path.into()));
    }
    let place = Listen::Unix(path.into()).to_string();
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| ListenError::Failed(place, error))
        }
        _ => Err(ListenError::InUse(place)),
    }
}

fn device_and_inode(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if device_and_inode(&self.path).is_ok_and(|now| now == self.device_and_inode) {
            let _ = fs::remove_file(&self.path); // the next start removes a stale file too
        }
    }
}

impl Listener {
    /// The next waiting connection and its peer: `203.0.113.9:4711`, or `unix`. `WouldBlock` when none waits.
    pub fn accept(&self) -> io::Result<(Stream, String)> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                Ok((Stream::Tcp(stream), canonical(peer).to_string()))
            }
            Socket::Unix { listener, .. } => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok((Stream::Unix(stream), "unix".into()))
            }
        }
    }

    /// What a client connects to: `http://127.0.0.1:5000`, with the real port when port 0 was asked for, or
    /// `unix:/path`.
    pub fn address(&self) -> &str {
        &self.address
    }
}

/// A listener on `[::]` sees IPv4 peers as `::ffff:203.0.113.9`; people and rules know them as 203.0.113.9.
fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Tcp(listener) => listener.as_fd(),
            Socket::Unix { listener, .. } => listener.as_fd(),
        }
    }
}

/// An accepted connection, non-blocking; without Nagle's delay on TCP, since an answer is one write.
#[derive(Debug)]
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.shutdown(how),
            Stream::Unix(stream) => stream.shutdown(how),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write_vectored(slices),
            Stream::Unix(stream) => stream.write_vectored(slices),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // a socket holds nothing back
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    fn in_directory(name: &str) -> Result<(tempfile::TempDir, Listen), io::Error> {
        let directory = tempfile::tempdir()?;
        let listen = Listen::Unix(directory.path().join(name));
        Ok((directory, listen))
    }

    #[test]
    fn places_are_read_as_the_operator_writes_them() -> Outcome {
        for text in ["127.0.0.1:5000", "[::1]:5000", "localhost:0", "unix:/run/hookbox/http.sock"] {
            assert_eq!(text.parse::<Listen>()?.to_string(), text);
        }
        Ok(())
    }

    #[test]
    fn what_is_no_place_is_refused() {
        let wrong =
            ["", ":", "5000", ":5000", "::1:5000", "[::1]", "a b:1", "host:+1", "host:65536", "http://x:1", "unix:"];
        for text in wrong {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_port_without_host_is_refused_with_advice() {
        let error = ":5000".parse::<Listen>().map_err(|error| error.to_string());
        assert!(error.is_err_and(|text| text.contains("127.0.0.1:5000")));
    }

    #[test]
    fn port_0_is_told_and_a_port_in_use_is_named() -> Outcome {
        let first = bind(&"127.0.0.1:0".parse()?)?;
        let port = first.address().rsplit(':').next().unwrap_or_default().to_string();
        assert_ne!(port, "0");
        let second = bind(&format!("127.0.0.1:{port}").parse()?);
        assert!(matches!(second, Err(ListenError::InUse(place)) if place.ends_with(&port)));
        Ok(())
    }

    #[test]
    fn a_unix_socket_has_its_mode_and_goes_with_the_listener() -> Outcome {
        let (directory, listen) = in_directory("s")?;
        let path = directory.path().join("s");
        let listener = bind(&listen)?;
        assert_eq!(fs::metadata(&path)?.mode() & 0o777, SOCKET_MODE);
        assert!(matches!(bind(&listen), Err(ListenError::InUse(_))), "a live socket is not taken over");
        drop(listener);
        assert!(!path.exists());
        Ok(())
    }

    #[test]
    fn a_stale_unix_socket_is_replaced() -> Outcome {
        let (directory, listen) = in_directory("s")?;
        drop(UnixListener::bind(directory.path().join("s"))?);
        bind(&listen)?;
        Ok(())
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() -> Outcome {
        let (directory, listen) = in_directory("s")?;
        fs::write(directory.path().join("s"), "precious")?;
        assert!(matches!(bind(&listen), Err(ListenError::NotASocket(_))));
        assert_eq!(fs::read_to_string(directory.path().join("s"))?, "precious");
        Ok(())
    }

    #[test]
    fn the_socket_of_a_successor_is_left_alone() -> Outcome {
        let (directory, listen) = in_directory("s")?;
        let path = directory.path().join("s");
        let listener = bind(&listen)?;
        fs::remove_file(&path)?;
        let successor = UnixListener::bind(&path)?;
        drop(listener);
        assert!(path.exists());
        drop(successor);
        Ok(())
    }

    #[test]
    fn a_mapped_peer_is_named_as_ipv4() -> Outcome {
        assert_eq!(canonical("[::ffff:203.0.113.9]:4711".parse()?).to_string(), "203.0.113.9:4711");
        Ok(())
    }
}
