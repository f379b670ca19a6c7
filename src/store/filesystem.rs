//! The disk and the file system that a database is on.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{major, minor, statfs, statvfs};

use super::error::OpenError;
use super::files::directory_of;

/// A disk is nearly full while it has less than this many times its reserve free: enough for some days of warning.
const NEARLY_FULL_RESERVES: u64 = 10;

/// File systems of other machines, by their number in statfs (`man 2 statfs`), with their usual names. A folder that a
/// virtual machine or WSL shares with its host (9p, vboxsf) is one too.
const NETWORKS: [(u32, &str); 10] = [
    (0x6969, "NFS"),
    (0x517B, "SMB"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB"),
    (0x0102_1997, "9p"),
    (0x786F_4256, "vboxsf"),
    (0x00C3_6400, "Ceph"),
    (0x7375_7245, "Coda"),
    (0x5346_414F, "AFS"),
    (0x564C, "NCP"),
];

/// All mounts of FUSE have this number; only the table of mounts has the program behind one.
const FUSE: u32 = 0x6573_5546;

/// File systems of other machines that are mounted by FUSE, by parts of their types.
const FUSE_NETWORKS: [&str; 13] = [
    "sshfs", "rclone", "s3", "goofys", "gcs", "davfs", "gluster", "curlftp", "gvfs", "ceph", "smb", "grpcfuse",
    "vmhgfs",
];

/// In memory: tmpfs and ramfs.
const MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58F6];

/// The layers of a container.
const OVERLAY: u32 = 0x794C_7630;

/// How large a disk is, and how much of it programs without privileges can still use.
#[derive(Clone, Copy, Debug)]
pub struct Disk {
    pub total_bytes: u64,
    pub free_bytes: u64,
}

/// The kind of a file system, as far as a database is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// A disk of this machine, as far as one can tell.
    Local,
    /// A disk of another machine; with the file system's name.
    Network(String),
    /// Empty after the next start of the machine.
    Memory,
    /// Deleted with the container, if it is the container's own layer.
    Overlay,
}

impl Disk {
    /// The disk of a file, which need not exist yet. A link may have led to it. `None` where the file system cannot be
    /// asked.
    pub fn of(path: &Path) -> Option<Disk> {
        let disk = statvfs(path).or_else(|_| statvfs(directory_of(path))).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        Some(Disk { total_bytes: bytes(disk.f_blocks), free_bytes: bytes(disk.f_bavail) })
    }

    /// Whether deliveries are refused, because less than the reserve is free where this file is. False where the file system
    /// cannot be asked.
    pub fn is_full_at(path: &Path, reserve_bytes: u64) -> bool {
        Disk::of(path).is_some_and(|disk| disk.free_bytes < reserve_bytes)
    }

    pub fn is_nearly_full(self, reserve_bytes: u64) -> bool {
        self.free_bytes < reserve_bytes.saturating_mul(NEARLY_FULL_RESERVES)
    }
}

impl FileSystem {
    /// The file system of a file, which need not exist yet. `None` where it cannot be asked.
    pub fn of(path: &Path) -> Option<FileSystem> {
        let known = statfs(path).or_else(|_| statfs(directory_of(path))).ok()?;
        // The numbers have 32 bits; some machines keep them in 64, with or without a sign.
        let kind = known.f_type as u32;
        let device = || device_of(path).or_else(|| device_of(directory_of(path)));
        let fuse = || mounted_type(&fs::read_to_string("/proc/self/mountinfo").ok()?, device()?);
        Some(classify(kind, fuse))
    }
}

/// SQLite's locks, and the memory that the users of a database share, do not reach over a network. Nor is it certain that
/// what was synced there is on disk.
pub(super) fn refuse_network(path: &Path) -> Result<(), OpenError> {
    match FileSystem::of(path) {
        Some(FileSystem::Network(name)) => Err(OpenError::Network { path: path.display().to_string(), name }),
        _ => Ok(()),
    }
}

/// `fuse` finds the type of a FUSE mount, such as `fuse.sshfs`.
fn classify(kind: u32, fuse: impl FnOnce() -> Option<String>) -> FileSystem {
    if let Some((_, name)) = NETWORKS.iter().find(|(number, _)| *number == kind) {
        return FileSystem::Network((*name).to_owned());
    }
    match kind {
        FUSE => match fuse() {
            Some(name) if FUSE_NETWORKS.iter().any(|network| name.contains(network)) => FileSystem::Network(name),
            _ => FileSystem::Local,
        },
        OVERLAY => FileSystem::Overlay,
        kind if MEMORY.contains(&kind) => FileSystem::Memory,
        _ => FileSystem::Local,
    }
}

/// The type of the mount of a device (`major:minor`), from lines as in `man 5 proc_pid_mountinfo`; where the type is only
/// `fuse`, with what is mounted.
fn mounted_type(mounts: &str, device: String) -> Option<String> {
    let of_device = |line: &&str| line.split(' ').nth(2) == Some(device.as_str());
    let (_, rest) = mounts.lines().find(of_device)?.split_once(" - ")?;
    let mut words = rest.split(' ');
    match (words.next()?, words.next()?) {
        // davfs2 and others leave the name to the server's address.
        ("fuse", what) if what.contains("://") => Some(format!("davfs or the like, {what}")),
        ("fuse", what) => Some(format!("fuse.{what}")),
        (name, _) => Some(name.to_owned()),
    }
}

fn device_of(path: &Path) -> Option<String> {
    let device = fs::metadata(path).ok()?.dev();
    Some(format!("{}:{}", major(device), minor(device)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
        22 1 8:1 / / rw,noatime shared:1 - ext4 /dev/sda1 rw\n\
        40 22 0:52 / /mnt/a rw,nosuid shared:2 - fuse.sshfs me@nas:/data rw,user_id=0\n\
        41 22 0:53 / /mnt/b rw - fuse https://dav.example.org/ rw\n\
        42 22 8:17 / /mnt/usb rw - fuseblk /dev/sdb1 rw\n\
        43 22 0:54 / /mnt/c rw - fuse.gocryptfs /home/me/secret rw\n";

    fn fuse(device: &str) -> FileSystem {
        classify(FUSE, || mounted_type(MOUNTS, device.to_owned()))
    }

    #[test]
    fn file_systems_of_other_machines_are_recognised() {
        let none = || panic!("only for FUSE");
        for (number, name) in [(0x6969, "NFS"), (0xFF53_4D42, "CIFS"), (0xFE53_4D42, "SMB"), (0x0102_1997, "9p")] {
            assert_eq!(classify(number, none), FileSystem::Network(name.to_owned()));
        }
        assert_eq!(fuse("0:52"), FileSystem::Network("fuse.sshfs".to_owned()));
        assert!(matches!(fuse("0:53"), FileSystem::Network(_)));
    }

    #[test]
    fn disks_of_this_machine_are_accepted() {
        for ext4_btrfs_xfs_f2fs in [0xEF53, 0x9123_683E, 0x5846_5342, 0xF2F5_2010] {
            assert_eq!(classify(ext4_btrfs_xfs_f2fs, || None), FileSystem::Local);
        }
        for device in ["8:17", "0:54", "0:99"] {
            assert_eq!(fuse(device), FileSystem::Local, "{device}");
        }
        assert_eq!(classify(0x0102_1994, || None), FileSystem::Memory);
    }
}
