//! The private listener while hookbox serves. A failure of it is logged, and deliveries are still received; only a
//! configuration that cannot work prevents the start.

use std::io::IsTerminal;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use log::{Level, error, info, warn};

use super::error::{Error, Result};
use super::thread::{Message, Thread, in_background, report_end};
use crate::admin::access::{Access, Token};
use crate::admin::guesses::Guesses;
use crate::admin::{Admin, Api, MAX_BODY_BYTES, page_address};
use crate::config::{AdminListen, AdminToken, Config, MIN_TOKEN_BYTES, too_short};
use crate::current::Current;
use crate::gate::upstream::socket::Upstream;
use crate::gate::{self, Gate, Limits, Settings, Traffic};
use crate::http::refused::{RefusalObserver, Refused};
use crate::listen::{self, Listen, Listener};
use crate::log::rate_limited;
use crate::secret::Secret;
use crate::stop::{Stop, Waker};
use crate::store::{make_page_token, page_token_path};
use crate::units::duration_text;

/// The name of its thread and its gate: the service goes on without them.
pub(super) const THREAD: &str = "admin";

/// How often to try an address that this machine does not have yet: a new lease is noticed soon enough, and an idle program
/// hardly wakes up for it.
const ADDRESS_RETRY: Duration = Duration::from_secs(10);

/// The running private listener, from outside.
pub(super) struct AdminHandle {
    gate: Gate,
    thread: Thread,
    access: Current<Access>,
    ip: Option<IpAddr>,
    /// Removes the private socket when it is dropped.
    _upstream: Upstream,
}

/// Where the page is when hookbox starts.
pub(super) enum PageListener {
    /// None is configured, or the default is taken.
    None,
    Open(Listener),
    /// Its address cannot be listened on now.
    Awaited(Listen),
}

/// The socket to listen on: the service manager's, or else that of the config.
pub(super) fn listener(config: &Config, passed: Option<Listener>, configured: Option<&Secret>) -> Result<PageListener> {
    let Some(place) = config.admin.listen.place() else { return Ok(PageListener::None) };
    match passed.map_or_else(|| listen::bind(&place), Ok) {
        Ok(listener) => {
            check_exposure(listener.ip(), configured, listener.address())?;
            Ok(PageListener::Open(listener))
        }
        Err(error) if config.admin.listen == AdminListen::ByDefault => {
            warn!("there is no page and there are no metrics: {error} (listen in [admin])");
            Ok(PageListener::None)
        }
        Err(error) => {
            error!(
                "there is no page and there are no metrics: {error} (listen in [admin]). Deliveries are received; this is \
                 tried again every {}",
                duration_text(ADDRESS_RETRY)
            );
            Ok(PageListener::Awaited(place))
        }
    }
}

/// Starts a thread that tries to listen at `place` until it can, and then sends the listener to the main thread.
pub(super) fn await_address(place: Listen, messages: &Sender<Message>) -> Result<Thread> {
    let (stop, waker, found) = (Stop::default(), Waker::default(), messages.clone());
    let (is_done, sleeper) = (stop.clone(), waker.clone());
    let run = move || {
        while !is_done.is_set() {
            sleeper.wait(ADDRESS_RETRY);
            if let Ok(listener) = listen::bind(&place) {
                is_done.set();
                let _ = found.send(Message::PageAddress(listener)); // without a receiver the process is stopping
            }
        }
    };
    Thread::spawn("page address", &stop, move || waker.wake(), messages, in_background(run))
}

/// Without an IP address it listens on a Unix socket.
pub(super) fn check_exposure(ip: Option<IpAddr>, configured: Option<&Secret>, address: &str) -> Result<()> {
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
