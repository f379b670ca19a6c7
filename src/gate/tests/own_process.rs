//! Measurements that need a process with nothing but a gate. The tests start one: this test program with another test.

use super::client::Client;
use super::rig::{Rig, post, wait_until, wait_until_steady};
use crate::gate::limits::Limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

const DESCRIPTORS: &str = "HOOKBOX_TEST_DESCRIPTORS";

/// Serves until its input ends, with the number of descriptors in the variable.
#[test]
#[ignore = "started by the other tests"]
fn child() {
    let Some(descriptors) = std::env::var(DESCRIPTORS).ok().and_then(|it| it.parse().ok()) else { return };
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(descriptors), maximum }).unwrap();
    let mut limits = Limits::new(4, 512);
    limits.timeouts.request *= 10; // so that no silent client is closed by its timeout
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
            .args(["--exact", "gate::tests::own_process::child", "--ignored", "--nocapture"])
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
        let mut client = Client::tcp(&self.address);
        client.send(&post("/", b""));
        client.answer().status
    }

    /// How often the gate's thread went to sleep, and the CPU time of the process.
    fn activity(&self) -> String {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let is_gate = |path: &PathBuf| fs::read_to_string(path.join("comm")).is_ok_and(|it| it == "gate\n");
        let gate = tasks.flatten().map(|entry| entry.path()).find(is_gate).unwrap();
        let status = fs::read_to_string(gate.join("status")).unwrap();
        let sleeps = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap();
        format!("{sleeps} {}", self.ticks())
    }

    /// The CPU time of the process, in hundredths of a second.
    fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let user_and_system = stat.rsplit(')').next().unwrap().split(' ').skip(12).take(2);
        user_and_system.map(|it| it.parse::<u64>().unwrap()).sum()
    }

    fn open_descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    fn wait_until_it_sleeps(&self) {
        wait_until_steady("a sleeping gate", Duration::from_millis(500), || self.activity());
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
fn a_reset_by_a_client_whose_request_waits_does_not_wake_the_gate() {
    let process = Process::start(256);
    let mut client = Client::tcp(&process.address);
    client.send(&post("/hold", b""));
    process.wait_until_it_sleeps(); // the request is in flight
    client.reset();
    process.wait_until_it_sleeps();
}

#[test]
fn the_gate_recovers_after_descriptors_ran_out() {
    let process = Process::start(90);
    assert_eq!(process.deliver(), 200);
    let mut silent: Vec<Client> = (0..150).map(|_| Client::tcp(&process.address)).collect();
    // Fewer connections are allowed than descriptors.
    wait_until("the eviction of the oldest", || silent[0].is_closed());
    for at in 0..5 {
        assert_eq!(process.deliver(), 200, "{at}");
    }
    drop(silent);
    assert_eq!(process.deliver(), 200);
}

#[test]
fn a_full_gate_uses_little_cpu_time_while_it_waits_for_room() {
    let process = Process::start(90);
    let mut held: Vec<Client> = (0..120).map(|_| Client::tcp(&process.address)).collect();
    for client in &mut held {
        client.send(&post("/hold", b""));
    }
    // Until descriptors are short, and no request may be evicted.
    wait_until_steady("used up descriptors", Duration::from_millis(200), || process.open_descriptors());
    let before = process.ticks();
    thread::sleep(Duration::from_millis(700));
    assert!(process.ticks() - before < 35, "it ran {} ticks of 70", process.ticks() - before);
}
