//! `hookbox page`: prints the page's address with its token.

use std::io::Write;
use std::net::IpAddr;

use super::Failure;
use crate::admin::page_address;
use crate::config::{Admin, AdminToken, Config};
use crate::listen::Listen;
use crate::secret::{Env, Secret};
use crate::store::{page_token, page_token_path};

/// For a page at a Unix socket: the address at the near end of a tunnel.
const TUNNEL_PORT: u16 = 5001;

pub(super) fn run(config: &Config, env: &Env<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let Some(place) = config.admin.listen.place() else {
        return Err(Failure::usage("there is no page: listen in [admin] is off"));
    };
    let token = token(config, env).map_err(Failure::failed)?;
    if token.is_none() && matches!(config.admin.token, AdminToken::Made) {
        return Err(Failure::failed(format!(
            "there is no token yet in {}: hookbox serve makes it when it starts",
            page_token_path(&config.database).display()
        )));
    }
    match place {
        Listen::Tcp(address) => {
            let origin = format!("http://{}", reachable(&address, &config.admin));
            Ok(writeln!(out, "{}", page_address(&origin, token.as_ref()))?)
        }
        Listen::Unix(path) => {
            writeln!(out, "{}", page_address(&format!("http://localhost:{TUNNEL_PORT}"), token.as_ref()))?;
            Ok(writeln!(out, "after: ssh -L {TUNNEL_PORT}:{} THIS-MACHINE", path.display())?)
        }
    }
}

/// Where a browser finds the page, without the token.
pub(super) fn address(place: &Listen, admin: &Admin) -> String {
    match place {
        Listen::Tcp(address) => format!("http://{}/", reachable(address, admin)),
        Listen::Unix(_) => place.to_string(),
    }
}

/// What this user has to send to the page. `None` where it needs no token, or where none was made yet.
pub(super) fn token(config: &Config, env: &Env<'_>) -> Result<Option<Secret>, String> {
    match &config.admin.token {
        AdminToken::None => Ok(None),
        AdminToken::Configured(_) => config.admin.fetch_token(env).map_err(|error| error.to_string()),
        AdminToken::Made => page_token(&config.database).map_err(|error| {
            let path = page_token_path(&config.database);
            format!(
                "cannot read the page's token in {}: {error}; be the user that runs hookbox, or root",
                path.display()
            )
        }),
    }
}

/// A browser cannot open 0.0.0.0, on which the page listens for all addresses of this machine.
fn reachable(address: &str, admin: &Admin) -> String {
    let Some((host, port)) = address.rsplit_once(':') else { return address.to_owned() };
    let ip: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    if ip.is_none_or(|ip| !ip.is_unspecified()) {
        return address.to_owned();
    }
    format!("{}:{port}", admin.hosts.first().map_or("localhost", String::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_the_page_is_one_that_a_browser_can_open() {
        let admin =
            |hosts: &[&str]| Admin { hosts: hosts.iter().map(|&host| host.to_owned()).collect(), ..Admin::default() };
        for (address, hosts, expected) in [
            ("127.0.0.1:5001", &["pi.local"][..], "127.0.0.1:5001"),
            ("0.0.0.0:5001", &["pi.local"], "pi.local:5001"),
            ("[::]:80", &[], "localhost:80"),
            ("pi.local:80", &[], "pi.local:80"),
        ] {
            assert_eq!(reachable(address, &admin(hosts)), expected);
        }
        let token = Secret::new(b"a&b=c #".to_vec());
        assert_eq!(page_address("http://h:1", token.as_ref()), "http://h:1/#token=a%26b%3Dc+%23");
        assert_eq!(page_address("http://h:1", None), "http://h:1/");
    }
}
