//! A power cut. The process is frozen under load, and the disk is copied as it is: what only the page cache of the mounted
//! file system holds is not on it. The copy is the disk after the cut.

use std::path::Path;
use std::time::Duration;

use super::rounds;
use crate::support::{Disk, Home, Hookbox, Random, SOURCE, Senders, Signal, assert_stored, make_ext4, wait_for};

const IMAGE_BYTES: u64 = 48 << 20;
const SENDERS: usize = 16;

/// The usual reserve is more than the whole image.
const CONFIG: &str = "disk_reserve = \"1MiB\"\n";

#[test]
fn acknowledged_deliveries_are_stored_once_and_processed_after_a_power_cut_at_any_moment() {
    let (mut random, rounds) = (Random::new(), rounds(3));
    let mut cuts = 0;
    while cuts < rounds {
        let Some(more) = cut_power(rounds - cuts, &mut random) else { return };
        cuts += more;
    }
}

/// Cuts the power up to so many times, until the disk is full. How many it were; `None` where there can be no such disk.
fn cut_power(rounds: u64, random: &mut Random) -> Option<u64> {
    let files = tempfile::tempdir().unwrap();
    let image = |cuts: u64| files.path().join(format!("{cuts}.img"));
    make_ext4(&image(0), IMAGE_BYTES)?;
    let mut disk = Disk::ext4(&image(0))?;
    let (mut all, mut last, mut cuts) = (Vec::new(), Vec::new(), 0);
    while cuts < rounds && disk.free_bytes() > IMAGE_BYTES / 3 {
        let hookbox = on(&disk).start();
        assert_stored(&hookbox.db(), &last);
        all.append(&mut last);
        let senders = Senders::start(SENDERS, &format!("d-{cuts}"), &hookbox.address());
        std::thread::sleep(Duration::from_millis(random.below(600) as u64));
        freeze(&hookbox);
        copy_as_it_is(&image(cuts), &image(cuts + 1));
        drop(hookbox.kill9());
        last = senders.acknowledged();
        drop(disk);
        std::fs::remove_file(image(cuts)).unwrap();
        cuts += 1;
        disk = Disk::ext4(&image(cuts)).unwrap();
    }
    let hookbox = on(&disk).start();
    hookbox.wait_until_done();
    all.append(&mut last);
    println!("{cuts} power cuts, {} acknowledged, {} stored", all.len(), hookbox.stored());
    assert!(!all.is_empty());
    assert_stored(&hookbox.db(), &all);
    let (home, _) = hookbox.stop();
    home.assert_sound();
    Some(cuts)
}

/// Otherwise a job that takes the machine down soon after each start would be tried without end.
#[test]
fn a_start_after_a_power_cut_knows_that_the_end_was_unclean() {
    let files = tempfile::tempdir().unwrap();
    let image = |name: &str| files.path().join(name);
    let Some(disk) = make_ext4(&image("before"), IMAGE_BYTES).and_then(|()| Disk::ext4(&image("before"))) else {
        return;
    };
    let (home, _) = on(&disk).start().stop();
    let hookbox = home.start();
    freeze(&hookbox);
    copy_as_it_is(&image("before"), &image("after"));
    let pid = hookbox.pid().as_raw_nonzero().to_string();
    drop(hookbox.kill9());
    drop(disk);
    let disk = Disk::ext4(&image("after")).unwrap();
    assert_eq!(std::fs::read_to_string(disk.path("webhooks.db.lock")).unwrap().trim(), pid);
}

fn on(disk: &Disk) -> Home {
    Home::with_config(&format!("{CONFIG}{SOURCE}")).database(&disk.path("webhooks.db"))
}

/// Returns when no thread runs any more: nothing that the copy lacks was acknowledged.
fn freeze(hookbox: &Hookbox) {
    hookbox.signal(Signal::STOP);
    let tasks = format!("/proc/{}/task", hookbox.pid().as_raw_nonzero());
    let is_stopped = |task: &Path| {
        let stat = std::fs::read_to_string(task.join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with('T'))
    };
    wait_for("all threads to stop", || {
        let mut tasks = std::fs::read_dir(&tasks).unwrap();
        tasks.all(|task| is_stopped(&task.unwrap().path())).then_some(())
    });
}

/// Twice the same, so that it is one moment's.
fn copy_as_it_is(from: &Path, to: &Path) {
    let copy = wait_for("the image to stay as it is", || {
        let copy = std::fs::read(from).unwrap();
        (copy == std::fs::read(from).unwrap()).then_some(copy)
    });
    std::fs::write(to, copy).unwrap();
}
