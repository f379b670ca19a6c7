//! The private listener while hookbox serves. What goes wrong with it is logged, and deliveries are still received; only a
//! configuration that cannot be met refuses the start.

use std::net::IpAddr;
use std::sync::Arc;

use log::{error, info, warn};

use super::error::{Error, Result};
use super::thread::Thread;
use crate::admin::access::Access;
use crate::admin::{Admin, Api, ConfigView, MAX_BODY_BYTES};
use crate::config::{AdminListen, Config};
use crate::current::Current;
use crate::gate::upstream::socket::Upstream;
use crate::gate::{self, Gate, Limits, Settings};
use crate::listen::{self, Listener};
use crate::secret::Secret;
use crate::stop::Stop;

/// The running private listener, from outside.
pub(super) struct AdminHandle {
    running: Running,
    access: Current<Access>,
    config_view: Current<ConfigView>,
    ip: Option<IpAddr>,
    is_local: bool,
}

struct Running {
    gate: Gate,
    /// Set before the gate is stopped.
    stopping: Stop,
    thread: Thread,
    /// Its directory is removed when it is dropped.
    _upstream: Upstream,
}

/// The socket to listen on: the service manager's, or else that of the config. `None` where there is to be none, or where
/// the default is taken.
pub(super) fn listener(config: &Config, passed: Option<Listener>, has_token: bool) -> Result<Option<Listener>> {
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
    check_exposure(listener.is_local(), has_token, listener.address())?;
    Ok(Some(listener))
}

fn check_exposure(is_local: bool, has_token: bool, address: &str) -> Result<()> {
    if is_local || has_token { Ok(()) } else { Err(Error::AdminExposed(address.to_owned())) }
}

/// Starts the thread and its gate. `None`, and an error in the log, where that does not work.
pub(super) fn start(config: &Config, listener: Listener, token: Option<Secret>, api: Api) -> Option<AdminHandle> {
    let config_view = api.config_view.clone();
    let (ip, is_local, address) = (listener.ip(), listener.is_local(), listener.address().to_owned());
    let access = Current::new(Access::new(token, &config.admin.hosts, ip));
    match Running::start(config, listener, access.clone(), api) {
        Ok(running) => {
            info!("page and metrics: {address}");
            Some(AdminHandle { running, access, config_view, ip, is_local })
        }
        Err(error) => {
            error!("there is no page and there are no metrics: {error}");
            None
        }
    }
}

impl AdminHandle {
    /// Errs if this configuration would open the listener to other machines without a token.
    pub(super) fn check(&self, token: Option<&Secret>) -> Result<()> {
        check_exposure(self.is_local, token.is_some(), self.running.gate.address())
    }

    /// Takes over what can change.
    pub(super) fn reconfigure(&self, config: &Config, token: Option<Secret>) {
        self.access.replace(Access::new(token, &config.admin.hosts, self.ip));
        self.config_view.replace(ConfigView::of(config));
    }

    pub(super) fn stop(self) {
        self.running.stopping.set();
        self.running.gate.stop();
        self.running.thread.stop();
    }
}

impl Running {
    fn start(config: &Config, listener: Listener, access: Current<Access>, api: Api) -> Result<Running> {
        let upstream = super::upstream("admin-", &config.database)?;
        let settings = Settings { max_body_bytes: MAX_BODY_BYTES.into(), traffic: Arc::clone(&api.traffic.admin) };
        let (stop, server) = (Stop::default(), upstream.server());
        let admin = Admin { server: server.clone(), access, api, stop: stop.clone() };
        let thread = Thread::spawn("admin", stop, move || server.unblock(), log_end, move || admin.run())?;
        let stopping = Stop::default();
        let is_stopping = stopping.clone();
        let on_end = move || {
            if !is_stopping.is_set() {
                log_end();
            }
        };
        match gate::start(Limits::of_private_listener(), listener, &upstream.path(), Arc::new(settings), on_end) {
            Ok(gate) => Ok(Running { gate, stopping, thread, _upstream: upstream }),
            Err(error) => {
                thread.stop();
                Err(error.into())
            }
        }
    }
}

fn log_end() {
    error!("the page and the metrics have ended; deliveries go on. A restart brings them back");
}
