//! What can only be seen in a process that has nothing but a gate: the tests start one, which is this test program
//! again with another test.

use super::rig::{Rig, Sender, post, wait_until};
use crate::gate::limits::Limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

const DESCRIPTORS: &str = "HOOKBOX_TEST_DESCRIPTORS";

/// Serves until its input ends, with as many descriptors as the variable says.
#[test]
#[ignore = "started by the other tests"]
fn child() {
    let Some(descriptors) = std::env::var(DESCRIPTORS).ok().and_then(|it| it.parse().ok()) else { return };
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(descriptors), maximum }).unwrap();
    let mut limits = Limits::new(4, 512);
    limits.deadlines.request *= 10; // no test waits until the silent go by themselves
    let rig = Rig::start(limits);
    writeln!(std::io::stderr(), "{}", rig.tcp_address()).unwrap();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

struct Process {
    child: Child,
    address: String,
}

impl Process {
    fn start(descriptors: u64) -> Process {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "gate::tests::shortage::child", "--ignored", "--nocapture"])
            .env(DESCRIPTORS, descriptors.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut address).unwrap();
        Process { child, address: address.trim().into() }
    }

    fn deliver(&self) -> u16 {
        let mut sender = Sender::tcp(&self.address);
        sender.send(&post("/", b""));
        sender.answer().status
    }

    /// How often the gate's thread went to sleep, and the time for which the process ran.
    fn activity(&self) -> String {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let is_gate = |path: &PathBuf| fs::read_to_string(path.join("comm")).is_ok_and(|it| it == "gate\n");
        let gate = tasks.flatten().map(|entry| entry.path()).find(is_gate).unwrap();
        let status = fs::read_to_string(gate.join("status")).unwrap();
        let sleeps = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap();
        format!("{sleeps} {}", self.ticks())
    }

    /// The time for which the process ran, in hundredths of a second.
    fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let user_and_system = stat.rsplit(')').next().unwrap().split(' ').skip(12).take(2);
        user_and_system.map(|it| it.parse::<u64>().unwrap()).sum()
    }

    fn wait_until_it_sleeps(&self) {
        wait_until("quiet", || {
            let before = self.activity();
            thread::sleep(Duration::from_millis(500));
            self.activity() == before
        });
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_idle_gate_sleeps() {
    let process = Process::start(256);
    process.wait_until_it_sleeps();
    assert_eq!(process.deliver(), 200);
    process.wait_until_it_sleeps();
}

#[test]
fn a_sender_that_is_gone_while_its_request_waits_wakes_nobody() {
    let process = Process::start(256);
    let mut sender = Sender::tcp(&process.address);
    sender.send(&post("/hold", b""));
    thread::sleep(Duration::from_millis(100)); // until it is in flight
    sender.reset();
    process.wait_until_it_sleeps();
}

#[test]
fn the_gate_recovers_when_descriptors_run_out() {
    let process = Process::start(90);
    assert_eq!(process.deliver(), 200);
    let silent: Vec<Sender> = (0..150).map(|_| Sender::tcp(&process.address)).collect();
    thread::sleep(Duration::from_millis(400));
    for at in 0..5 {
        assert_eq!(process.deliver(), 200, "{at}");
    }
    drop(silent);
    assert_eq!(process.deliver(), 200);
}

#[test]
fn a_gate_without_room_waits_for_it_at_ease() {
    let process = Process::start(90);
    let mut held: Vec<Sender> = (0..120).map(|_| Sender::tcp(&process.address)).collect();
    for sender in &mut held {
        sender.send(&post("/hold", b""));
    }
    thread::sleep(Duration::from_millis(300)); // until descriptors are short, and none of the requests may go
    let before = process.ticks();
    thread::sleep(Duration::from_millis(700));
    assert!(process.ticks() - before < 35, "it ran {} ticks of 70", process.ticks() - before);
}
