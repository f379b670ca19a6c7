//! The clock, the disk, permissions and certificates.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{Access, access};
use rustix::process::geteuid;

use super::{Finding, Findings, fail, ok, warn};
use crate::client;
use crate::clock;
use crate::config::Config;
use crate::store::{Disk, FileSystem, directory_of, other_owner};
use crate::units::duration_text;

/// systemd-timesyncd touches it when it has heard from a server.
const SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";

/// Up to this size, a disk is probably an SD card or that of a small server, and full one day if nothing is deleted.
const SMALL_DISK_BYTES: u64 = 64 << 30;

/// Permission bits for the group of a file, and for all other users.
const GROUP_WRITE: u32 = 0o020;
const OTHERS_READ: u32 = 0o004;
const OTHERS_WRITE: u32 = 0o002;

/// A directory in which users may delete only their own files (`/tmp`).
const STICKY: u32 = 0o1000;

pub(super) fn clock() -> Finding {
    let now = clock::now();
    if !now.is_plausible() {
        return fail(format!("it says {now}: set it by NTP: sudo timedatectl set-ntp true"));
    }
    match is_synchronised() {
        Some(true) => ok(format!("synchronised, {now}")),
        Some(false) => warn(format!(
            "not synchronised, {now}: signed timestamps are refused when it is wrong. sudo timedatectl set-ntp true"
        )),
        None => warn(format!("{now}; whether it is synchronised is unknown without timedatectl")),
    }
}

/// As systemd knows it; `None` where there is no systemd.
fn is_synchronised() -> Option<bool> {
    if Path::new(SYNCHRONISED).exists() {
        return Some(true);
    }
    let mut timedatectl = Command::new("timedatectl");
    timedatectl.args(["show", "--property=NTPSynchronized", "--value"]).stdin(Stdio::null());
    match timedatectl.output().ok()?.stdout.trim_ascii() {
        b"yes" => Some(true),
        b"no" => Some(false),
        _ => None,
    }
}

/// Without the directory of the database the other checks of the disk mean nothing.
pub(super) fn unreadable_directory(config: &Config) -> Option<Finding> {
    let directory = directory_of(&config.database);
    let error = fs::metadata(directory).err()?;
    let what_to_do = match error.kind() {
        io::ErrorKind::NotFound => "make it, or start the systemd unit, whose StateDirectory= makes it",
        _ => "run this as the user who runs hookbox, or as root (sudo)",
    };
    let shown = directory.display();
    Some(fail(format!("that of the database, {shown}, cannot be read: {error}: {what_to_do}")))
}

pub(super) fn check_disk(config: &Config, findings: &mut Findings) {
    match Disk::of(&config.database) {
        None => findings.add("disk", warn("how much of it is free is unknown")),
        Some(disk) => {
            findings.add("disk", free_space(config, &disk));
            findings.add("retention", retention(config, &disk));
        }
    }
}

fn free_space(config: &Config, disk: &Disk) -> Finding {
    let (free_mib, total_mib) = (disk.free_bytes >> 20, disk.total_bytes >> 20);
    let room = format!("{free_mib} of {total_mib} MiB free");
    if disk.free_bytes < config.disk_reserve_bytes {
        fail(format!("{room}, less than disk_reserve: deliveries are refused (503) until there is room"))
    } else if disk.is_nearly_full(config.disk_reserve_bytes) {
        warn(format!("{room}: make room, or let [retention] do so"))
    } else {
        ok(room)
    }
}

fn retention(config: &Config, disk: &Disk) -> Finding {
    match config.retention.processed {
        Some(age) => ok(format!("processed events are kept for {}", duration_text(age))),
        None if disk.total_bytes <= SMALL_DISK_BYTES => {
            warn("events are kept forever, and the disk is small: write processed = \"90d\" into [retention]")
        }
        None => ok("processed events are kept forever"),
    }
}

pub(super) fn file_system(config: &Config) -> Finding {
    match FileSystem::of(&config.database) {
        None => fail(format!("the directory of {} cannot be read", config.database.display())),
        Some(FileSystem::Local) => ok("a disk of this machine"),
        Some(FileSystem::Network(name)) => fail(format!(
            "on another machine ({name}), where a database would be damaged: keep it on a disk of this machine"
        )),
        Some(FileSystem::Memory) => warn("in memory: acknowledged deliveries are lost when the machine restarts"),
        Some(FileSystem::Overlay) => {
            warn("a container's own layer, which is deleted with it: mount a volume, and keep the database there")
        }
    }
}

pub(super) fn permissions(config: &Config) -> Finding {
    let path = &config.database;
    let directory = directory_of(path);
    let shown = path.display();
    let places: &[&Path] = if path.exists() { &[path, directory] } else { &[directory] };
    if let Some((place, owner)) = of_another_user(places) {
        let place = place.display();
        return fail(format!(
            "{place} belongs to another user (uid {owner}), who can change it: run this as the user who runs hookbox, \
             or give it to that user: sudo chown USER {place}"
        ));
    }
    let may_replace = |bit| fs::metadata(directory).is_ok_and(|is| is.mode() & bit != 0 && is.mode() & STICKY == 0);
    if may_replace(OTHERS_WRITE) {
        let directory = directory.display();
        return fail(format!("other users may replace files in {directory}: chmod o-w {directory}"));
    }
    if let Some(place) = places.iter().find(|place| access(**place, Access::WRITE_OK).is_err()) {
        let place = place.display();
        return warn(format!("{place} may not be written by this user: is it the one that runs hookbox?"));
    }
    match fs::metadata(path) {
        Ok(file) if file.mode() & OTHERS_WRITE != 0 => {
            fail(format!("other users may change {shown}: chmod 600 {shown}"))
        }
        _ if may_replace(GROUP_WRITE) => {
            let directory = directory.display();
            warn(format!("users of its group may replace files in {directory}: chmod g-w {directory}"))
        }
        Ok(file) if file.mode() & OTHERS_READ != 0 => {
            warn(format!("other users may read the payloads in {shown}: chmod 600 {shown}"))
        }
        _ => ok(format!("{shown} and its directory")),
    }
}

/// The place that belongs neither to this user nor to root, and its owner. Root may run this for a service that has a user
/// of its own: to that one both places belong.
fn of_another_user<'a>(places: &[&'a Path]) -> Option<(&'a Path, u32)> {
    let owners: Vec<Option<u32>> = places.iter().map(|place| other_owner(place)).collect();
    if geteuid().is_root() && owners.iter().all(|owner| *owner == owners[0]) {
        return None;
    }
    places.iter().zip(owners).find_map(|(place, owner)| Some((*place, owner?)))
}

/// The warning about a file with a secret; `None` if other users can neither read nor write it.
pub(super) fn exposed(path: &Path) -> Option<String> {
    let mode = fs::metadata(path).ok()?.mode();
    let path = path.display();
    (mode & (OTHERS_READ | OTHERS_WRITE) != 0).then(|| format!("other users may read {path}: chmod o-rw {path}"))
}

pub(super) fn certificates() -> Finding {
    match client::system_bundle() {
        Some(path) => ok(format!("those in {} are trusted", path.display())),
        None => warn("the system has no bundle, so the built-in ones are trusted: install ca-certificates"),
    }
}
