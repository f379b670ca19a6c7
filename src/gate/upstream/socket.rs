//! The Unix socket between gate and tiny_http: a path in a directory that no other user can enter. (Abstract names have no
//! permissions, and tiny_http panics on them when it is dropped.)

use crate::http::Server;
use crate::http::bodies::Bodies;
use rustix::process::geteuid;
use std::env;
use std::error::Error;
use std::fmt;
use std::fs::{self, DirBuilder, Permissions};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// `sun_path` has 108 bytes, one of them for the end.
const MAX_SOCKET_PATH_BYTES: usize = 107;

const DIRECTORY_MODE: u32 = 0o700;
const SOCKET_NAME: &str = "http";

/// In a shared temporary directory another user may take our name first, but can hardly guess a random one.
const RANDOM_NAMES: usize = 4;

/// tiny_http on its socket. Other clones of the server must be dropped before this is: when tiny_http ends, it connects to
/// the socket.
pub struct Upstream {
    // In the order in which they must be dropped.
    server: Server,
    directory: PrivateDirectory,
}

/// Where the gate reaches tiny_http with heads, and the receiver with bodies.
pub struct Address {
    pub socket: PathBuf,
    pub bodies: Bodies,
}

struct PrivateDirectory(PathBuf);

/// Why there is no socket, for the operator.
#[derive(Debug)]
pub struct UpstreamError(String);

impl fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for UpstreamError {}

impl Upstream {
    /// Starts tiny_http in a directory named after `name_hint`, which must be unique among living processes: a socket found
    /// there is treated as that of a killed one. `last_resort` is used where the usual directories are missing, not ours or
    /// full.
    pub fn create(name_hint: &str, last_resort: &Path) -> Result<Upstream, UpstreamError> {
        let created = base_directories().find_map(|base| Upstream::create_in(&base, name_hint).ok());
        created.map_or_else(|| Upstream::create_in(last_resort, name_hint), Ok)
    }

    fn create_in(base: &Path, name_hint: &str) -> Result<Upstream, UpstreamError> {
        let directory = PrivateDirectory::create(base, name_hint)?;
        let path = directory.socket();
        let failed = |error| UpstreamError(format!("cannot listen on {}: {error}", path.display()));
        let server = Server::listen(&path).map_err(failed)?;
        Ok(Upstream { server, directory })
    }

    pub fn server(&self) -> Server {
        self.server.clone()
    }

    /// For the gate.
    pub fn address(&self) -> Address {
        Address { socket: self.directory.socket(), bodies: self.server.bodies() }
    }
}

/// The directory of systemd, that of the login session, and the one that every machine has.
fn base_directories() -> impl Iterator<Item = PathBuf> {
    let systemd = env::var_os("RUNTIME_DIRECTORY").and_then(|list| env::split_paths(&list).next());
    let session = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let named = systemd.into_iter().chain(session).filter(|path| !path.as_os_str().is_empty());
    named.chain([env::temp_dir()])
}

#[cfg(test)]
impl Address {
    /// Of a server that takes no bodies.
    pub fn of(socket: &Path) -> Address {
        Address { socket: socket.to_path_buf(), bodies: Bodies::default() }
    }
}

impl PrivateDirectory {
    fn create(base: &Path, name_hint: &str) -> Result<PrivateDirectory, UpstreamError> {
        let first = base.join(format!("hookbox-{name_hint}"));
        let random =
            (0..RANDOM_NAMES).map(|_| base.join(format!("hookbox-{:016x}", RandomState::new().hash_one(name_hint))));
        for path in std::iter::once(first.clone()).chain(random) {
            let socket = path.join(SOCKET_NAME);
            if socket.as_os_str().len() > MAX_SOCKET_PATH_BYTES {
                return Err(UpstreamError(format!(
                    "{} is longer than the {MAX_SOCKET_PATH_BYTES} bytes of a socket's path: set RUNTIME_DIRECTORY to a \
                     shorter directory",
                    socket.display()
                )));
            }
            let unusable = |error| {
                UpstreamError(format!(
                    "cannot use {} for the private socket: {error} (set RUNTIME_DIRECTORY to a directory that is yours)",
                    path.display()
                ))
            };
            if make_ours(&path).map_err(unusable)? {
                return Ok(PrivateDirectory(path));
            }
        }
        Err(UpstreamError(format!(
            "{} belongs to someone else: set RUNTIME_DIRECTORY to a directory that is yours",
            first.display()
        )))
    }

    fn socket(&self) -> PathBuf {
        self.0.join(SOCKET_NAME)
    }
}

/// Creates the directory, or clears what a killed process left there. False if it belongs to another user.
fn make_ours(path: &Path) -> io::Result<bool> {
    match DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !is_ours(path)? => return Ok(false),
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::set_permissions(path, Permissions::from_mode(DIRECTORY_MODE))?;
    match fs::remove_file(path.join(SOCKET_NAME)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(true),
    }
}

/// A symbolic link is never ours: it could lead anywhere.
fn is_ours(path: &Path) -> io::Result<bool> {
    let metadata = fs::symlink_metadata(path)?;
    Ok(metadata.is_dir() && metadata.uid() == geteuid().as_raw())
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.socket()); // exists only if the server did not end in order
        let _ = fs::remove_dir(&self.0); // the next start clears the rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixStream;

    type Outcome = Result<(), Box<dyn Error>>;

    #[test]
    fn the_socket_is_private_and_goes_with_its_directory() -> Outcome {
        let base = tempfile::tempdir()?;
        let upstream = Upstream::create_in(base.path(), "a1b2")?;
        let path = upstream.address().socket;
        assert_eq!(path, base.path().join("hookbox-a1b2/http"));
        assert_eq!(fs::metadata(base.path().join("hookbox-a1b2"))?.mode() & 0o7777, DIRECTORY_MODE);
        UnixStream::connect(&path)?;
        drop(upstream);
        assert_eq!(fs::read_dir(base.path())?.count(), 0);
        Ok(())
    }

    #[test]
    fn the_remains_of_a_killed_process_are_cleared() -> Outcome {
        let base = tempfile::tempdir()?;
        let directory = base.path().join("hookbox-x");
        fs::create_dir(&directory)?;
        fs::set_permissions(&directory, Permissions::from_mode(0o755))?;
        drop(std::os::unix::net::UnixListener::bind(directory.join(SOCKET_NAME))?);
        let upstream = Upstream::create_in(base.path(), "x")?;
        assert_eq!(upstream.address().socket, directory.join(SOCKET_NAME));
        assert_eq!(fs::metadata(&directory)?.mode() & 0o7777, DIRECTORY_MODE);
        Ok(())
    }

    #[test]
    fn a_link_in_our_place_is_not_followed() -> Outcome {
        let base = tempfile::tempdir()?;
        let elsewhere = tempfile::tempdir()?;
        symlink(elsewhere.path(), base.path().join("hookbox-x"))?;
        let upstream = Upstream::create_in(base.path(), "x")?;
        assert_ne!(upstream.address().socket, base.path().join("hookbox-x").join(SOCKET_NAME));
        assert!(upstream.address().socket.starts_with(base.path()));
        assert_eq!(fs::read_dir(elsewhere.path())?.count(), 0);
        Ok(())
    }

    #[test]
    fn a_path_that_is_too_long_names_the_way_out() {
        let error = Upstream::create_in(&env::temp_dir(), &"x".repeat(100)).err().map(|error| error.to_string());
        assert!(error.is_some_and(|text| text.contains("RUNTIME_DIRECTORY")));
    }
}
