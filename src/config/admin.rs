//! `[admin]`: the private listener, and who can use it.

use std::net::Ipv6Addr;
use std::str::FromStr;

use toml::Value;

use super::reader::Reader;
use super::values::{Parsed, parsed, text};
use crate::listen::Listen;
use crate::secret::{Env, Secret, SecretError, SecretRef};

/// This machine only; the port after the public listener's default.
const DEFAULT_LISTEN: &str = "127.0.0.1:5001";

const OFF: &str = "off";

/// Instead of a token.
const NONE: &str = "none";

/// Of a token where other machines can guess it: half of what `openssl rand -hex 16` makes.
pub const MIN_TOKEN_BYTES: usize = 16;

/// The private listener.
#[derive(Clone, Debug, Default)]
pub struct Admin {
    pub listen: AdminListen,
    pub token: AdminToken,
    /// Host names by which browsers reach it, besides those of this machine.
    pub hosts: Vec<String>,
}

/// What clients of the private listener must send.
#[derive(Clone, Debug, Default)]
pub enum AdminToken {
    /// Not configured: one is made at the first start, and kept beside the database.
    #[default]
    Made,
    /// Every client needs it. The listener may then be reached from other machines.
    Configured(SecretRef),
    /// Nothing: every user of this machine can read and replay deliveries.
    None,
}

/// Where the private listener is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AdminListen {
    Off,
    /// Not configured: if the default address is taken, hookbox runs without this listener.
    #[default]
    ByDefault,
    At(Listen),
}

impl Admin {
    /// The token, if one is configured.
    pub fn fetch_token(&self, env: &Env<'_>) -> Result<Option<Secret>, SecretError> {
        let AdminToken::Configured(reference) = &self.token else { return Ok(None) };
        let failed = |reason| SecretError { key: "admin.token".to_owned(), reason };
        let token = reference.resolve(env).map_err(failed)?;
        let is_exposed = matches!(&self.listen, AdminListen::At(place) if !place.is_local());
        if is_exposed && token.as_bytes().len() < MIN_TOKEN_BYTES {
            return Err(failed(format!("{reference}: {}", too_short())));
        }
        Ok(Some(token))
    }
}

/// Why such a token is refused where other machines can reach the listener.
pub fn too_short() -> String {
    format!(
        "shorter than {MIN_TOKEN_BYTES} characters, and other machines can reach this listener and guess it; make a longer \
         one: openssl rand -hex 16"
    )
}

impl FromStr for AdminToken {
    type Err = <SecretRef as FromStr>::Err;

    fn from_str(text: &str) -> Result<AdminToken, Self::Err> {
        if text == NONE { Ok(AdminToken::None) } else { text.parse().map(AdminToken::Configured) }
    }
}

impl AdminListen {
    pub fn place(&self) -> Option<Listen> {
        match self {
            AdminListen::Off => None,
            AdminListen::ByDefault => Some(Listen::Tcp(DEFAULT_LISTEN.to_owned())),
            AdminListen::At(listen) => Some(listen.clone()),
        }
    }
}

impl FromStr for AdminListen {
    type Err = String;

    fn from_str(text: &str) -> Result<AdminListen, String> {
        match text {
            OFF => Ok(AdminListen::Off),
            _ => text.parse().map(AdminListen::At),
        }
    }
}

pub(super) fn read_admin(keys: &mut Reader) -> Admin {
    let listen = keys.get("listen", parsed).unwrap_or_default();
    let has_token = keys.has("token");
    let token = keys.get("token", parsed).unwrap_or_default();
    let hosts = keys.get_all("hosts", host).unwrap_or_default();
    let has_own = has_token && !matches!(token, AdminToken::None);
    if !has_own && matches!(&listen, AdminListen::At(place) if !place.is_local()) {
        let why = "missing; anyone who can reach this listener sees every payload: write \"env:NAME\" or \
                   \"file:/path\", or listen on 127.0.0.1 or a Unix socket";
        keys.refuse::<()>("token", why.to_owned());
    }
    Admin { listen, token, hosts }
}

fn host(value: &Value) -> Parsed<String> {
    let host = text(value)?;
    let is_name = |host: &str| {
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
    };
    let is_host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|v6| v6.parse::<Ipv6Addr>().is_ok()),
        None => is_name(host),
    };
    if is_host {
        return Ok(host.to_ascii_lowercase());
    }
    Err(format!("{host:?} is not a host name; write it without a port, such as \"pi.local\" or \"[fd00::1]\""))
}
