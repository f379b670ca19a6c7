//! With nothing to do, the server uses neither the disk nor the processor.

use std::fs;
use std::time::Duration;

use super::{OLD, insert_done};
use crate::support::{Home, Hookbox, SOURCE, needs_no_turn, runner, wait_longer_for};

/// Longer than the poll interval, the watchdog's interval and two of the housekeeper's.
const SPAN: Duration = Duration::from_secs(31);

/// After the last commit the router polls once more, within its interval of five seconds, and so writes a page.
const LAST_POLL: Duration = Duration::from_secs(6);

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
        Usage {
            written_bytes: number(&read("io"), "write_bytes:"),
            wake_ups: threads.iter().map(switches).sum(),
            ticks: hookbox.cpu_ticks(),
        }
    }
}

/// `HOOKBOX_IDLE_S`, by default long enough for everything to happen once.
fn span() -> Duration {
    std::env::var("HOOKBOX_IDLE_S").map_or(SPAN, |seconds| Duration::from_secs(seconds.parse().unwrap()))
}

#[test]
fn an_idle_server_writes_nothing_and_wakes_less_than_once_a_second() {
    needs_no_turn();
    if !runner().is_empty() {
        return println!("skipped: the emulator would be measured");
    }
    // For a retention of two minutes the housekeeper prunes every 12 seconds.
    let config = format!("{SOURCE}[retention]\nprocessed = \"2m\"\nerror = \"50y\"\nduplicates = \"50y\"\n");
    let (home, _) = Home::with_config(&config).start().stop();
    insert_done(&home, 1000, "error", OLD, 100);
    let hookbox = home.start();
    hookbox.deliver("push", "d-1", "{}");
    hookbox.wait_until_done();
    // What the start and the delivery have left to write; where the machine is busy, that may come a poll later.
    let written_bytes = || Usage::of(&hookbox).written_bytes;
    wait_longer_for("the last write", 20 * LAST_POLL, || {
        let before = written_bytes();
        std::thread::sleep(2 * LAST_POLL);
        (written_bytes() == before).then_some(())
    });
    let before = (Usage::of(&hookbox), machine());
    std::thread::sleep(span());
    let after = (Usage::of(&hookbox), machine());
    let seconds = span().as_secs();
    let is_busy = (after.1.idle - before.1.idle) * 2 < after.1.all - before.1.all;
    let (before, after) = (before.0, after.0);
    let (wake_ups, ticks) = (after.wake_ups - before.wake_ups, after.ticks - before.ticks);
    println!("in {seconds} s: {wake_ups} wake-ups, {ticks} hundredths of a second of the processor");
    assert_eq!(after.written_bytes, before.written_bytes, "bytes written");
    assert!(wake_ups <= seconds, "{wake_ups} wake-ups in {seconds} s");
    // A tick is a tenth of a percent of ten seconds; the kernel counts whole ones. Beside other programs each wake-up finds
    // empty caches and takes longer.
    let allowed = (seconds / 10 + 1) * if is_busy { 10 } else { 1 };
    assert!(ticks <= allowed, "{ticks} ticks in {seconds} s");
}

/// Ticks of all processors since the machine started.
struct Machine {
    idle: u64,
    all: u64,
}

fn machine() -> Machine {
    let stat = fs::read_to_string("/proc/stat").unwrap();
    let ticks: Vec<u64> =
        stat.lines().next().unwrap().split_whitespace().filter_map(|word| word.parse().ok()).collect();
    // The fourth is idle time, the fifth waits for a disk (proc(5)).
    Machine { idle: ticks[3] + ticks[4], all: ticks.iter().take(8).sum() }
}
