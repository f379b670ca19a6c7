//! The public sockets: where to listen, binding, and one accepted connection.

use crate::http::Peer;
use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, IoSlice, Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// Thousands may connect at the same instant, of whom the kernel drops those that do not fit: they try again a second
/// later. It takes as many as this by default; std asks for 128.
const BACKLOG: i32 = 4096;

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
    /// The service manager passed something that no sender can connect to.
    NotListening,
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

impl Listen {
    /// True where it can be told from the text alone that only this machine connects.
    pub fn is_local(&self) -> bool {
        let Listen::Tcp(address) = self else { return true };
        let host = address.rsplit_once(':').map_or("", |(host, _)| host);
        let ip: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        host.eq_ignore_ascii_case("localhost") || ip.is_some_and(|ip| ip.is_loopback())
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
            ListenError::NotListening => write!(
                f,
                "the socket passed by the service manager is not listening: it needs ListenStream= and Accept=no"
            ),
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
    /// None for TCP, and where somebody else has bound the socket.
    _file: Option<SocketFile>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
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
    Ok(Listener { socket: Socket::Tcp(listener), address, _file: None })
}

fn bind_unix(path: &Path) -> io::Result<Listener> {
    let listener = UnixListener::bind(path)?;
    let file = SocketFile { path: path.into(), device_and_inode: device_and_inode(path)? };
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
    rustix::net::listen(&listener, BACKLOG)?;
    listener.set_nonblocking(true)?;
    let address = format!("{UNIX_PREFIX}{}", path.display());
    Ok(Listener { socket: Socket::Unix(listener), address, _file: Some(file) })
}

/// Takes over a socket on which the service manager listens. Its file and its backlog are the manager's.
pub fn adopt(socket: OwnedFd) -> Result<Listener, ListenError> {
    adopt_listening(socket)
        .map_err(|error| ListenError::Failed("the socket passed by the service manager".into(), error))?
        .ok_or(ListenError::NotListening)
}

fn adopt_listening(socket: OwnedFd) -> io::Result<Option<Listener>> {
    let is_listening =
        matches!(sockopt::socket_type(&socket), Ok(SocketType::STREAM)) && sockopt::socket_acceptconn(&socket)?;
    if !is_listening {
        return Ok(None);
    }
    rustix::io::ioctl_fionbio(&socket, true)?;
    match sockopt::socket_domain(&socket)? {
        AddressFamily::UNIX => {
            let listener = UnixListener::from(socket);
            let address = unix_address(&listener.local_addr()?);
            Ok(Some(Listener { socket: Socket::Unix(listener), address, _file: None }))
        }
        AddressFamily::INET | AddressFamily::INET6 => {
            let listener = TcpListener::from(socket);
            let address = format!("http://{}", listener.local_addr()?);
            Ok(Some(Listener { socket: Socket::Tcp(listener), address, _file: None }))
        }
        _ => Ok(None),
    }
}

/// An abstract name is written as the tools of the system write it, with `@`.
fn unix_address(address: &std::os::unix::net::SocketAddr) -> String {
    let abstract_name = address.as_abstract_name().map(|name| format!("@{}", String::from_utf8_lossy(name)));
    let path = address.as_pathname().map(|path| path.display().to_string());
    format!("{UNIX_PREFIX}{}", path.or(abstract_name).unwrap_or_default())
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
    /// The next waiting connection and its peer. `WouldBlock` when none waits.
    pub fn accept(&self) -> io::Result<(Stream, Peer)> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                Ok((Stream::Tcp(stream), peer.into()))
            }
            Socket::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok((Stream::Unix(stream), Peer::Unix))
            }
        }
    }

    /// What a client connects to: `http://127.0.0.1:5000`, with the real port when port 0 was asked for, or
    /// `unix:/path`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The address of this machine that it listens on; `None` for a Unix socket.
    pub fn ip(&self) -> Option<IpAddr> {
        match &self.socket {
            Socket::Tcp(listener) => listener.local_addr().ok().map(|address| address.ip().to_canonical()),
            Socket::Unix(_) => None,
        }
    }

    /// True where only this machine connects.
    pub fn is_local(&self) -> bool {
        matches!(self.socket, Socket::Unix(_)) || self.ip().is_some_and(|ip| ip.is_loopback())
    }

    /// Where this process itself can connect to it.
    pub fn local_address(&self) -> Result<LocalAddress, ListenError> {
        let address = rustix::net::getsockname(self);
        address.map(LocalAddress).map_err(|error| ListenError::Failed(self.address.clone(), error.into()))
    }
}

/// The address of a listener of this machine. One on `0.0.0.0` or `[::]` is reached on the loopback: Linux takes the
/// unspecified address for that.
#[derive(Clone, Debug)]
pub struct LocalAddress(SocketAddrAny);

impl LocalAddress {
    /// Where another process of this machine is reached that listens there; a name is looked up.
    pub fn of(listen: &Listen) -> io::Result<LocalAddress> {
        match listen {
            Listen::Tcp(address) => {
                let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
                Ok(LocalAddress(address.to_socket_addrs()?.next().ok_or_else(none)?.into()))
            }
            Listen::Unix(path) => Ok(LocalAddress(SocketAddrUnix::new(path)?.into())),
        }
    }

    /// Connects as any sender does. Connecting, and each read and write afterwards, fail with `WouldBlock` when they
    /// take longer than what is left of `timeout`. A blocking connect heeds the limit for sending (socket(7)).
    pub fn connect(&self, timeout: Duration) -> io::Result<File> {
        let start = Instant::now();
        let socket = rustix::net::socket_with(self.0.address_family(), SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(at_least_a_moment(timeout)))?;
        rustix::net::connect(&socket, &self.0)?;
        let left = timeout.saturating_sub(start.elapsed());
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(at_least_a_moment(left)))?;
        Ok(socket.into())
    }
}

/// Zero would mean for ever.
fn at_least_a_moment(timeout: Duration) -> Duration {
    timeout.max(Duration::from_millis(1))
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Tcp(listener) => listener.as_fd(),
            Socket::Unix(listener) => listener.as_fd(),
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
}
