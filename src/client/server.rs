//! The address of a server that speaks a protocol of its own: `nats://user:password@host:4222`.

use std::{fmt, io};

use percent_encoding::percent_decode_str;
use ureq::http::Uri;

use crate::secret::Secret;

/// The schemes of one protocol, and the port where an address names none.
pub struct Protocol {
    pub plain: &'static str,
    pub tls: &'static str,
    pub port: u16,
}

/// Why a server has not done what it was asked.
#[derive(Debug)]
pub enum ServerError {
    /// The connection is of no more use.
    Lost(io::Error),
    /// The server's words.
    Refused(String),
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerError::Lost(error) => error.fmt(f),
            ServerError::Refused(reason) => write!(f, "the server refuses: {reason}"),
        }
    }
}

impl From<io::Error> for ServerError {
    fn from(error: io::Error) -> ServerError {
        ServerError::Lost(error)
    }
}

/// Where to connect to, and as which user.
#[derive(Clone, Debug)]
pub struct Server {
    scheme: &'static str,
    /// Without the brackets of an IPv6 address.
    pub host: String,
    pub port: u16,
    pub is_tls: bool,
    /// The user and the password in the address, percent-decoded (RFC 3986, section 3.2.1).
    pub user: Option<String>,
    pub password: Option<Secret>,
    /// Without the slash.
    pub path: String,
}

impl Server {
    /// `Err` says what to write. It does not show the address, which may contain a password.
    pub fn parse(url: &str, protocol: &Protocol) -> Result<Server, String> {
        let wanted =
            || format!("a server is written as {}://HOST:PORT or {}://HOST:PORT", protocol.plain, protocol.tls);
        let uri: Uri = url.trim().parse().map_err(|_| wanted())?;
        let scheme = [protocol.plain, protocol.tls].into_iter().find(|scheme| uri.scheme_str() == Some(scheme));
        let (Some(scheme), Some(authority), None) = (scheme, uri.authority(), uri.query()) else {
            return Err(wanted());
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(wanted());
        }
        let (user, password) = credentials(authority.as_str())?;
        Ok(Server {
            scheme,
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(protocol.port),
            is_tls: scheme == protocol.tls,
            user,
            password,
            path: uri.path().trim_start_matches('/').to_owned(),
        })
    }
}

/// Without user and password.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(f, "{}://[{}]:{}", self.scheme, self.host, self.port);
        }
        write!(f, "{}://{}:{}", self.scheme, self.host, self.port)
    }
}

fn credentials(authority: &str) -> Result<(Option<String>, Option<Secret>), String> {
    let Some((credentials, _)) = authority.rsplit_once('@') else { return Ok((None, None)) };
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let user = percent_decode_str(user).decode_utf8().map_err(|_| "the user in the address is not UTF-8")?;
    let password = Secret::new(percent_decode_str(password).collect());
    Ok((Some(user.into_owned()).filter(|user| !user.is_empty()), password))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROTOCOL: Protocol = Protocol { plain: "redis", tls: "rediss", port: 6379 };

    fn server(url: &str) -> Server {
        Server::parse(url, &PROTOCOL).expect("an address")
    }

    #[test]
    fn an_address_has_host_port_user_password_and_path() {
        let full = server("rediss://us%40er:p%2Fss@cache.example.org:6380/3");
        assert_eq!((full.host.as_str(), full.port, full.is_tls), ("cache.example.org", 6380, true));
        assert_eq!((full.user.as_deref(), full.path.as_str()), (Some("us@er"), "3"));
        assert_eq!(full.password.as_ref().map(Secret::as_bytes), Some(&b"p/ss"[..]));
        assert_eq!(full.to_string(), "rediss://cache.example.org:6380");
        let short = server("redis://:secret@[::1]");
        assert_eq!((short.host.as_str(), short.port, short.is_tls, short.user), ("::1", 6379, false, None));
        assert_eq!(server("redis://[::1]").to_string(), "redis://[::1]:6379");
    }

    #[test]
    fn another_scheme_or_no_host_is_refused_without_showing_the_address() {
        for wrong in ["cache:6379", "http://hunter2/", "redis:///0", "redis://a b", "", "redis://h/?x=hunter2"] {
            let error = Server::parse(wrong, &PROTOCOL).expect_err(wrong);
            assert!(error.contains("redis://HOST:PORT") && !error.contains("hunter2"), "{wrong}: {error}");
        }
    }
}
