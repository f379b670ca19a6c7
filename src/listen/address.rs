//! Where to listen, as the operator writes it: `host:port` or `unix:/path`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

pub(super) const UNIX_PREFIX: &str = "unix:";

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// `host:port`; the host is a name or an address, IPv6 in brackets.
    Tcp(String),
    Unix(PathBuf),
}

impl FromStr for Listen {
    /// Why the text is not an address. Written for the operator.
    type Err = String;

    fn from_str(text: &str) -> Result<Listen, String> {
        if let Some(path) = text.strip_prefix(UNIX_PREFIX) {
            let missing = || format!("the path after {UNIX_PREFIX} is missing");
            return if path.is_empty() { Err(missing()) } else { Ok(Listen::Unix(path.into())) };
        }
        match text.rsplit_once(':') {
            Some(("", port)) => Err(format!(
                "which address? write 127.0.0.1:{port} for this machine only, or 0.0.0.0:{port} for every network"
            )),
            Some((host, port)) if is_host(host) && is_port(port) => Ok(Listen::Tcp(text.into())),
            _ => Err(format!("{text:?} is neither host:port (127.0.0.1:5000, [::1]:5000) nor unix:/path/of/socket")),
        }
    }
}

impl Listen {
    /// True if the text alone shows that only this machine can connect.
    pub fn is_local(&self) -> bool {
        let Listen::Tcp(address) = self else { return true };
        let host = address.rsplit_once(':').map_or("", |(host, _)| host);
        let ip: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        host.eq_ignore_ascii_case("localhost") || ip.is_some_and(|ip| ip.is_loopback())
    }
}

/// IPv6 addresses need their brackets: without them the last group reads as a port.
fn is_host(host: &str) -> bool {
    match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|v6| v6.parse::<Ipv6Addr>().is_ok()),
        None => host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)),
    }
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(address) => f.write_str(address),
            Listen::Unix(path) => write!(f, "{UNIX_PREFIX}{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_printed_as_it_was_written() -> Result<(), String> {
        for text in ["127.0.0.1:5000", "[::1]:5000", "localhost:0", "unix:/run/hookbox/http.sock"] {
            assert_eq!(text.parse::<Listen>()?.to_string(), text);
        }
        Ok(())
    }

    #[test]
    fn an_invalid_address_is_refused() {
        let wrong =
            ["", ":", "5000", ":5000", "::1:5000", "[::1]", "a b:1", "host:+1", "host:65536", "http://x:1", "unix:"];
        for text in wrong {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_port_without_a_host_is_refused_with_advice() {
        assert!(":5000".parse::<Listen>().is_err_and(|text| text.contains("127.0.0.1:5000")));
    }
}
