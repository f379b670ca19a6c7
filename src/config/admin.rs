//! `[admin]`: the private listener, and who can use it.

use std::str::FromStr;

use toml::Value;

use super::reader::Reader;
use super::values::{Parsed, parsed, text};
use crate::listen::Listen;
use crate::secret::{Env, Secret, SecretError, SecretRef};

/// This machine only; the port after the public listener's default.
const DEFAULT_LISTEN: &str = "127.0.0.1:5001";

const OFF: &str = "off";

/// The private listener.
#[derive(Clone, Debug, Default)]
pub struct Admin {
    pub listen: AdminListen,
    /// Required from every client if it is set. It must be set if the listener can be reached from other machines.
    pub token: Option<SecretRef>,
    /// Host names by which browsers reach it, besides those of this machine.
    pub hosts: Vec<String>,
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
        let token = self.token.as_ref().map(|reference| reference.resolve(env)).transpose();
        token.map_err(|reason| SecretError { key: "admin.token".to_owned(), reason })
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
    let token = keys.get("token", parsed);
    let hosts = keys.get_all("hosts", host).unwrap_or_default();
    if !keys.has("token") && matches!(&listen, AdminListen::At(place) if !place.is_local()) {
        let why = "missing; anyone who can reach this listener sees every payload: write \"env:NAME\" or \
                   \"file:/path\", or listen on 127.0.0.1 or a Unix socket";
        keys.refuse::<()>("token", why.to_owned());
    }
    Admin { listen, token, hosts }
}

fn host(value: &Value) -> Parsed<String> {
    let host = text(value)?;
    let is_host =
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_[:]".contains(&byte));
    let has_port = !host.starts_with('[') && host.contains(':');
    if is_host && !has_port {
        return Ok(host.to_ascii_lowercase());
    }
    Err(format!("{host:?} is not a host name; write it without a port, such as \"pi.local\" or \"[fd00::1]\""))
}
