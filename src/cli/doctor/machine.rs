//! The clock, the disk, permissions and certificates.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{Access, access};

use super::Findings;
use crate::client;
use crate::clock;
use crate::config::Config;
use crate::store::{Disk, FileSystem, directory_of};
use crate::units::duration_text;

/// systemd-timesyncd touches it when it has heard from a server.
const SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";

/// Up to this size, a disk is probably an SD card or that of a small server, and full one day if nothing is deleted.
const SMALL_DISK_BYTES: u64 = 64 << 30;

/// Permission bits for all other users.
const OTHERS_READ: u32 = 0o004;
const OTHERS_WRITE: u32 = 0o002;

/// A directory in which users may delete only their own files (`/tmp`).
const STICKY: u32 = 0o1000;

pub(super) fn clock(findings: &mut Findings) {
    let now = clock::now();
    if !now.is_plausible() {
        return findings.fail("clock", format!("it says {now}: set it by NTP: sudo timedatectl set-ntp true"));
    }
    match is_synchronised() {
        Some(true) => findings.ok("clock", format!("synchronised, {now}")),
        Some(false) => findings.warn(
            "clock",
            format!(
                "not synchronised, {now}: signed timestamps are refused when it is wrong. sudo timedatectl set-ntp true"
            ),
        ),
        None => findings.warn("clock", format!("{now}; whether it is synchronised is unknown without timedatectl")),
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

/// Whether the database's directory exists: without it the other checks of the disk mean nothing.
pub(super) fn has_directory(config: &Config, findings: &mut Findings) -> bool {
    let directory = directory_of(&config.database);
    let shown = directory.display();
    let Err(error) = fs::metadata(directory) else { return true };
    let what_to_do = match error.kind() {
        io::ErrorKind::NotFound => "make it, or start the systemd unit, whose StateDirectory= makes it",
        _ => "run this as the user who runs hookbox, or as root (sudo)",
    };
    findings.fail("directory", format!("that of the database, {shown}, cannot be read: {error}: {what_to_do}"));
    false
}

pub(super) fn disk(config: &Config, findings: &mut Findings) {
    let Some(disk) = Disk::of(&config.database) else {
        return findings.warn("disk", "how much of it is free is unknown");
    };
    let (free_mib, total_mib) = (disk.free_bytes >> 20, disk.total_bytes >> 20);
    let room = format!("{free_mib} of {total_mib} MiB free");
    if disk.free_bytes < config.disk_reserve_bytes {
        findings
            .fail("disk", format!("{room}, less than disk_reserve: deliveries are refused (503) until there is room"));
    } else if disk.is_nearly_full(config.disk_reserve_bytes) {
        findings.warn("disk", format!("{room}: make room, or let [retention] do so"));
    } else {
        findings.ok("disk", room);
    }
    match config.retention.processed {
        Some(age) => findings.ok("retention", format!("processed events are kept for {}", duration_text(age))),
        None if disk.total_bytes <= SMALL_DISK_BYTES => findings.warn(
            "retention",
            "events are kept forever, and the disk is small: write processed = \"90d\" into [retention]",
        ),
        None => findings.ok("retention", "processed events are kept forever"),
    }
}

pub(super) fn file_system(config: &Config, findings: &mut Findings) {
    let check = "file system";
    match FileSystem::of(&config.database) {
        None => findings.fail(check, format!("the directory of {} cannot be read", config.database.display())),
        Some(FileSystem::Local) => findings.ok(check, "a disk of this machine"),
        Some(FileSystem::Network(name)) => findings.fail(
            check,
            format!(
                "on another machine ({name}), where a database would be damaged: keep it on a disk of this machine"
            ),
        ),
        Some(FileSystem::Memory) => {
            findings.warn(check, "in memory: acknowledged deliveries are lost when the machine restarts");
        }
        Some(FileSystem::Overlay) => {
            findings.warn(
                check,
                "a container's own layer, which is deleted with it: mount a volume, and keep the database there",
            );
        }
    }
}

pub(super) fn permissions(config: &Config, findings: &mut Findings) {
    let (check, path) = ("permissions", &config.database);
    let directory = directory_of(path);
    let shown = path.display();
    if fs::metadata(directory).is_ok_and(|is| is.mode() & OTHERS_WRITE != 0 && is.mode() & STICKY == 0) {
        let directory = directory.display();
        return findings.fail(check, format!("other users may replace files in {directory}: chmod o-w {directory}"));
    }
    let places: &[&Path] = if path.exists() { &[path, directory] } else { &[directory] };
    if let Some(place) = places.iter().find(|place| access(**place, Access::WRITE_OK).is_err()) {
        let place = place.display();
        return findings
            .warn(check, format!("{place} may not be written by this user: is it the one that runs hookbox?"));
    }
    match fs::metadata(path) {
        Ok(file) if file.mode() & OTHERS_WRITE != 0 => {
            findings.fail(check, format!("other users may change {shown}: chmod 600 {shown}"));
        }
        Ok(file) if file.mode() & OTHERS_READ != 0 => {
            findings.warn(check, format!("other users may read the payloads in {shown}: chmod 600 {shown}"));
        }
        _ => findings.ok(check, format!("{shown} and its directory")),
    }
}

/// The warning about a file with a secret; `None` if other users can neither read nor write it.
pub(super) fn exposed(path: &Path) -> Option<String> {
    let mode = fs::metadata(path).ok()?.mode();
    let path = path.display();
    (mode & (OTHERS_READ | OTHERS_WRITE) != 0).then(|| format!("other users may read {path}: chmod o-rw {path}"))
}

pub(super) fn certificates(findings: &mut Findings) {
    match client::system_bundle() {
        Some(path) => findings.ok("certificates", format!("those in {} are trusted", path.display())),
        None => findings.warn(
            "certificates",
            "the system has no bundle, so the built-in ones are trusted: install ca-certificates",
        ),
    }
}
