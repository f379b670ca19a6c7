//! A machine for the manual's blocks: with a network, processes and files of its own, they are pasted as they are. The
//! default ports are free there, names resolve to what a test says, and what is written into `/etc`, `/var/lib` and the like
//! is gone afterwards.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::program::Process;
use super::{Home, Output, wait_for, wait_longer_for};

/// A block may start servers and wait for them.
const BLOCK_DEADLINE: Duration = Duration::from_secs(60);

/// The directories that have a layer of the machine's own.
const OWN: [&str; 4] = ["etc", "var/lib", "var/log", "usr/local/bin"];

/// Ends when its standard input does, at the latest with the test.
const SET_UP: &str = r#"
set -e
layers=$1; shift
ip link set lo up
mount -t tmpfs none "$layers"
for place; do
    mkdir -p "$layers/$place/own" "$layers/$place/work"
    mount -t overlay none -o "lowerdir=/$place,upperdir=$layers/$place/own,workdir=$layers/$place/work" "/$place"
done
rm -rf /etc/hookbox /var/lib/hookbox
echo ready
exec cat
"#;

/// Programs that the blocks call: `cargo run` is the program that is tested, and the user of this machine is root.
const PROGRAMS: [(&str, &str); 2] = [
    ("sudo", "exec \"$@\""),
    ("cargo", "[ \"$1 $2\" = 'run --release' ] || exit 101; shift 2; [ \"$1\" != -- ] || shift; exec hookbox \"$@\""),
];

/// An authority, and a certificate by it: with names of their own, or OpenSSL takes one for the other.
const CERTIFY: &str = "
new='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
openssl req -x509 $new -keyout ca.key -out ca.pem -days 2 -subj '/CN=an authority'
openssl req $new -keyout key.pem -out request.pem -subj /CN=$1
echo subjectAltName=DNS:$1 >names
openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out cert.pem
cat cert.pem key.pem >both.pem
cat ca.pem >>/etc/ssl/certs/ca-certificates.crt
";

pub struct Machine {
    home: Home,
    holder: Child,
    /// The holder's child, which is the first process of the machine.
    first: String,
}

impl Machine {
    /// `None`, and a word about it, where the kernel does not allow one.
    pub fn new() -> Option<Machine> {
        let home = Home::new().without_secret();
        fs::create_dir(home.path("layers")).unwrap();
        fs::create_dir(home.path("work")).unwrap();
        let mut command = Command::new("unshare");
        // As another user, root of the machine is root of nothing else.
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", SET_UP, "sh"]);
        command.arg(home.path("layers")).args(OWN);
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let Ok(mut holder) = started else {
            println!("skipped: unshare is not installed");
            return None;
        };
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line != "ready\n" {
            let output = holder.wait_with_output().unwrap();
            println!("skipped: no network and files for a test: {}", String::from_utf8_lossy(&output.stderr));
            return None;
        }
        let first = fs::read_to_string(format!("/proc/{0}/task/{0}/children", holder.id())).unwrap();
        let machine = Machine { home, holder, first: first.trim().to_owned() };
        machine.install();
        Some(machine)
    }

    fn install(&self) {
        let program = self.home.command();
        let words = [program.get_program()].into_iter().chain(program.get_args());
        let words: Vec<String> = words.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
        self.program("hookbox", &format!("exec {} \"$@\"", words.join(" ")));
        PROGRAMS.iter().for_each(|(name, script)| self.program(name, script));
    }

    /// A shell script as a program in the `PATH`.
    pub fn program(&self, name: &str, script: &str) {
        let path = format!("/usr/local/bin/{name}");
        self.put(&path, &format!("#!/bin/sh\n{script}\n"));
        self.paste(&format!("chmod 755 {path}"));
    }

    /// Names are other machines that exist here, such as `hooks.example.com`.
    pub fn name(&self, address: &str, name: &str) {
        self.paste(&format!("echo '{address} {name}' >>/etc/hosts; ip address replace {address}/32 dev lo"));
    }

    /// Whether this program is installed. Otherwise the test prints that it is skipped.
    pub fn has(&self, program: &str) -> bool {
        let found = self.try_paste(&format!("command -v {program}")).code == Some(0);
        if !found {
            println!("skipped: {program} is not installed");
        }
        found
    }

    /// `/etc/authority` has a certificate and a key of this name, by an authority that all programs of this machine trust.
    pub fn certify(&self, name: &str) {
        self.put("/etc/authority/make", CERTIFY);
        self.paste(&format!("cd /etc/authority && sh -e make {name}"));
    }

    /// Writes a file, with the directories that it needs.
    #[track_caller]
    pub fn put(&self, path: &str, text: &str) {
        self.home.write("put", text);
        fs::set_permissions(self.home.path("put"), fs::Permissions::from_mode(0o644)).unwrap();
        self.paste(&format!("mkdir -p \"$(dirname {path})\" && cp ../put {path}"));
    }

    /// A file of the working directory, in which all blocks are pasted.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.home.path("work").join(name)).unwrap()
    }

    /// Pastes a block into a shell and waits for its end.
    #[track_caller]
    pub fn try_paste(&self, block: &str) -> Output {
        let mut process = self.spawn(block);
        let what = format!("the end of: {block}");
        let status = wait_longer_for(&what, BLOCK_DEADLINE, || process.child.try_wait().unwrap());
        process.output(status)
    }

    /// The same, and it succeeds.
    #[track_caller]
    pub fn paste(&self, block: &str) -> String {
        self.try_paste(block).ok().text()
    }

    /// Pastes a block that runs on, into another terminal.
    #[track_caller]
    pub fn start(&self, block: &str) -> Running {
        Running(self.spawn(block))
    }

    /// Starts hookbox by this block, and waits until it listens.
    #[track_caller]
    pub fn serve(&self, block: &str) -> Running {
        let running = self.start(block);
        running.wait_for_stderr("listening on ");
        running
    }

    /// Ends all programs of this name.
    #[track_caller]
    pub fn stop(&self, program: &str) {
        self.paste(&format!(
            "pkill -x {program}; for n in $(seq 200); do pgrep -x {program} || exit 0; sleep 0.1; done"
        ));
    }

    #[track_caller]
    fn spawn(&self, block: &str) -> Process {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.first, "--net", "--mount", "--pid"]);
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.args(["--", "sh", "-c", &format!("cd \"$HOME\" || exit; {block}")]).env_clear();
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("/usr/local/bin:{path}:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"));
        command.env("HOME", self.home.path("work"));
        Process::spawn(command, false, None)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// A program that runs on in the machine, and ends with it.
pub struct Running(Process);

impl Running {
    pub fn stdout(&self) -> String {
        self.0.stdout.text()
    }

    pub fn stderr(&self) -> String {
        self.0.stderr.text()
    }

    #[track_caller]
    pub fn wait_for_stdout(&self, text: &str) {
        wait_for(&format!("{text:?} on stdout"), || self.stdout().contains(text).then_some(()));
    }

    #[track_caller]
    pub fn wait_for_stderr(&self, text: &str) {
        wait_for(&format!("{text:?} on stderr"), || self.stderr().contains(text).then_some(()));
    }
}
