//! The protocols between systemd, or another service manager, and a service.
//!
//! The manager passes sockets that it has bound and keeps open, so that a restart refuses no connection (sd_listen_fds(3)).
//! The service notifies the manager of its state (sd_notify(3)). `hookbox systemd` prints units that use both.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use sd_notify::NotifyState;

/// `SD_LISTEN_FDS_START`: after standard input, output and error.
const FIRST_FD: RawFd = 3;

/// More than any unit has; a number beyond it is a mistake.
const MAX_FDS: usize = 64;

/// The `FileDescriptorName` of the public socket.
const PUBLIC: &str = "http";

/// The private listener's. A lone socket of this name is not the public one.
const ADMIN: &str = "admin";

/// The units, as `hookbox systemd` prints them.
pub const SERVICE_UNIT: &str = include_str!("systemd/hookbox.service");
pub const SOCKET_UNIT: &str = include_str!("systemd/hookbox.socket");

/// Whether a service manager wants to be notified.
pub fn is_managed() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// Notifies the service manager, where there is one.
pub fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::debug!("the service manager cannot be notified: {error}");
    }
}

/// Notifies the service manager that a reload has begun; `READY` follows when it has ended.
pub fn notify_reloading() {
    // The manager ignores a reload without the time.
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        notify(&[NotifyState::Reloading, now]);
    }
}

/// Notifies the service manager that the start takes so much longer than now, whatever `TimeoutStartSec` in the unit says.
pub fn notify_longer_start(timeout: Duration) {
    notify(&[extended(timeout)]);
}

/// Notifies the service manager that this process stops, and how long that may take: `TimeoutStopSec` in the unit may be
/// shorter than `stop_timeout` in the config (`EXTEND_TIMEOUT_USEC` in sd_notify(3)).
pub fn notify_stopping(timeout: Duration) {
    notify(&[NotifyState::Stopping, extended(timeout)]);
}

fn extended(timeout: Duration) -> NotifyState<'static> {
    NotifyState::ExtendTimeoutUsec(u32::try_from(timeout.as_micros()).unwrap_or(u32::MAX))
}

/// The sockets that were passed to this process.
#[derive(Debug, Default)]
pub struct Passed {
    /// The one that is named `http`, or else the only one.
    pub public: Option<OwnedFd>,
    /// The one that is named `admin`.
    pub admin: Option<OwnedFd>,
}

/// Takes over what the service manager has passed. An error is written for the operator.
///
/// They are described by `LISTEN_PID`, `LISTEN_FDS` and `LISTEN_FDNAMES`. Children may inherit these variables, but
/// `LISTEN_PID` is not their process id, and they do not inherit the sockets.
pub fn passed_sockets(env: &dyn Fn(&str) -> Option<OsString>) -> Result<Passed, String> {
    let names = passed_names(std::process::id(), env)?;
    let take = |fd| take(fd).map(Some).map_err(|error| format!("LISTEN_FDS names the descriptor {fd}: {error}"));
    let mut fds: Vec<Option<OwnedFd>> = (FIRST_FD..).take(names.len()).map(take).collect::<Result<_, _>>()?;
    let (public, admin) = (public_among(&names), names.iter().position(|name| name == ADMIN));
    if public.is_none() && names.iter().any(|name| name != ADMIN) {
        return Err(format!(
            "none of the sockets passed ({}) is the public one: write FileDescriptorName={PUBLIC} into its unit",
            names.join(", ")
        ));
    }
    let mut pick = |at: Option<usize>| fds.get_mut(at?)?.take();
    Ok(Passed { public: pick(public), admin: pick(admin) })
}

/// The name of each socket that was passed to the process `pid`, in their order; those without a name are `unknown`.
fn passed_names(pid: u32, env: &dyn Fn(&str) -> Option<OsString>) -> Result<Vec<String>, String> {
    let text = |name: &str| env(name).unwrap_or_default().to_string_lossy().into_owned();
    if text("LISTEN_PID") != pid.to_string() {
        return Ok(Vec::new());
    }
    let count = text("LISTEN_FDS");
    let Some(count) = count.parse().ok().filter(|count| *count <= MAX_FDS) else {
        return Err(format!("LISTEN_FDS={count} is not a number of sockets"));
    };
    let names = text("LISTEN_FDNAMES");
    let names = names.split(':').chain(std::iter::repeat("")).take(count);
    Ok(names.map(|name| if name.is_empty() { "unknown" } else { name }.to_owned()).collect())
}

fn public_among(names: &[String]) -> Option<usize> {
    match names {
        [only] if only != ADMIN => Some(0),
        _ => names.iter().position(|name| name == PUBLIC),
    }
}

/// Where units are, the operator's first (systemd.unit(5)).
const UNIT_DIRECTORIES: [&str; 4] =
    ["/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system"];

/// The file from which the installed hookbox.service loads this credential. `None` where no such unit names it.
pub fn credential_source(name: &str) -> Option<PathBuf> {
    let directories = || UNIT_DIRECTORIES.iter().map(Path::new);
    let unit = directories().find_map(|directory| fs::read_to_string(directory.join("hookbox.service")).ok());
    let drop_ins = directories().filter_map(|directory| fs::read_dir(directory.join("hookbox.service.d")).ok());
    let mut drop_ins: Vec<PathBuf> = drop_ins.flatten().flatten().map(|entry| entry.path()).collect();
    drop_ins.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
    drop_ins.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    let texts = unit.into_iter().chain(drop_ins.iter().filter_map(|path| fs::read_to_string(path).ok()));
    texts.filter_map(|text| loaded_from(&text, name)).next_back()
}

/// The path of a line `LoadCredential=NAME:PATH`. Where the path is a directory, its file F is the credential NAME_F.
fn loaded_from(unit: &str, name: &str) -> Option<PathBuf> {
    let lines = unit.lines().filter_map(|line| line.trim().strip_prefix("LoadCredential=")?.split_once(':'));
    let source = |(id, path): (&str, &str)| match name.strip_prefix(id)? {
        "" => Some(PathBuf::from(path)),
        rest => rest.strip_prefix('_').map(|file| Path::new(path).join(file)),
    };
    lines.filter_map(source).rfind(|path| path.is_absolute())
}

/// A descriptor of our own for the same socket. Both are closed in children.
fn take(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the descriptor is only borrowed, and we never close it, so that it stays open as long as the borrow. If it
    // is not open at all, the calls below fail. It is ours to use: the variables name this very process, so it was passed
    // for that.
    #[allow(unsafe_code)]
    let passed = unsafe { BorrowedFd::borrow_raw(fd) };
    fcntl_setfd(passed, FdFlags::CLOEXEC)?;
    Ok(fcntl_dupfd_cloexec(passed, FIRST_FD)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pid: &str, fds: &str, fd_names: Option<&str>) -> Result<Vec<String>, String> {
        let env = |name: &str| match name {
            "LISTEN_PID" => Some(pid.into()),
            "LISTEN_FDS" => Some(fds.into()),
            "LISTEN_FDNAMES" => fd_names.map(OsString::from),
            _ => None,
        };
        passed_names(7, &env)
    }

    #[test]
    fn sockets_are_named_in_their_order() {
        assert_eq!(names("7", "2", Some("admin:http")).unwrap(), ["admin", "http"]);
        assert_eq!(names("7", "3", Some("http:")).unwrap(), ["http", "unknown", "unknown"]);
        assert_eq!(names("7", "1", None).unwrap(), ["unknown"]);
        assert_eq!(names("7", "0", None).unwrap(), [""; 0]);
    }

    #[test]
    fn sockets_passed_to_another_process_are_not_taken() {
        assert_eq!(names("8", "1", None).unwrap(), [""; 0]);
        assert_eq!(passed_names(7, &|_| None).unwrap(), [""; 0]);
    }

    #[test]
    fn a_bad_count_is_refused() {
        for count in ["", "-1", "x", "65", "99999999999999999999"] {
            assert!(names("7", count, None).is_err_and(|text| text.contains("LISTEN_FDS")), "{count}");
        }
    }

    #[test]
    fn the_source_of_a_credential_is_read_from_the_unit() {
        let unit = "[Service]\n#LoadCredential=other:/old\nLoadCredential=first:/old\n LoadCredential=first:/etc/hook/first\n\
                    LoadCredential=all:/etc/hook/all\nLoadCredential=store\nLoadCredential=here:store\n";
        let table = [
            ("first", Some("/etc/hook/first")),
            ("all_third", Some("/etc/hook/all/third")),
            ("other", None),
            ("fir", None),
            ("firsts", None),
            ("store", None),
            ("here", None),
        ];
        for (name, path) in table {
            assert_eq!(loaded_from(unit, name).as_deref(), path.map(Path::new), "{name}");
        }
    }

    #[test]
    fn the_public_socket_is_named_http_or_is_the_only_one() {
        let public = |names: &[&str]| public_among(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        assert_eq!(public(&["admin", "http"]), Some(1));
        assert_eq!(public(&["hookbox.socket"]), Some(0));
        assert_eq!(public(&["admin"]), None);
        assert_eq!(public(&["a", "b"]), None);
        assert_eq!(public(&[]), None);
    }
}
