//! The clock, the disk, permissions and certificates.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{Access, access};

use super::Report;
use crate::client;
use crate::clock;
use crate::config::Config;
use crate::store::{Disk, FileSystem, directory_of};
use crate::units::duration_text;

/// systemd's own time keeper touches it when it has heard from a server.
const SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";

/// Up to this size a disk is taken for an SD card or a small server's: full one day, if nothing is ever deleted.
const SMALL_DISK_BYTES: u64 = 64 << 30;

/// Anybody may read, or write.
const OTHERS_READ: u32 = 0o004;
const OTHERS_WRITE: u32 = 0o002;

/// A directory in which everybody may delete their own files only (`/tmp`).
const STICKY: u32 = 0o1000;

pub(super) fn clock(report: &mut Report) {
    let now = clock::now();
    if !now.is_plausible() {
        return report.fail("clock", format!("it says {now}: let it be set by NTP: sudo timedatectl set-ntp true"));
    }
    match is_synchronised() {
        Some(true) => report.ok("clock", format!("synchronised, {now}")),
        Some(false) => report.warn(
            "clock",
            format!(
                "not synchronised, {now}: signed timestamps are refused when it is wrong. sudo timedatectl set-ntp true"
            ),
        ),
        None => report.warn("clock", format!("{now}; whether it is synchronised cannot be told without timedatectl")),
    }
}

/// As the kernel knows it from whoever keeps the time; `None` where nobody says.
fn is_synchronised() -> Option<bool> {
    if Path::new(SYNCHRONISED).exists() {
        return Some(true);
    }
    let mut ask = Command::new("timedatectl");
    ask.args(["show", "--property=NTPSynchronized", "--value"]).stdin(Stdio::null());
    match ask.output().ok()?.stdout.trim_ascii() {
        b"yes" => Some(true),
        b"no" => Some(false),
        _ => None,
    }
}

/// Whether there is a place for the database: nothing else can be said about one that is not there.
pub(super) fn has_place(config: &Config, report: &mut Report) -> bool {
    let directory = directory_of(&config.database);
    let shown = directory.display();
    let Err(error) = fs::metadata(directory) else { return true };
    let what_to_do = match error.kind() {
        io::ErrorKind::NotFound => "make it, or start the systemd unit, whose StateDirectory= makes it",
        _ => "run this as the user who runs hookbox, or as root (sudo)",
    };
    report.fail("directory", format!("that of the database, {shown}, cannot be looked at: {error}: {what_to_do}"));
    false
}

pub(super) fn disk(config: &Config, report: &mut Report) {
    let Some(disk) = Disk::of(&config.database) else {
        return report.warn("disk", "how much of it is free cannot be told");
    };
    let (free_mib, total_mib) = (disk.free_bytes >> 20, disk.total_bytes >> 20);
    let room = format!("{free_mib} of {total_mib} MiB free");
    if disk.free_bytes < config.disk_reserve_bytes {
        report
            .fail("disk", format!("{room}, less than disk_reserve: deliveries are refused (503) until there is room"));
    } else if disk.is_nearly_full(config.disk_reserve_bytes) {
        report.warn("disk", format!("{room}: make room, or let [retention] do so"));
    } else {
        report.ok("disk", room);
    }
    match config.retention.processed {
        Some(age) => report.ok("retention", format!("processed events are kept for {}", duration_text(age))),
        None if disk.total_bytes <= SMALL_DISK_BYTES => report.warn(
            "retention",
            "events are kept for ever, and the disk is small: write processed = \"90d\" into [retention]",
        ),
        None => report.ok("retention", "processed events are kept for ever"),
    }
}

pub(super) fn file_system(config: &Config, report: &mut Report) {
    let check = "file system";
    match FileSystem::of(&config.database) {
        None => report.fail(check, format!("the directory of {} cannot be looked at", config.database.display())),
        Some(FileSystem::Local) => report.ok(check, "a disk of this machine"),
        Some(FileSystem::Network(name)) => report.fail(
            check,
            format!(
                "of another machine ({name}), where a database would be damaged: keep it on a disk of this machine"
            ),
        ),
        Some(FileSystem::Memory) => {
            report.warn(check, "in memory: what was acknowledged is gone after a restart of the machine");
        }
        Some(FileSystem::Overlay) => {
            report.warn(
                check,
                "a container's own layer, which goes with it: mount a volume, and keep the database there",
            );
        }
    }
}

pub(super) fn permissions(config: &Config, report: &mut Report) {
    let (check, path) = ("permissions", &config.database);
    let directory = directory_of(path);
    let shown = path.display();
    if fs::metadata(directory).is_ok_and(|is| is.mode() & OTHERS_WRITE != 0 && is.mode() & STICKY == 0) {
        let directory = directory.display();
        return report.fail(check, format!("everybody may replace files in {directory}: chmod o-w {directory}"));
    }
    let places: &[&Path] = if path.exists() { &[path, directory] } else { &[directory] };
    if let Some(place) = places.iter().find(|place| access(**place, Access::WRITE_OK).is_err()) {
        let place = place.display();
        return report
            .warn(check, format!("{place} may not be written by this user: is it the one that runs hookbox?"));
    }
    match fs::metadata(path) {
        Ok(file) if file.mode() & OTHERS_WRITE != 0 => {
            report.fail(check, format!("everybody may change {shown}: chmod 600 {shown}"));
        }
        Ok(file) if file.mode() & OTHERS_READ != 0 => {
            report.warn(check, format!("everybody may read the payloads in {shown}: chmod 600 {shown}"));
        }
        _ => report.ok(check, format!("{shown} and its directory")),
    }
}

/// A word about a file with a secret in it; `None` if nobody else can read it.
pub(super) fn exposed(path: &Path) -> Option<String> {
    let mode = fs::metadata(path).ok()?.mode();
    let path = path.display();
    (mode & (OTHERS_READ | OTHERS_WRITE) != 0).then(|| format!("everybody may read {path}: chmod o-rw {path}"))
}

pub(super) fn certificates(report: &mut Report) {
    match client::system_bundle() {
        Some(path) => report.ok("certificates", format!("those in {} are believed", path.display())),
        None => report.warn(
            "certificates",
            "the system has no bundle, so that those that were built in are believed: install ca-certificates",
        ),
    }
}
