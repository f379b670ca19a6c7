//! Under a service manager, which the tests play.

use std::os::unix::net::UnixDatagram;
use std::process::Command;

use crate::support::{DEADLINE, Home, SOURCE, Signal, is_installed, patient, wait_for};

/// The socket that a service sends its state to.
struct Manager(UnixDatagram);

impl Manager {
    fn of(home: &Home) -> Manager {
        let socket = UnixDatagram::bind(home.path("notify")).unwrap();
        socket.set_read_timeout(Some(patient(DEADLINE))).unwrap();
        Manager(socket)
    }

    /// Waits for this line. Returns everything that the service sent until then.
    #[track_caller]
    fn hears(&self, what: &str) -> String {
        let mut before = String::new();
        loop {
            let mut buffer = [0; 4096];
            let length =
                self.0.recv(&mut buffer).unwrap_or_else(|error| panic!("{what} is not said ({error}): {before}"));
            let said = String::from_utf8_lossy(&buffer[..length]).into_owned();
            before.push_str(&said);
            if said.lines().any(|line| line == what) {
                return before;
            }
        }
    }
}

fn managed() -> (Manager, Home) {
    let home = Home::with_config(SOURCE);
    let manager = Manager::of(&home);
    let address = home.path("notify").display().to_string();
    (manager, home.env("NOTIFY_SOCKET", &address))
}

#[test]
fn start_reload_and_stop_are_notified() {
    let (manager, home) = managed();
    let hookbox = home.start();
    manager.hears("READY=1");
    hookbox.deliver("push", "managed", "{}");
    hookbox.signal(Signal::HUP);
    assert!(manager.hears("RELOADING=1").contains("MONOTONIC_USEC="), "a reload without its time is not believed");
    manager.hears("READY=1");
    let (_, output) = hookbox.stop();
    assert_eq!(output.code, Some(0));
    manager.hears("STOPPING=1");
}

#[test]
fn the_counts_are_notified_at_the_start() {
    let (manager, home) = managed();
    let _hookbox = home.start();
    let said = manager.hears("STATUS=0 events unprocessed, 0 in error");
    assert!(!said.contains("WATCHDOG=1"), "only when the watchdog had asked: {said}");
}

#[test]
fn the_service_managers_watchdog_is_fed_with_the_counts() {
    let (manager, home) = managed();
    let hookbox = home.env("WATCHDOG_USEC", "400000").start();
    let said = manager.hears("WATCHDOG=1") + &manager.hears("WATCHDOG=1");
    assert!(said.contains("STATUS=0 events unprocessed, 0 in error"), "{said}");
    hookbox.assert_alive();
}

#[test]
fn a_frozen_program_does_not_feed_the_service_managers_watchdog() {
    let (manager, home) = managed();
    let hookbox = home.env("WATCHDOG_USEC", "400000").start();
    manager.hears("WATCHDOG=1");
    hookbox.signal(Signal::STOP);
    manager.0.set_read_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
    let mut buffer = [0; 4096];
    // What was sent before it froze is read first.
    wait_for("silence", || manager.0.recv(&mut buffer).is_err().then_some(()));
    hookbox.signal(Signal::CONT);
    manager.0.set_read_timeout(Some(patient(DEADLINE))).unwrap();
    manager.hears("WATCHDOG=1");
}

#[test]
fn a_stop_asks_for_its_time_says_what_it_waits_for_and_feeds_the_watchdog() {
    let home = Home::with_config(&format!(
        "stop_timeout = \"90s\"\n{SOURCE}[actions.deploy]\nkind = \"command\"\non = [\"*\"]\n\
         run = [\"sh\", \"-c\", \"touch began; while [ ! -e go ]; do sleep 0.02; done\"]\n"
    ));
    let manager = Manager::of(&home);
    let address = home.path("notify").display().to_string();
    let hookbox = home.env("NOTIFY_SOCKET", &address).env("WATCHDOG_USEC", "400000").start();
    hookbox.deliver("push", "d-1", "{}");
    hookbox.wait_for_file("began");
    hookbox.signal(Signal::TERM);
    let said = manager.hears("STOPPING=1");
    let extended_us = said.lines().find_map(|line| line.strip_prefix("EXTEND_TIMEOUT_USEC=")?.parse::<u64>().ok());
    assert!(extended_us.is_some_and(|time_us| time_us > 90_000_000), "{said}");
    let waiting = "stopping: waiting for deploy, at most 1m 39s";
    manager.hears(&format!("STATUS={waiting}"));
    hookbox.wait_for_stderr(waiting);
    manager.hears("WATCHDOG=1");
    hookbox.deliver("push", "d-2", "{}");
    hookbox.write("go", "");
    let (home, output) = hookbox.wait();
    assert_eq!((home.stored(), output.code), (2, Some(0)), "{output}");
}

#[test]
fn a_check_without_secrets_fails_for_a_bad_config_and_for_no_missing_secret() {
    let secrets = "[sources.a]\nprovider = \"github\"\nsecret = [\"env:NO\", \"file:/no\", \"credential:no\"]\n\
                   [actions.x]\nkind = \"http\"\nurl = \"credential:no\"\non = [\"a:*\"]\n\
                   [admin]\ntoken = \"credential:no\"\n";
    let home = Home::with_config(secrets);
    home.run(["check"]).refused(2, &["5 problems"]);
    home.run(["check", "--no-secrets"]).ok();
    home.write("hookbox.toml", format!("nonsense = 1\n{secrets}"));
    home.run(["check", "--no-secrets"]).refused(2, &["nonsense"]);
    home.write("hookbox.toml", "[sources.a]\nprovider = \"stripe\"\nsecret = \"no base64, no whsec_\"\n[sources.b]\nprovider = \"svix\"\nsecret = \"whsec_?\"\n");
    home.run(["check", "--no-secrets"]).refused(2, &["1 problem"]);
}

#[test]
fn without_a_config_the_database_is_in_the_state_directory() {
    let home = Home::new();
    std::fs::create_dir(home.path("state")).unwrap();
    let state = home.path("state").display().to_string();
    let hookbox = home.env("STATE_DIRECTORY", &format!("{state}:/elsewhere")).start();
    hookbox.deliver("push", "state", "{}");
    assert!(hookbox.path("state/webhooks.db").exists() && !hookbox.path("webhooks.db").exists());
}

#[track_caller]
fn printed(home: &Home, args: &[&str]) -> String {
    let output = home.run(args);
    assert_eq!(output.code, Some(0));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_units_are_printed() {
    let home = Home::new();
    let service = printed(&home, &["systemd", "service"]);
    let socket = printed(&home, &["systemd", "socket"]);
    for line in [
        "Type=notify",
        "DynamicUser=yes",
        "StateDirectory=hookbox",
        "RestartPreventExitStatus=2",
        "WatchdogSec=60",
        "KillMode=mixed",
        "OOMPolicy=continue",
        "After=network-online.target hookbox.socket",
        "Wants=network-online.target hookbox.socket",
        "ExecReload=/usr/local/bin/hookbox check --no-secrets --config /etc/hookbox/hookbox.toml",
    ] {
        assert!(service.lines().any(|it| it == line), "{line}");
    }
    // Without a time server that target is never reached.
    assert!(!service.contains("time-sync.target"));
    assert!(socket.lines().any(|it| it == "FileDescriptorName=http"));
    assert_eq!(printed(&home, &["systemd"]), format!("{service}\n{socket}"));
    assert_eq!(home.run(["systemd", "timer"]).code, Some(2));
}

#[test]
fn systemd_accepts_the_units_and_finds_little_exposed() {
    if !is_installed("systemd-analyze", &["--version"]) {
        return;
    }
    let home = Home::new();
    // systemd-analyze checks that the program exists.
    let service = printed(&home, &["systemd", "service"]).replace("/usr/local/bin/hookbox", "/bin/true");
    home.write("hookbox.service", service);
    home.write("hookbox.socket", printed(&home, &["systemd", "socket"]));
    let analyze = |args: &[&str]| {
        let output = Command::new("systemd-analyze").args(args).current_dir(home.path(".")).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), text)
    };
    let (accepted, text) = analyze(&["verify", "./hookbox.service", "./hookbox.socket"]);
    assert!(accepted && !text.contains("hookbox."), "{text}");
    let (_, text) = analyze(&["security", "--offline=true", "./hookbox.service"]);
    let level =
        text.lines().find_map(|line| line.split_once("hookbox.service: ")?.1.split(' ').next()?.parse::<f64>().ok());
    assert!(level.is_some_and(|level| level <= 1.5), "{text}");
}
