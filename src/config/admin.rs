//! `[admin]`: the private listener, and who may use it.

use std::str::FromStr;

use toml::Value;

use super::reader::{Parsed, Reader, parsed, text};
use crate::listen::{AddressError, Listen};
use crate::secret::SecretRef;

/// Only this machine, beside the public listener's default.
const DEFAULT_LISTEN: &str = "127.0.0.1:5001";

/// What switches the listener off.
const OFF: &str = "off";

/// The private listener.
#[derive(Clone, Debug)]
pub struct Admin {
    pub listen: AdminListen,
    /// Asked for wherever it is set. Who may connect from elsewhere must have it.
    pub token: Option<SecretRef>,
    /// Names by which browsers know it, beside those of this machine.
    pub hosts: Vec<String>,
}

/// Where the private listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminListen {
    Off,
    /// Nobody has chosen: where the place is taken, deliveries are received without it.
    ByDefault,
    At(Listen),
}

impl Default for Admin {
    fn default() -> Admin {
        Admin { listen: AdminListen::ByDefault, token: None, hosts: Vec::new() }
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
    type Err = AddressError;

    fn from_str(text: &str) -> Result<AdminListen, AddressError> {
        match text {
            OFF => Ok(AdminListen::Off),
            _ => text.parse().map(AdminListen::At),
        }
    }
}

pub(super) fn read_admin(keys: &mut Reader) -> Admin {
    let listen = keys.get("listen", parsed).unwrap_or(AdminListen::ByDefault);
    let token = keys.get("token", parsed);
    let hosts = keys.get_all("hosts", host).unwrap_or_default();
    if !keys.has("token") && matches!(&listen, AdminListen::At(place) if !place.is_local()) {
        let why = "missing; who reaches this listener from elsewhere sees every payload: write \"env:NAME\" or \
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
    Err(format!("{host:?} is not the name of a machine; write it without port, such as \"pi.local\" or \"[fd00::1]\""))
}
