//! The public sockets: binding, accepting, and connecting to one's own.

mod address;

use crate::http::Peer;
pub use address::Listen;
use address::UNIX_PREFIX;
use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Thousands may connect at the same instant; those that do not fit are dropped by the kernel and try again a second
/// later. This is the kernel's default maximum; std asks for 128.
const BACKLOG: i32 = 4096;

/// Owner and group may connect: a proxy gets access by being in the group.
const SOCKET_MODE: u32 = 0o660;

const ACCEPTED: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

/// An accepted connection, non-blocking; without Nagle's delay on TCP, since a response is one write.
pub type Stream = File;

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
    socket: OwnedFd,
    local_address: LocalAddress,
    address: String,
    outlives_process: bool,
    /// `None` for TCP, and for a socket that the service manager has bound.
    _file: Option<SocketFile>,
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
    Listener::new(listener.into(), None, false)
}

/// No client can connect before the socket has its permissions, because it listens only then.
fn bind_unix(path: &Path) -> io::Result<Listener> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    let file = SocketFile { path: path.into(), device_and_inode: device_and_inode(path)? };
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
    rustix::net::listen(&socket, BACKLOG)?;
    Listener::new(socket, Some(file), false)
}

/// Why no program of this machine can listen at this address now; `None` where it can, or where the address is in use.
/// Written for the operator. Nothing listens: the address is bound without its port.
pub fn unreachable(listen: &Listen) -> Option<String> {
    let Listen::Tcp(address) = listen else { return None };
    let bound = address.to_socket_addrs().and_then(|mut addresses| {
        let address = addresses.next().ok_or(io::ErrorKind::NotFound)?;
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        Ok(rustix::net::bind(&socket, &SocketAddr::new(address.ip(), 0))?)
    });
    let error = bound.err()?;
    let what = match error.kind() {
        io::ErrorKind::AddrNotAvailable => {
            "this machine does not have that address (ip address shows those that it has)"
        }
        _ => return Some(format!("{listen} cannot be listened on: {error}")),
    };
    Some(format!("{listen} cannot be listened on: {what}"))
}

/// Takes over a listening socket from the service manager, which owns its file and has set its backlog.
pub fn adopt(socket: OwnedFd) -> Result<Listener, ListenError> {
    let is_listening = matches!(sockopt::socket_type(&socket), Ok(SocketType::STREAM))
        && matches!(sockopt::socket_acceptconn(&socket), Ok(true))
        && matches!(
            sockopt::socket_domain(&socket),
            Ok(AddressFamily::UNIX | AddressFamily::INET | AddressFamily::INET6)
        );
    if !is_listening {
        return Err(ListenError::NotListening);
    }
    Listener::new(socket, None, true)
        .map_err(|error| ListenError::Failed("the socket passed by the service manager".into(), error))
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
    fn new(socket: OwnedFd, file: Option<SocketFile>, outlives_process: bool) -> io::Result<Listener> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let local_address = LocalAddress(rustix::net::getsockname(&socket)?);
        let address = match local_address.tcp() {
            Some(address) => format!("http://{address}"),
            None => format!("{UNIX_PREFIX}{}", local_address.unix_name()),
        };
        Ok(Listener { socket, local_address, address, outlives_process, _file: file })
    }

    /// The next connection and its peer. `WouldBlock` if none waits.
    pub fn accept(&self) -> io::Result<(Stream, Peer)> {
        let accept = || rustix::net::acceptfrom_with(&self.socket, ACCEPTED);
        let (socket, peer) = rustix::io::retry_on_intr(accept)?;
        let peer = match peer.and_then(|address| SocketAddr::try_from(address).ok()) {
            Some(address) => {
                sockopt::set_tcp_nodelay(&socket, true)?;
                address.into()
            }
            None => Peer::Unix,
        };
        Ok((socket.into(), peer))
    }

    /// The address for clients: `http://127.0.0.1:5000`, with the real port if it was bound to port 0, or `unix:/path`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The service manager has passed the socket and keeps it open: connections wait at it for the next process.
    pub fn outlives_process(&self) -> bool {
        self.outlives_process
    }

    /// The IP address that it listens on; `None` for a Unix socket.
    pub fn ip(&self) -> Option<IpAddr> {
        self.local_address.tcp().map(|address| address.ip().to_canonical())
    }

    /// The address to connect to from this machine.
    pub fn local_address(&self) -> LocalAddress {
        self.local_address.clone()
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The address of a listener on this machine. One on `0.0.0.0` or `[::]` is reached on the loopback: Linux takes the
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

    fn tcp(&self) -> Option<SocketAddr> {
        self.0.clone().try_into().ok()
    }

    /// The path of a Unix socket. An abstract name is written with `@`, as the system's tools do.
    fn unix_name(&self) -> String {
        let Ok(address) = SocketAddrUnix::try_from(self.0.clone()) else { return String::new() };
        let abstract_name = address.abstract_name().map(|name| format!("@{}", String::from_utf8_lossy(name)));
        let path = address.path_bytes().map(|path| String::from_utf8_lossy(path).into_owned());
        path.or(abstract_name).unwrap_or_default()
    }
}

/// Zero would mean no timeout.
fn non_zero(timeout: Duration) -> Duration {
    timeout.max(Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

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
    fn an_address_that_this_machine_does_not_have_is_told() -> Outcome {
        let problem = unreachable(&"192.0.2.9:9000".parse()?).unwrap_or_default();
        assert!(problem.contains("192.0.2.9:9000") && problem.contains("does not have"), "{problem}");
        let listener = bind(&"127.0.0.1:0".parse()?)?;
        let in_use = listener.address().trim_start_matches("http://").parse()?;
        assert_eq!(unreachable(&in_use), None);
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
