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

/// Why a text is not an address. Written for the operator.
#[derive(Debug)]
pub enum AddressError {
    NoHost(String),
    Invalid(String),
    NoPath,
}

impl FromStr for Listen {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Listen, AddressError> {
        if let Some(path) = text.strip_prefix(UNIX_PREFIX) {
            return if path.is_empty() { Err(AddressError::NoPath) } else { Ok(Listen::Unix(path.into())) };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(|| AddressError::Invalid(text.into()))?;
        if host.is_empty() {
            return Err(AddressError::NoHost(port.into()));
        }
        if !is_host(host) || !is_port(port) {
            return Err(AddressError::Invalid(text.into()));
        }
        Ok(Listen::Tcp(text.into()))
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

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AddressError::NoHost(port) => write!(
                f,
                "which address? write 127.0.0.1:{port} for this machine only, or 0.0.0.0:{port} for every network"
            ),
            AddressError::Invalid(text) => {
                write!(f, "{text:?} is neither host:port (127.0.0.1:5000, [::1]:5000) nor unix:/path/of/socket")
            }
            AddressError::NoPath => write!(f, "the path after {UNIX_PREFIX} is missing"),
        }
    }
}

impl std::error::Error for AddressError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_printed_as_it_was_written() -> Result<(), AddressError> {
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
        let error = ":5000".parse::<Listen>().map_err(|error| error.to_string());
        assert!(error.is_err_and(|text| text.contains("127.0.0.1:5000")));
    }
}
