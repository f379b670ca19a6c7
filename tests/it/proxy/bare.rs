//! Proxies with the fewest lines that work, before a source without a secret: what they pass on is not local.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::support::{Address, Home, Request, Response, closed_port, is_installed, wait_longer_for};

const START_DEADLINE: Duration = Duration::from_secs(60);

/// A running proxy without TLS. Killed when it is dropped.
pub struct Bare {
    process: Child,
    address: SocketAddr,
    home: TempDir,
}

impl Bare {
    #[track_caller]
    fn start(program: &str, arguments: &[&str], config: &str, address: SocketAddr) -> Bare {
        let home = tempfile::Builder::new().prefix("hookbox-proxy-").tempdir().unwrap();
        std::fs::write(home.path().join("proxy.conf"), config).unwrap();
        let mut command = Command::new(program);
        command.args(arguments).current_dir(home.path()).stdin(Stdio::null()).stdout(Stdio::null());
        let mut process = command.stderr(std::fs::File::create(home.path().join("log")).unwrap()).spawn().unwrap();
        wait_longer_for("the proxy to listen", START_DEADLINE, || {
            let ended = process.try_wait().unwrap();
            assert!(ended.is_none(), "{}", std::fs::read_to_string(home.path().join("log")).unwrap());
            TcpStream::connect(address).ok()
        });
        Bare { process, address, home }
    }

    pub fn nginx(upstream: SocketAddr, lines: &str) -> Bare {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, closed_port()));
        let places =
            ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|what| format!("{what}_temp_path tmp;\n"));
        let config = format!(
            "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{}\
             server {{ listen {address}; location / {{ proxy_pass http://{upstream}; {lines} }} }}\n}}\n",
            places.concat()
        );
        Bare::start("/usr/sbin/nginx", &["-p", ".", "-c", "proxy.conf"], &config, address)
    }

    fn haproxy(upstream: SocketAddr) -> Bare {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, closed_port()));
        let config = format!(
            "defaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n\
             listen hooks\n bind {address}\n server hookbox {upstream}\n"
        );
        Bare::start("/usr/sbin/haproxy", &["-db", "-f", "proxy.conf"], &config, address)
    }

    /// The status that a sender elsewhere is answered.
    fn deliver(&self) -> u16 {
        self.send(&Request::github("push", "forged", "{}").with("Host", "hooks.example.com")).status
    }

    pub fn send(&self, request: &Request) -> Response {
        Address::Tcp(self.address).send(request)
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.home.path().join("log")).unwrap_or_default();
            eprintln!("--- log of the proxy\n{log}");
        }
    }
}

#[test]
fn nginx_with_few_lines_opens_no_source_without_a_secret() {
    if !is_installed("/usr/sbin/nginx", &["-v"]) {
        return;
    }
    let hookbox = Home::new().without_secret().start();
    for lines in [
        "",
        "proxy_set_header X-Real-IP $remote_addr;",
        "proxy_set_header Host $host;",
        "proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header Host $host;",
        "proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header X-Real-IP $remote_addr;",
    ] {
        assert_eq!(Bare::nginx(hookbox.address().tcp(), lines).deliver(), 403, "{lines:?}");
    }
    assert_eq!(hookbox.stored(), 0);
}

#[test]
fn haproxy_by_default_opens_no_source_without_a_secret() {
    if !is_installed("/usr/sbin/haproxy", &["-v"]) {
        return;
    }
    let hookbox = Home::new().without_secret().start();
    assert_eq!(Bare::haproxy(hookbox.address().tcp()).deliver(), 403);
    assert_eq!(hookbox.stored(), 0);
}
