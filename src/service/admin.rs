//! The private listener while hookbox serves. What goes wrong with it is told, and deliveries are received all the same;
//! only what the operator has written and cannot have refuses the start.

use std::net::IpAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use log::{error, info, warn};

use super::Failure;
use crate::admin::access::Access;
use crate::admin::{Admin, Api, ConfigView, MAX_BODY_BYTES};
use crate::config::{AdminListen, Config};
use crate::current::Current;
use crate::gate::upstream::socket::Upstream;
use crate::gate::{self, Gate, Limits, Settings};
use crate::listen::{self, Listener};
use crate::secret::{Env, Secret};
use crate::stop::Stop;

/// Its parts, from outside.
pub(super) struct AdminHandle {
    gate: Gate,
    private: Upstream,
    thread: JoinHandle<()>,
    stop: Stop,
    access: Current<Access>,
    config_view: Current<ConfigView>,
    ip: Option<IpAddr>,
    is_local: bool,
}

/// Fetches the token.
pub fn token(config: &Config, env: &Env<'_>) -> Result<Option<Secret>, Failure> {
    let token = config.admin.token.as_ref().map(|reference| reference.resolve(env)).transpose();
    token.map_err(|error| Failure::usage(format!("admin.token: {error}")))
}

/// The socket to listen on: the service manager's, or else that of the config. `None` where there is to be none, or where
/// the default is taken.
pub(super) fn listener(
    config: &Config,
    passed: Option<Listener>,
    has_token: bool,
) -> Result<Option<Listener>, Failure> {
    let Some(place) = config.admin.listen.place() else { return Ok(None) };
    let listener = match (passed, &config.admin.listen) {
        (Some(passed), _) => passed,
        (None, AdminListen::ByDefault) => match listen::bind(&place) {
            Ok(listener) => listener,
            Err(error) => {
                warn!("there is no page and there are no metrics: {error} (listen in [admin])");
                return Ok(None);
            }
        },
        (None, _) => listen::bind(&place)?,
    };
    if has_token || listener.is_local() { Ok(Some(listener)) } else { Err(no_token(listener.address())) }
}

fn no_token(address: &str) -> Failure {
    Failure::usage(format!(
        "{address} can be reached from elsewhere, and who reaches it sees every payload: write token = \"env:NAME\" or \
         \"file:/path\" into [admin], or let it listen on 127.0.0.1 or a Unix socket"
    ))
}

/// Starts the thread and its gate. `None`, and a word in the log, where that does not work.
pub(super) fn start(config: &Config, listener: Listener, token: Option<Secret>, api: Api) -> Option<AdminHandle> {
    let config_view = api.config_view.clone();
    let (ip, is_local, address) = (listener.ip(), listener.is_local(), listener.address().to_owned());
    let access = Current::new(Access::new(token, &config.admin.hosts, ip));
    match start_behind_gate(config, listener, access.clone(), api) {
        Ok((gate, private, thread, stop)) => {
            info!("page and metrics: {address}");
            Some(AdminHandle { gate, private, thread, stop, access, config_view, ip, is_local })
        }
        Err(failure) => {
            error!("there is no page and there are no metrics: {failure}");
            None
        }
    }
}

fn start_behind_gate(
    config: &Config,
    listener: Listener,
    access: Current<Access>,
    api: Api,
) -> Result<(Gate, Upstream, JoinHandle<()>, Stop), Failure> {
    let private = super::private_server("admin-", &config.database)?;
    let (stop, traffic) = (Stop::default(), Arc::clone(&api.traffic.admin));
    let admin = Admin { server: private.server(), access, api, stop: stop.clone() };
    let thread = thread::Builder::new().name("admin".to_owned()).spawn(move || admin.run());
    let thread = thread.map_err(|error| Failure::failed(format!("its thread cannot be started: {error}")))?;
    let settings = Arc::new(Settings { max_body_bytes: MAX_BODY_BYTES.into(), traffic });
    let stopping = stop.clone();
    let on_end = move || {
        if !stopping.is_set() {
            error!("the page and the metrics have ended; deliveries go on. A restart brings them back");
        }
    };
    let gate = gate::start(Limits::of_private_listener(), listener, &private.path(), settings, on_end);
    match gate {
        Ok(gate) => Ok((gate, private, thread, stop)),
        Err(error) => {
            leave(&stop, private, thread);
            Err(error.into())
        }
    }
}

impl AdminHandle {
    /// Errs if this configuration would open what is inside to everybody.
    pub(super) fn check(&self, token: Option<&Secret>) -> Result<(), Failure> {
        if token.is_some() || self.is_local { Ok(()) } else { Err(no_token(self.gate.address())) }
    }

    /// Takes over what can change.
    pub(super) fn adopt(&self, config: &Config, token: Option<Secret>) {
        self.access.replace(Access::new(token, &config.admin.hosts, self.ip));
        self.config_view.replace(ConfigView::of(config));
    }

    pub(super) fn stop(self) {
        self.stop.set();
        self.gate.stop();
        leave(&self.stop, self.private, self.thread);
    }
}

fn leave(stop: &Stop, private: Upstream, thread: JoinHandle<()>) {
    stop.set();
    private.server().unblock();
    super::join(thread);
}
