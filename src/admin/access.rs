//! Access to the private listener.
//!
//! Any web page can make the operator's browser send requests here. It cannot make the browser send a `Host` other than the
//! name in the address, nor a custom header without a preflight request (which is never granted), nor the token.

use std::net::IpAddr;

use crate::digest;
use crate::http::Inbound;
use crate::http::forwarding::{is_local_host, without_port};
use crate::secret::Secret;

/// The names by which a machine reaches itself.
const LOCAL_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Name and value of the header field that a request for a change must have (a custom header protects against CSRF).
const CSRF_HEADER: (&str, &str) = ("X-Hookbox", "1");

const SCHEME: &str = "Bearer ";

/// What a client must send.
#[derive(Debug)]
pub enum Token {
    /// Made by hookbox, for the users of this machine that can read its file. It is too long to be guessed.
    Made(Secret),
    /// Chosen by the operator, and perhaps known to a proxy.
    Configured(Secret),
    /// Nothing.
    None,
    /// It could not be stored where its users look for it.
    Lost,
}

/// The requirements of the listener. Replaced as a whole when the configuration is reloaded.
#[derive(Debug)]
pub struct Access {
    token: Token,
    hosts: Vec<String>,
    /// Where it listens; `None` for a Unix socket.
    ip: Option<IpAddr>,
}

/// The fields of a request that decide on access.
#[derive(Clone, Copy, Debug, Default)]
pub struct Credentials<'a> {
    pub host: Option<&'a str>,
    pub authorization: Option<&'a str>,
    pub csrf: Option<&'a str>,
    /// A proxy has forwarded the request.
    pub is_forwarded: bool,
}

/// Why a request is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    UnknownHost,
    Forwarded,
    NoToken,
    WrongToken,
    TooManyWrongTokens,
    LostToken,
    NoCsrfHeader,
}

impl Credentials<'_> {
    pub fn of(request: &Inbound) -> Credentials<'_> {
        let headers = &request.headers;
        Credentials {
            host: headers.get("Host"),
            authorization: headers.get("Authorization"),
            csrf: headers.get(CSRF_HEADER.0),
            is_forwarded: request.forwarding_sign().is_some(),
        }
    }

    /// In lower case.
    fn host(&self) -> String {
        without_port(self.host.unwrap_or_default()).to_ascii_lowercase()
    }

    pub fn token(&self) -> Option<&str> {
        let (scheme, sent) = self.authorization?.split_at_checked(SCHEME.len())?;
        scheme.eq_ignore_ascii_case(SCHEME).then(|| sent.trim())
    }
}

impl Access {
    /// `ip` is where it listens; `None` for a Unix socket. `hosts` are in lower case.
    pub fn new(token: Token, hosts: &[String], ip: Option<IpAddr>) -> Access {
        let hosts = LOCAL_HOSTS.into_iter().map(str::to_owned).chain(hosts.iter().cloned());
        Access { token, hosts: hosts.collect(), ip }
    }

    /// Checks that every request must pass first.
    pub fn check_host(&self, credentials: &Credentials<'_>) -> Result<(), Denial> {
        let host = credentials.host();
        let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        // Where it listens on every address of this machine, any address is one of its own: a browser loads no other
        // server's page from it.
        let is_own = address.is_some() && (address == self.ip || self.ip.is_some_and(|ip| ip.is_unspecified()));
        if !is_own && !self.hosts.contains(&host) {
            return Err(Denial::UnknownHost);
        }
        if credentials.is_forwarded && !matches!(self.token, Token::Configured(_)) {
            return Err(Denial::Forwarded);
        }
        Ok(())
    }

    /// Checks for requests that read more than the page itself.
    pub fn authorize_read(&self, credentials: &Credentials<'_>) -> Result<(), Denial> {
        let token = match &self.token {
            Token::Made(token) | Token::Configured(token) => token,
            Token::None => return Ok(()),
            Token::Lost => return Err(Denial::LostToken),
        };
        let sent = credentials.token().ok_or(Denial::NoToken)?;
        let is_right = digest::equal(token.as_bytes(), sent.as_bytes());
        if is_right { Ok(()) } else { Err(Denial::WrongToken) }
    }

    /// Checks for requests for the metrics, in which is nothing of a delivery: a program on this machine needs no token of
    /// which it could not know.
    pub fn authorize_metrics(&self, credentials: &Credentials<'_>, client: IpAddr) -> Result<(), Denial> {
        let is_local = credentials.host.is_some_and(is_local_host);
        match self.token {
            Token::Made(_) | Token::Lost if is_local && client.is_loopback() => Ok(()),
            _ => self.authorize_read(credentials),
        }
    }

    /// Whether the token may be found by trying. Then a client that has sent too many wrong ones is not told which is right.
    pub fn is_guessable(&self) -> bool {
        matches!(self.token, Token::Configured(_))
    }

    /// Checks for requests that change something.
    pub fn authorize_write(&self, credentials: &Credentials<'_>) -> Result<(), Denial> {
        if credentials.csrf == Some(CSRF_HEADER.1) { Ok(()) } else { Err(Denial::NoCsrfHeader) }
    }
}

impl Denial {
    /// Status and text of the response, most likely for the operator.
    pub fn response(self) -> (u16, &'static str) {
        match self {
            Denial::UnknownHost => (403, "unknown host: if this is a name of this machine, add it to hosts in [admin]"),
            Denial::Forwarded => (403, "came through a proxy: set token in [admin]"),
            Denial::NoToken => (401, "the token is missing: hookbox page prints the page's address with it"),
            Denial::WrongToken => {
                (401, "the token is wrong: hookbox page prints the page's address with the right one")
            }
            Denial::LostToken => (503, "the page's token cannot be stored beside the database: see the log of hookbox"),
            Denial::TooManyWrongTokens => (429, "too many wrong tokens: try again in a minute"),
            Denial::NoCsrfHeader => (403, "changes need the header X-Hookbox: 1"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(token: Option<&str>, hosts: &[&str], ip: Option<&str>) -> Access {
        let token = token.and_then(|token| Secret::new(token.into())).map_or(Token::None, Token::Configured);
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        Access::new(token, &hosts, ip.map(|ip| ip.parse().unwrap()))
    }

    fn by_host(access: &Access, host: &str) -> Result<(), Denial> {
        access.check_host(&Credentials { host: Some(host), ..Credentials::default() })
    }

    #[test]
    fn only_its_own_names_are_accepted_as_host() {
        let access = access(None, &["pi.local"], Some("192.168.1.5"));
        for host in
            ["localhost", "LOCALHOST:5001", "127.0.0.1:5001", "[::1]:5001", "[::1]", "192.168.1.5:1", "pi.local"]
        {
            assert_eq!(by_host(&access, host), Ok(()), "{host}");
        }
        for host in
            ["", ":5001", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "192.168.1.6", "::1"]
        {
            assert_eq!(by_host(&access, host), Err(Denial::UnknownHost), "{host}");
        }
        assert_eq!(access.check_host(&Credentials::default()), Err(Denial::UnknownHost));
    }

    #[test]
    fn on_every_address_it_accepts_any_address_and_no_name() {
        let access = access(Some("t"), &[], Some("0.0.0.0"));
        assert_eq!(by_host(&access, "192.168.1.6:5001"), Ok(()));
        assert_eq!(by_host(&access, "[fd00::1]:5001"), Ok(()));
        assert_eq!(by_host(&access, "192.168.1.6.evil.example"), Err(Denial::UnknownHost));
    }

    #[test]
    fn only_the_whole_token_is_accepted() {
        let access = access(Some("hunter2"), &[], None);
        let with = |authorization| access.authorize_read(&Credentials { authorization, ..Credentials::default() });
        assert_eq!(with(Some("Bearer hunter2")), Ok(()));
        assert_eq!(with(Some("bearer hunter2")), Ok(()));
        for wrong in ["Bearer hunter", "Bearer hunter22", "Bearer ", "Bearer Hunter2"] {
            assert_eq!(with(Some(wrong)), Err(Denial::WrongToken), "{wrong}");
        }
        for none in [None, Some(""), Some("hunter2"), Some("Basic hunter2"), Some("Bearér hunter2")] {
            assert_eq!(with(none), Err(Denial::NoToken), "{none:?}");
        }
    }

    #[test]
    fn a_forwarded_request_needs_a_token() {
        let forwarded = Credentials { host: Some("localhost"), is_forwarded: true, ..Credentials::default() };
        assert_eq!(access(None, &[], None).check_host(&forwarded), Err(Denial::Forwarded));
        assert_eq!(access(Some("t"), &[], None).check_host(&forwarded), Ok(()));
        assert_eq!(with_made_token().check_host(&forwarded), Err(Denial::Forwarded));
    }

    fn with_made_token() -> Access {
        Access::new(Token::Made(Secret::new("made".into()).unwrap()), &["pi.local".to_owned()], None)
    }

    #[test]
    fn a_made_token_does_not_guard_the_metrics_from_this_machine() {
        let [here, there] = ["127.0.0.1", "192.0.2.1"].map(|ip| ip.parse::<IpAddr>().unwrap());
        let by = |access: &Access, host, client| {
            access.authorize_metrics(&Credentials { host: Some(host), ..Credentials::default() }, client)
        };
        let made = with_made_token();
        for host in ["localhost:5001", "127.0.0.1", "[::1]:5001"] {
            assert_eq!(by(&made, host, here), Ok(()), "{host}");
            assert_eq!(by(&made, host, there), Err(Denial::NoToken), "{host}");
            assert_eq!(by(&access(Some("t"), &[], None), host, here), Err(Denial::NoToken), "{host}");
            assert_eq!(by(&access(None, &[], None), host, there), Ok(()), "{host}");
        }
        assert_eq!(by(&made, "pi.local", here), Err(Denial::NoToken));
        assert_eq!(
            made.authorize_read(&Credentials { host: Some("localhost"), ..Credentials::default() }),
            Err(Denial::NoToken)
        );
    }

    #[test]
    fn a_change_needs_the_csrf_header() {
        let access = access(None, &[], None);
        let with = |csrf| access.authorize_write(&Credentials { csrf, ..Credentials::default() });
        assert_eq!(with(Some("1")), Ok(()));
        assert_eq!((with(None), with(Some("0"))), (Err(Denial::NoCsrfHeader), Err(Denial::NoCsrfHeader)));
    }
}
