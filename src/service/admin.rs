//! The private listener while hookbox serves. A failure of it is logged, and deliveries are still received; only a
//! configuration that cannot work prevents the start.

use std::io::IsTerminal;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use log::{Level, error, info, warn};

use super::error::{Error, Result};
use super::thread::{Message, Thread, report_end};
use crate::admin::access::{Access, Token};
use crate::admin::guesses::Guesses;
use crate::admin::{Admin, Api, MAX_BODY_BYTES, page_address};
use crate::config::{AdminListen, AdminToken, Config, MIN_TOKEN_BYTES, too_short};
use crate::current::Current;
use crate::gate::upstream::socket::Upstream;
use crate::gate::{self, Gate, Limits, Settings, Traffic};
use crate::http::refused::{RefusalObserver, Refused};
use crate::listen::{self, Listener};
use crate::log::rate_limited;
use crate::secret::Secret;
use crate::stop::Stop;
use crate::store::{make_page_token, page_token_path};

/// The name of its thread and its gate: the service goes on without them.
pub(super) const THREAD: &str = "admin";

/// The running private listener, from outside.
pub(super) struct AdminHandle {
    gate: Gate,
    thread: Thread,
    access: Current<Access>,
    ip: Option<IpAddr>,
    /// Removes the private socket when it is dropped.
    _upstream: Upstream,
}

/// The socket to listen on: the service manager's, or else that of the config. `None` where none is configured, or where
/// the default is taken.
pub(super) fn listener(
    config: &Config,
    passed: Option<Listener>,
    configured: Option<&Secret>,
) -> Result<Option<Listener>> {
    let Some(place) = config.admin.listen.place() else { return Ok(None) };
    match passed.map_or_else(|| listen::bind(&place), Ok) {
        Ok(listener) => {
            check_exposure(listener.ip(), configured, listener.address())?;
            Ok(Some(listener))
        }
        Err(error) if config.admin.listen == AdminListen::ByDefault => {
            warn!("there is no page and there are no metrics: {error} (listen in [admin])");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Without an IP address it listens on a Unix socket.
fn check_exposure(ip: Option<IpAddr>, configured: Option<&Secret>, address: &str) -> Result<()> {
    if ip.is_none_or(|ip| ip.is_loopback()) {
        return Ok(());
    }
    match configured {
        Some(token) if token.as_bytes().len() < MIN_TOKEN_BYTES => {
            Err(Error::refused(format!("admin.token: {}", too_short())))
        }
        Some(_) => Ok(()),
        None => Err(Error::refused(format!(
            "{address} can be reached from other machines, and anyone who reaches it sees every payload: write token = \
             \"env:NAME\" or \"file:/path\" into [admin], or let it listen on 127.0.0.1 or a Unix socket"
        ))),
    }
}

/// What clients must send. Without a token that its users can find, the page stays closed, and deliveries are received.
pub(super) fn token(config: &Config, configured: Option<Secret>, database: &Path) -> Token {
    match (&config.admin.token, configured) {
        (_, Some(token)) => Token::Configured(token),
        (AdminToken::None, None) => Token::None,
        (AdminToken::Made | AdminToken::Configured(_), None) => match make_page_token(database) {
            Ok(token) => Token::Made(token),
            Err(error) => {
                let path = page_token_path(database);
                error!("the page cannot be opened: its token cannot be stored in {}: {error}", path.display());
                Token::Lost
            }
        },
    }
}

/// Says how to open the page. The token is shown to a person and never stored in a log.
fn log_address(address: &str, token: &Token) {
    info!("page and metrics: {address}");
    match token {
        Token::Made(token) if std::io::stderr().is_terminal() && address.starts_with("http") => {
            info!("the page with its token: {}", page_address(address, Some(token)));
        }
        Token::Made(_) | Token::Configured(_) => {
            info!("the page needs its token: hookbox page prints its address with it")
        }
        Token::None => warn!("the page needs no token: every user of this machine can read and replay deliveries"),
        Token::Lost => {}
    }
}

/// The counts of its gate. What that refuses is no delivery: it is counted there and logged, and not listed.
pub(super) fn traffic() -> Arc<Traffic> {
    Arc::new(Traffic::observed_by(Arc::new(LoggedRefusals)))
}

#[derive(Debug)]
struct LoggedRefusals;

impl RefusalObserver for LoggedRefusals {
    fn observe(&self, refused: &Refused<'_>) {
        let line = format_args!("the page refused {} from {}: {}", refused.path, refused.client, refused.text);
        rate_limited(Level::Warn, THREAD, refused.rule, line);
    }
}

impl AdminHandle {
    /// Starts the thread and its gate.
    pub(super) fn start(listener: Listener, token: Token, api: Api, messages: &Sender<Message>) -> Result<AdminHandle> {
        let config = api.config.get();
        let upstream = super::upstream("admin-", &config.database)?;
        let ip = listener.ip();
        log_address(listener.address(), &token);
        let access = Current::new(Access::new(token, &config.admin.hosts, ip));
        let settings = Settings {
            max_body_bytes: MAX_BODY_BYTES.into(),
            trusted_proxies: Current::new(Vec::new()),
            traffic: Arc::clone(&api.traffic.admin),
        };
        let (stop, server) = (Stop::default(), upstream.server());
        let admin = Admin {
            server: server.clone(),
            access: access.clone(),
            guesses: Guesses::default(),
            api,
            stop: stop.clone(),
        };
        let thread = Thread::spawn(THREAD, &stop, move || server.unblock(), messages, || admin.run())?;
        let on_end = report_end(THREAD, messages);
        match gate::start(Limits::of_private_listener(), listener, upstream.address(), Arc::new(settings), on_end) {
            Ok(gate) => Ok(AdminHandle { gate, thread, access, ip, _upstream: upstream }),
            Err(error) => {
                thread.stop();
                Err(Error::Failed(error))
            }
        }
    }

    /// Errs if this configuration would open the listener to other machines without a token of its own.
    pub(super) fn check(&self, configured: Option<&Secret>) -> Result<()> {
        check_exposure(self.ip, configured, self.gate.address())
    }

    /// Takes over what can change.
    pub(super) fn reconfigure(&self, config: &Config, token: Token) {
        self.access.replace(Access::new(token, &config.admin.hosts, self.ip));
    }

    pub(super) fn stop(self) {
        self.gate.stop();
        self.thread.stop();
    }
}
