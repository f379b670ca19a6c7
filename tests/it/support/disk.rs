//! File systems of the test, to fill, to freeze and to break. They need root.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A mounted file system; unmounted when it is dropped.
pub struct Disk {
    at: PathBuf,
    /// The mount point, if it is ours.
    _made: Option<TempDir>,
}

impl Disk {
    /// In memory.
    pub fn tmpfs(bytes: u64) -> Option<Disk> {
        Disk::mount(&["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
    }

    /// ext4 on the image of a disk. Its journal is committed only by syncs, not every five seconds: the worst case for a
    /// power cut.
    pub fn ext4(image: &Path) -> Option<Disk> {
        Disk::mount(&["-t", "ext4", "-o", "loop,commit=300,errors=remount-ro", &image.display().to_string()])
    }

    /// A directory or a file seen through a mount that even root cannot write to.
    pub fn read_only(what: &Path, at: &Path) -> Option<Disk> {
        let (what, at) = (what.display().to_string(), at.to_owned());
        let disk = Disk::mount_at(&["--bind", &what], at, None)?;
        run("mount", &["-o", "remount,bind,ro", &disk.at.display().to_string()]).then_some(disk)
    }

    fn mount(arguments: &[&str]) -> Option<Disk> {
        let made = tempfile::Builder::new().prefix("hookbox-disk-").tempdir().unwrap();
        Disk::mount_at(arguments, made.path().to_owned(), Some(made))
    }

    fn mount_at(arguments: &[&str], at: PathBuf, made: Option<TempDir>) -> Option<Disk> {
        if !run("mount", &[arguments, &[at.display().to_string().as_str()]].concat()) {
            println!("skipped: mount {} is not possible here (it needs root)", arguments.join(" "));
            return None;
        }
        Some(Disk { at, _made: made })
    }

    /// Makes ext4 report an I/O error, after which it is read-only. False if the kernel has no switch for that.
    pub fn fail(&self) -> bool {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let point = self.at.display().to_string();
        let device = mounts.lines().find_map(|line| line.split_once(' ').filter(|(_, rest)| rest.starts_with(&point)));
        let Some(name) = device.and_then(|(device, _)| device.strip_prefix("/dev/")) else { return false };
        std::fs::write(format!("/sys/fs/ext4/{name}/trigger_fs_error"), "by a test").is_ok()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.at.join(name)
    }

    /// Blocks all writes until the returned value is dropped.
    pub fn freeze(&self) -> Option<Frozen<'_>> {
        run("fsfreeze", &["--freeze", &self.at.display().to_string()]).then_some(Frozen(self))
    }

    pub fn free_bytes(&self) -> u64 {
        let disk = rustix::fs::statvfs(&self.at).unwrap();
        disk.f_bavail * disk.f_frsize
    }

    /// Fills the disk with a file of this name until only this much is free.
    pub fn fill(&self, name: &str, left_bytes: u64) {
        let mut file = std::fs::File::create(self.path(name)).unwrap();
        let block = [7; 4096];
        while self.free_bytes() > left_bytes && std::io::Write::write_all(&mut file, &block).is_ok() {}
    }

    /// Removes such a file. Truncated first, because a process that another test forks may still hold its descriptor.
    pub fn free(&self, name: &str) {
        std::fs::File::create(self.path(name)).unwrap();
        std::fs::remove_file(self.path(name)).unwrap();
    }
}

pub struct Frozen<'a>(&'a Disk);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        run("fsfreeze", &["--unfreeze", &self.0.at.display().to_string()]);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", &["--lazy", &self.at.display().to_string()]);
    }
}

/// An image with an empty ext4 in it.
pub fn make_ext4(image: &Path, bytes: u64) -> Option<()> {
    std::fs::File::create(image).unwrap().set_len(bytes).unwrap();
    if !run("mkfs.ext4", &["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", &image.display().to_string()]) {
        println!("skipped: mkfs.ext4 (package e2fsprogs) is not installed");
        return None;
    }
    Some(())
}

fn run(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    // The PATH of a user may lack the system directories.
    command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
