//! A real proxy, with the configuration in the manual.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tempfile::TempDir;

use crate::support::{
    Connection, Issued, Request, Response, believing, closed_port, connect_from, example, issue, wait_longer_for,
};

const MANUAL: &str = "src/manual/proxy.md";

/// The name in the manual.
const NAME: &str = "hooks.example.com";

/// Where hookbox listens in the manual.
const UPSTREAM: &str = "127.0.0.1:5000";

const START_DEADLINE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Caddy,
    Nginx,
    Haproxy,
    Apache,
}

/// A running proxy. Killed when it is dropped.
pub struct Front {
    process: Child,
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    home: TempDir,
}

impl Kind {
    /// Those that are installed, and a word about the others.
    pub fn installed() -> impl Iterator<Item = Kind> {
        [Kind::Caddy, Kind::Nginx, Kind::Haproxy, Kind::Apache].into_iter().filter(|kind| {
            let program = kind.program();
            let found = Command::new(program).args(kind.version()).output().is_ok_and(|output| output.status.success());
            if !found {
                println!("skipped: {program} is not installed");
            }
            found
        })
    }

    /// Debian has most where only root looks for programs.
    fn program(self) -> &'static str {
        match self {
            Kind::Caddy => "caddy",
            Kind::Nginx => "/usr/sbin/nginx",
            Kind::Haproxy => "/usr/sbin/haproxy",
            Kind::Apache => "/usr/sbin/apache2",
        }
    }

    fn version(self) -> &'static [&'static str] {
        match self {
            Kind::Caddy => &["version"],
            Kind::Nginx | Kind::Haproxy | Kind::Apache => &["-v"],
        }
    }

    /// The manual's example with another name, other ports and other certificates, within what makes it run here.
    fn config(self, front: SocketAddr, upstream: SocketAddr) -> String {
        match self {
            Kind::Caddy => {
                let text = replaced(&example(MANUAL, "caddyfile", ""), UPSTREAM, &upstream.to_string());
                let site = format!("https://{NAME}:{} {{\n\ttls cert.pem key.pem", front.port());
                let text = replaced(&text, &format!("{NAME} {{"), &site);
                format!("{{\n\tadmin off\n\tauto_https off\n\tdefault_bind 127.0.0.1\n}}\n{text}")
            }
            Kind::Nginx => {
                let text = replaced(&example(MANUAL, "nginx", ""), UPSTREAM, &upstream.to_string());
                let text = replaced(&text, "listen 443 ", &format!("listen {front} "));
                let text = replaced(&text, "listen [::]:443 ", &format!("listen 127.0.0.1:{} ", closed_port()));
                let text = replaced(&text, &format!("/etc/letsencrypt/live/{NAME}/fullchain.pem"), "cert.pem");
                let text = replaced(&text, &format!("/etc/letsencrypt/live/{NAME}/privkey.pem"), "key.pem");
                // A file is no directory: a body that is written to the disk on its way fails.
                let places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                    .map(|what| format!("{what}_temp_path cert.pem;\n"));
                format!(
                    "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr;\nevents {{}}\n\
                     http {{\naccess_log off;\n{}{text}}}\n",
                    places.concat()
                )
            }
            Kind::Haproxy | Kind::Apache => self.config_of_others(front, upstream),
        }
    }

    /// As the other two are made to run here.
    fn config_of_others(self, front: SocketAddr, upstream: SocketAddr) -> String {
        if matches!(self, Kind::Haproxy) {
            let text = replaced(&example(MANUAL, "haproxy", ""), UPSTREAM, &upstream.to_string());
            return replaced(
                &text,
                "bind :443 ssl crt /etc/haproxy/hooks.pem",
                &format!("bind {front} ssl crt both.pem"),
            );
        }
        let text = replaced(&example(MANUAL, "apache", ""), UPSTREAM, &upstream.to_string());
        let text = replaced(&text, "*:443", &front.to_string());
        let text = replaced(&text, &format!("/etc/letsencrypt/live/{NAME}/fullchain.pem"), "cert.pem");
        let text = replaced(&text, &format!("/etc/letsencrypt/live/{NAME}/privkey.pem"), "key.pem");
        // What Debian's apache2.conf and `a2enmod proxy_http ssl` load.
        let modules: String = ["mpm_event", "authz_core", "socache_shmcb", "ssl", "proxy", "proxy_http"]
            .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
            .concat();
        let user = if rustix::process::geteuid().is_root() { "User www-data\nGroup www-data\n" } else { "" };
        format!("DefaultRuntimeDir .\nPidFile apache.pid\nErrorLog /dev/stderr\nListen {front}\n{modules}{user}{text}")
    }

    fn command(self) -> Command {
        let mut command = Command::new(self.program());
        match self {
            Kind::Caddy => command.args(["run", "--adapter", "caddyfile", "--config", "proxy.conf"]),
            Kind::Nginx => command.args(["-p", ".", "-c", "proxy.conf"]),
            Kind::Haproxy => command.args(["-db", "-f", "proxy.conf"]),
            // One process, which is ended with the test.
            Kind::Apache => command.args(["-X", "-d", ".", "-f", "proxy.conf"]),
        };
        command
    }
}

/// A text that is not there would leave the test without what it tests.
#[track_caller]
fn replaced(text: &str, old: &str, new: &str) -> String {
    assert!(text.contains(old), "no {old:?} in:\n{text}");
    text.replace(old, new)
}

impl Front {
    /// Starts it in front of what listens, or will listen, at `upstream`.
    #[track_caller]
    pub fn start(kind: Kind, upstream: SocketAddr) -> Front {
        let home = tempfile::Builder::new().prefix("hookbox-proxy-").tempdir().unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, closed_port()));
        let Issued { root, certificate, key } = issue(NAME);
        for (name, text) in [
            ("cert.pem", certificate.pem()),
            ("key.pem", key.serialize_pem()),
            ("both.pem", certificate.pem() + &key.serialize_pem()),
            ("proxy.conf", kind.config(address, upstream)),
        ] {
            std::fs::write(home.path().join(name), text).unwrap();
        }
        let log = std::fs::File::create(home.path().join("log")).unwrap();
        let mut command = kind.command();
        command.current_dir(home.path()).env("HOME", home.path()).stdin(Stdio::null()).stdout(Stdio::null());
        let mut process = command.stderr(log).spawn().unwrap();
        wait_longer_for(&format!("{kind:?} to listen"), START_DEADLINE, || {
            let ended = process.try_wait().unwrap();
            assert!(ended.is_none(), "{}", std::fs::read_to_string(home.path().join("log")).unwrap());
            TcpStream::connect(address).ok()
        });
        Front { process, address, tls: believing(&root), home }
    }

    #[track_caller]
    pub fn connect(&self) -> Connection {
        self.connect_from(Ipv4Addr::LOCALHOST)
    }

    /// From another address of this machine, as a client elsewhere.
    #[track_caller]
    pub fn connect_from(&self, client: Ipv4Addr) -> Connection {
        Connection::over_tls(connect_from(client, self.address), Arc::clone(&self.tls), NAME)
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub fn send(&self, request: &Request) -> Response {
        let mut connection = self.connect();
        connection.send_lossy(&request.bytes());
        connection.response()
    }

    /// A request for the name that the proxy serves.
    pub fn named(request: Request) -> Request {
        request.with("Host", NAME)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!(
                "--- log of the proxy\n{}",
                std::fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
            );
        }
    }
}
