//! With nothing to do, the program leaves the card, the processor and so the battery alone.

use std::fs;
use std::time::Duration;

use super::{OLD, insert_done};
use crate::support::{Home, Hookbox, SOURCE, runner, wait_longer_for};

/// Longer than the poll interval, the watchdog's round and some looks of the housekeeper.
const SPAN: Duration = Duration::from_secs(31);

/// After the last commit the router looks once more, within its poll interval of five seconds, and so touches a page.
const A_LOOK: Duration = Duration::from_secs(6);

/// What the kernel counts of a process.
#[derive(Debug)]
struct Usage {
    written_bytes: u64,
    wake_ups: u64,
    ticks: u64,
}

impl Usage {
    fn of(hookbox: &Hookbox) -> Usage {
        let pid = hookbox.pid().as_raw_nonzero();
        let read = |path: &str| fs::read_to_string(format!("/proc/{pid}/{path}")).unwrap();
        let number = |text: &str, key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            line.unwrap().trim().parse::<u64>().unwrap()
        };
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let threads: Vec<String> = tasks.map(|task| task.unwrap().file_name().into_string().unwrap()).collect();
        let switches = |thread: &String| number(&read(&format!("task/{thread}/status")), "voluntary_ctxt_switches:");
        let stat = read("stat");
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        Usage {
            written_bytes: number(&read("io"), "write_bytes:"),
            wake_ups: threads.iter().map(switches).sum(),
            ticks: fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum(),
        }
    }
}

/// From `HOOKBOX_IDLE_S`, or as long as it takes to see everything once.
fn span() -> Duration {
    std::env::var("HOOKBOX_IDLE_S").map_or(SPAN, |seconds| Duration::from_secs(seconds.parse().unwrap()))
}

#[test]
fn an_idle_server_writes_nothing_and_wakes_less_than_once_a_second() {
    if !runner().is_empty() {
        return println!("skipped: the emulator would be measured");
    }
    // With two minutes to keep, the housekeeper looks every 12 seconds.
    let config = format!("{SOURCE}[retention]\nprocessed = \"2m\"\nerror = \"50y\"\nduplicates = \"50y\"\n");
    let (home, _) = Home::with_config(&config).start().stop();
    insert_done(&home, 1000, "error", OLD, 100);
    let hookbox = home.start();
    hookbox.deliver("push", "d-1", "{}");
    hookbox.wait_until_done();
    // What the start and the delivery have left to do.
    let settled = || fs::read_to_string(format!("/proc/{}/io", hookbox.pid().as_raw_nonzero())).unwrap();
    let mut last = String::new();
    wait_longer_for("the last write", 10 * A_LOOK, || {
        std::thread::sleep(A_LOOK);
        let io = settled();
        let is_same = io.lines().find(|line| line.starts_with("write_bytes"))
            == last.lines().find(|line| line.starts_with("write_bytes"));
        last = io;
        is_same.then_some(())
    });
    let before = Usage::of(&hookbox);
    std::thread::sleep(span());
    let after = Usage::of(&hookbox);
    let seconds = span().as_secs();
    let (wake_ups, ticks) = (after.wake_ups - before.wake_ups, after.ticks - before.ticks);
    println!("in {seconds} s: {wake_ups} wake-ups, {ticks} hundredths of a second of the processor");
    assert_eq!(after.written_bytes, before.written_bytes, "bytes written");
    assert!(wake_ups <= seconds, "{wake_ups} wake-ups in {seconds} s");
    // A tick is a tenth of a percent of ten seconds; the kernel counts whole ones.
    assert!(ticks <= seconds / 10 + 1, "{ticks} ticks in {seconds} s");
}
