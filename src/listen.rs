//! The public sockets: binding, accepting, and one accepted connection.

mod address;

use crate::http::Peer;
use address::UNIX_PREFIX;
pub use address::{AddressError, Listen};
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
use std::time::{Duration, Instant};

/// Thousands may connect at the same instant; those that do not fit are dropped by the kernel and try again a second
/// later. This is the kernel's default maximum; std asks for 128.
const BACKLOG: i32 = 4096;

/// Owner and group may connect: a proxy gets access by being in the group.
const SOCKET_MODE: u32 = 0o660;

/// Why listening failed. Written for the operator.
#[derive(Debug)]
pub enum ListenError {
    InUse(String),
    NotASocket(PathBuf),
    /// The service manager passed something that no client can connect to.
    NotListening,
    Failed(String, io::Error),
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenError::InUse(address) => {
                write!(f, "{address} is in use by another program: stop it, or listen somewhere else")
            }
            ListenError::NotASocket(path) => {
                write!(f, "{} exists and is not a socket: move it away, or listen somewhere else", path.display())
            }
            ListenError::NotListening => write!(
                f,
                "the socket passed by the service manager is not listening: it needs ListenStream= and Accept=no"
            ),
            ListenError::Failed(address, error) => write!(f, "cannot listen on {address}: {error}"),
        }
    }
}

impl std::error::Error for ListenError {}

/// A bound public socket, non-blocking and close-on-exec.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: String,
    /// `None` for TCP, and for a socket that the service manager has bound.
    _file: Option<SocketFile>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// The file of a Unix socket, removed on drop unless another program has replaced it.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device_and_inode: (u64, u64),
}

/// Binds. A stale Unix socket (connections are refused) is replaced; a live one and any other file are errors.
pub fn bind(listen: &Listen) -> Result<Listener, ListenError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse(listen.to_string()),
        _ => ListenError::Failed(listen.to_string(), error),
    };
    match listen {
        Listen::Tcp(address) => bind_tcp(address).map_err(failed),
        Listen::Unix(path) => {
            remove_stale(path)?;
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

/// Takes over a listening socket from the service manager, which owns its file and has set its backlog.
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

/// An abstract name is written with `@`, as the system's tools do.
fn unix_address(address: &std::os::unix::net::SocketAddr) -> String {
    let abstract_name = address.as_abstract_name().map(|name| format!("@{}", String::from_utf8_lossy(name)));
    let path = address.as_pathname().map(|path| path.display().to_string());
    format!("{UNIX_PREFIX}{}", path.or(abstract_name).unwrap_or_default())
}

/// A killed process leaves its socket's file behind, and bind refuses any existing file. Only a refused connection proves
/// that no process listens; a full backlog or a missing permission does not.
fn remove_stale(path: &Path) -> Result<(), ListenError> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(ListenError::NotASocket(path.into()));
    }
    let address = Listen::Unix(path.into()).to_string();
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| ListenError::Failed(address, error))
        }
        _ => Err(ListenError::InUse(address)),
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
    /// The next connection and its peer. `WouldBlock` if none waits.
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

    /// The address for clients: `http://127.0.0.1:5000`, with the real port if it was bound to port 0, or `unix:/path`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The IP address that it listens on; `None` for a Unix socket.
    pub fn ip(&self) -> Option<IpAddr> {
        match &self.socket {
            Socket::Tcp(listener) => listener.local_addr().ok().map(|address| address.ip().to_canonical()),
            Socket::Unix(_) => None,
        }
    }

    /// True if only this machine can connect.
    pub fn is_local(&self) -> bool {
        matches!(self.socket, Socket::Unix(_)) || self.ip().is_some_and(|ip| ip.is_loopback())
    }

    /// The address for this process itself.
    pub fn local_address(&self) -> Result<LocalAddress, ListenError> {
        let address = rustix::net::getsockname(self);
        address.map(LocalAddress).map_err(|error| ListenError::Failed(self.address.clone(), error.into()))
    }
}

/// The address of a listener of this process. One on `0.0.0.0` or `[::]` is reached on the loopback: Linux takes the
/// unspecified address for that.
#[derive(Clone, Debug)]
pub struct LocalAddress(SocketAddrAny);

impl LocalAddress {
    /// The address at which another process of this machine listens; a name is looked up.
    pub fn of(listen: &Listen) -> io::Result<LocalAddress> {
        match listen {
            Listen::Tcp(address) => {
                let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
                Ok(LocalAddress(address.to_socket_addrs()?.next().ok_or_else(none)?.into()))
            }
            Listen::Unix(path) => Ok(LocalAddress(SocketAddrUnix::new(path)?.into())),
        }
    }

    /// Connects as any client does. Connecting, and each read and write afterwards, fail with `WouldBlock` when they
    /// take longer than what is left of `timeout`. The timeout for sending applies to a blocking connect too (socket(7)).
    pub fn connect(&self, timeout: Duration) -> io::Result<File> {
        let start = Instant::now();
        let socket = rustix::net::socket_with(self.0.address_family(), SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(non_zero(timeout)))?;
        rustix::net::connect(&socket, &self.0)?;
        let left = timeout.saturating_sub(start.elapsed());
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(non_zero(left)))?;
        Ok(socket.into())
    }
}

/// Zero would mean no timeout.
fn non_zero(timeout: Duration) -> Duration {
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

/// An accepted connection, non-blocking; without Nagle's delay on TCP, since a response is one write.
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
        Ok(()) // nothing is buffered here
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
    fn port_0_is_reported_as_the_real_port_and_a_port_in_use_is_named() -> Outcome {
        let first = bind(&"127.0.0.1:0".parse()?)?;
        let port = first.address().rsplit(':').next().unwrap_or_default().to_string();
        assert_ne!(port, "0");
        let second = bind(&format!("127.0.0.1:{port}").parse()?);
        assert!(matches!(second, Err(ListenError::InUse(place)) if place.ends_with(&port)));
        Ok(())
    }

    #[test]
    fn a_unix_socket_has_its_mode_and_is_removed_with_the_listener() -> Outcome {
        let (directory, listen) = in_directory("s")?;
        let path = directory.path().join("s");
        let listener = bind(&listen)?;
        assert_eq!(fs::metadata(&path)?.mode() & 0o777, SOCKET_MODE);
        assert!(matches!(bind(&listen), Err(ListenError::InUse(_))), "a live socket is not replaced");
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
    fn a_file_that_is_not_a_socket_is_kept() -> Outcome {
        let (directory, listen) = in_directory("s")?;
        fs::write(directory.path().join("s"), "precious")?;
        assert!(matches!(bind(&listen), Err(ListenError::NotASocket(_))));
        assert_eq!(fs::read_to_string(directory.path().join("s"))?, "precious");
        Ok(())
    }

    #[test]
    fn the_socket_of_a_successor_is_kept() -> Outcome {
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
