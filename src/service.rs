//! The service behind `hookbox serve`: its parts, and the order in which they start and stop.

mod admin;
mod error;
mod housekeeping;
mod observer;
mod recovery;
mod rejects;
mod secrecy;
mod signals;
mod thread;
mod watchdog;
mod workers;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver as Inbox, Sender};
use std::time::Duration;

use log::{error, info, warn};
use sd_notify::NotifyState;

use crate::action::{Action, Runner};
use crate::admin::{Api, GateMetrics};
use crate::clock;
use crate::config::{Config, Source};
use crate::current::Current;
use crate::digest;
use crate::gate::upstream::socket::Upstream;
use crate::gate::{self, Gate, Limits, Settings, Traffic};
use crate::listen::{self, Listener, LocalAddress};
use crate::metrics::Metrics;
use crate::provider::handshake::HandshakeConfig;
use crate::receive::large::{Checker, large_bodies};
use crate::receive::{Endpoint, Intake, Receiver, Refusals};
use crate::route::{Router, Routing};
use crate::secret::{Env, Secret};
use crate::stop::{Stop, Waker, Wakers};
use crate::store::{Database, Ingest, Reader, Upgrade, other_owner};
use crate::systemd;
use crate::worker;
use admin::{AdminHandle, PageListener};
pub use error::Error;
use error::Result;
use observer::Observer;
use thread::{Message, Thread, in_background, report_end};
use workers::WorkerPool;

/// How long a stop may take beside the attempts under way: the gate closes, and the WAL is merged into the database on a
/// slow disk.
const STOP_MARGIN: Duration = Duration::from_secs(30);

/// Serves until SIGTERM or SIGINT. `read_config` reads the configuration, and again for SIGHUP.
pub fn run<E: Display>(env: &Env<'_>, read_config: impl Fn() -> Result<Config, E>) -> Result<()> {
    secrecy::hide_process();
    let (messages, inbox) = mpsc::channel();
    // First, and never stopped: nothing waits for standard error, and the last line is why the process ends.
    Thread::spawn("log", &Stop::default(), || (), &messages, crate::log::write_queued)?;
    crate::log::queue_lines();
    let config = read_config().map_err(Error::refused)?;
    let mut service = Service::start(config, env, messages)?;
    let ended = service.supervise(&inbox, env, read_config);
    service.stop();
    ended
}

/// The running service.
struct Service {
    shared: Shared,
    /// Removes the private socket when it is dropped.
    _upstream: Upstream,
    receiver: Thread,
    checker: Thread,
    gate: Gate,
    watchdog: Thread,
    admin: Option<AdminHandle>,
    /// Tries to listen at the page's address, until it is there.
    address_watcher: Option<Thread>,
    housekeeper: Thread,
    recovery: recovery::Handle,
    workers: WorkerPool,
    router: Thread,
}

impl Service {
    /// Starts receiving first, then the watchdog, and processing last.
    fn start(config: Config, env: &Env<'_>, messages: Sender<Message>) -> Result<Service> {
        let metrics = Arc::new(Metrics::default());
        let secrets = Secrets::fetch(&config, env, &metrics)?;
        // Passed sockets override the config, because senders connect to them.
        let passed = systemd::passed_sockets(env).map_err(Error::refused)?;
        let passed_listener = passed.public.map(listen::adopt).transpose()?;
        let passed_admin_listener = passed.admin.map(listen::adopt).transpose()?;
        signals::watch(messages.clone())?;
        // Before the database is opened: this error names the limit that is too low.
        let limits = Limits::of_this_process(worker_count(&config)).map_err(Error::Failed)?;
        let (database, ingest) = open_database(&config)?;
        let listener = passed_listener.map_or_else(|| listen::bind(&config.listen), Ok)?;
        let local_address = listener.local_address();
        let admin_listener = admin::listener(&config, passed_admin_listener, secrets.admin_token.as_ref())?;
        let upstream = upstream("", &config.database)?;
        let shared = Shared::new(&config, secrets.endpoints, database, metrics, messages);

        let (receiver, checker) = shared.start_receiver(&upstream, ingest)?;
        let on_end = report_end("gate", &shared.messages);
        let gate = gate::start(limits, listener, upstream.address(), Arc::clone(&shared.settings), on_end);
        let gate = gate.map_err(Error::Failed)?;
        let traffic = Arc::clone(&shared.settings.traffic);
        // Made first, because the watchdog ends no process that is stopping.
        let mut workers =
            WorkerPool::new(Arc::clone(&shared.metrics), shared.messages.clone(), shared.router_waker.clone());
        let watchdog = watchdog::start(local_address, traffic, &shared.database, workers.ending(), &shared.messages)?;
        let (admin, address_watcher) = shared.start_page(admin_listener, secrets.admin_token, gate.local_address())?;
        let housekeeper = shared.start_housekeeper()?;
        // Jobs begin last, because their commands would outlive a start that fails.
        workers.reconfigure(&config, &secrets.runners, &shared.database)?;
        shared.routing.replace(routing(&config, workers.wakers()));
        let router = shared.start_router()?;
        let recovery = recovery::Handle::start(secrets.recovered, &shared)?;
        log_startup(&config, gate.address(), env);
        systemd::notify(&[NotifyState::Ready]);
        Ok(Service {
            shared,
            _upstream: upstream,
            receiver,
            checker,
            gate,
            watchdog,
            admin,
            address_watcher,
            housekeeper,
            recovery,
            workers,
            router,
        })
    }

    /// Obeys signals. Returns an error when a thread ends unexpectedly, except the private listener's.
    fn supervise<E: Display>(
        &mut self,
        inbox: &Inbox<Message>,
        env: &Env<'_>,
        read_config: impl Fn() -> Result<Config, E>,
    ) -> Result<()> {
        loop {
            match inbox.recv() {
                Ok(Message::Reload) => {
                    systemd::notify_reloading();
                    self.reload(read_config().map_err(Error::failed), env);
                    systemd::notify(&[NotifyState::Ready]);
                }
                Ok(Message::Stop) | Err(_) => return Ok(()),
                Ok(Message::PageAddress(listener)) => self.open_page(listener, env),
                Ok(Message::Ended(name)) if name == admin::THREAD => {
                    error!(
                        "the page and the metrics have stopped; deliveries are still received. A restart brings them back"
                    );
                }
                Ok(Message::Ended(name)) => {
                    let text = format!(
                        "the thread {name} has ended unexpectedly: hookbox stops, so that the service manager restarts it"
                    );
                    return Err(Error::failed(text));
                }
            }
        }
    }

    /// The page's address is there now.
    fn open_page(&mut self, listener: Listener, env: &Env<'_>) {
        let config = self.shared.config.get();
        let local_address = self.gate.local_address();
        let opened = config.admin.fetch_token(env).map_err(Error::refused).and_then(|token| {
            admin::check_exposure(listener.ip(), token.as_ref(), listener.address())?;
            self.shared.start_admin(listener, token, local_address)
        });
        match opened {
            Ok(admin) => self.admin = admin,
            Err(error) => error!("there is no page and there are no metrics: {error}"),
        }
    }

    fn reload(&mut self, config: Result<Config>, env: &Env<'_>) {
        match config.and_then(|config| self.reconfigure(config, env)) {
            Ok(()) => info!("config reloaded"),
            // A configuration may have several problems, and a line of the log has one.
            Err(error) => error.to_string().lines().for_each(|line| error!("keeping the old config: {line}")),
        }
    }

    /// Takes over everything that can change while serving. If this fails, the running configuration is unchanged.
    fn reconfigure(&mut self, config: Config, env: &Env<'_>) -> Result<()> {
        let secrets = Secrets::fetch(&config, env, &self.shared.metrics)?;
        log_warnings(&config, env);
        let current = self.shared.config.get();
        if config.listen != current.listen || config.database != current.database {
            warn!("listen and database change only at a restart");
        }
        if let Some(admin) = &self.admin {
            admin.check(secrets.admin_token.as_ref())?;
        }
        // Raises the limit on descriptors, for more workers; the gate keeps the limits that it was given.
        Limits::of_this_process(worker_count(&config)).map_err(Error::Failed)?;
        self.workers.reconfigure(&config, &secrets.runners, &self.shared.database)?;
        if let Some(admin) = &self.admin {
            admin.reconfigure(&config, admin::token(&config, secrets.admin_token, &current.database));
        }
        let config = Config { listen: current.listen.clone(), database: current.database.clone(), ..config };
        self.shared.replace(config, secrets.endpoints, self.workers.wakers());
        self.router.wake();
        self.housekeeper.wake();
        self.recovery.replace(secrets.recovered, &self.shared)?;
        Ok(())
    }

    /// Begins no further job, and receives until the last attempt has ended. Then stops, in the order of the data, gate,
    /// receiver and router, so that every delivery in the gate is stored and answered. What can be done before is done
    /// before: between the last answer and the first of the next process senders wait.
    fn stop(self) {
        info!("stopping");
        systemd::notify_stopping(self.workers.stop_timeout() + STOP_MARGIN);
        self.housekeeper.request_stop();
        self.recovery.request_stop(&self.shared.database);
        self.address_watcher.iter().for_each(Thread::request_stop);
        let has_finished = self.workers.stop();
        self.housekeeper.join();
        if let Some(admin) = self.admin {
            admin.stop();
        }
        self.shared.merge_wal();
        // Not waited for, because a check may take seconds.
        self.watchdog.request_stop();
        self.gate.stop();
        // It ends when the receiver does, without which it has nothing to do.
        self.checker.request_stop();
        self.receiver.stop();
        self.checker.join();
        self.router.stop();
        if !has_finished {
            warn!("some actions did not finish in time: they run again at the next start");
            if let Err(error) = self.shared.database.interrupt(clock::now()) {
                warn!("{error}");
            }
        }
        if !self.shared.merge_wal() {
            let path = self.shared.config.get().database.display().to_string();
            info!("another program, such as Litestream, reads {path}: the newest events stay in {path}-wal");
        }
        self.shared.database.mark_clean_end();
        crate::log::flush_suppressed_at_end();
        info!("stopped");
    }
}

/// The actions of a configuration, each with its runner.
type Runners = Vec<(Action, Arc<Runner>)>;

/// The fetched values that a configuration refers to: keys, tokens, certificates.
struct Secrets {
    endpoints: Vec<Endpoint>,
    runners: Runners,
    /// The configured one.
    admin_token: Option<Secret>,
    recovered: Vec<recovery::Target>,
}

impl Secrets {
    fn fetch(config: &Config, env: &Env<'_>, metrics: &Metrics) -> Result<Secrets> {
        let endpoints = config.sources.values().map(|source| endpoint(source, env, metrics)).collect::<Result<_>>()?;
        let runners = config.actions.values().map(|action| Ok((action.clone(), runner(action, env)?)));
        let admin_token = config.admin.fetch_token(env).map_err(Error::refused)?;
        let recovered = recovery::targets(config, env)?;
        Ok(Secrets { endpoints, runners: runners.collect::<Result<_>>()?, admin_token, recovered })
    }
}

/// The database, with the jobs queued again that the last process left running, and the receiver's connection to it.
fn open_database(config: &Config) -> Result<(Database, Ingest)> {
    let upgrade = Upgrade { reserve_bytes: config.disk_reserve_bytes, extend_timeout: &systemd::notify_longer_start };
    let database = Database::open(&config.database, &upgrade)?;
    // Before others, and kept: SQLite makes the -shm file again for each connection that is alone.
    let ingest = database.ingest()?;
    let wait = |action: &str, attempts| {
        config.actions.get(action).map_or(Duration::ZERO, |action| worker::wait_after_crash(action, attempts))
    };
    database.recover(wait, clock::now())?;
    Ok((database, ingest))
}

fn endpoint(source: &Source, env: &Env<'_>, metrics: &Metrics) -> Result<Endpoint> {
    let key = |reference: &_| source.key(reference, env);
    let verification = source.verification.try_map(key).map_err(Error::refused)?;
    let verify_token = source.fetch_verify_token(env).map_err(Error::refused)?;
    let known = HandshakeConfig { verify_token, allowed_origins: source.allowed_origins.clone() };
    Ok(Endpoint { source: source.clone(), verification, known, counts: metrics.source(&source.name) })
}

fn runner(action: &Action, env: &Env<'_>) -> Result<Arc<Runner>> {
    action.kind.prepare(env).map_err(|error| Error::refused(format!("actions.{}.{error}", action.name)))
}

/// The state that the threads share.
struct Shared {
    database: Database,
    metrics: Arc<Metrics>,
    messages: Sender<Message>,
    router_waker: Waker,
    settings: Arc<Settings>,
    /// In effect: a new configuration replaces it, but not where it listens and stores.
    config: Current<Config>,
    /// Made from the configuration.
    intake: Current<Intake>,
    routing: Current<Routing>,
}

impl Shared {
    fn new(
        config: &Config,
        endpoints: Vec<Endpoint>,
        database: Database,
        metrics: Arc<Metrics>,
        messages: Sender<Message>,
    ) -> Shared {
        let intake = Current::new(intake(config, endpoints));
        let refusals = Refusals { intake: intake.clone(), metrics: Arc::clone(&metrics) };
        let settings = Settings {
            max_body_bytes: config.max_body_bytes.into(),
            trusted_proxies: Current::new(config.trusted_proxies.clone()),
            traffic: Arc::new(Traffic::observed_by(Arc::new(refusals))),
        };
        Shared {
            database,
            metrics,
            messages,
            router_waker: Waker::default(),
            settings: Arc::new(settings),
            config: Current::new(config.clone()),
            intake,
            routing: Current::new(routing(config, Wakers::default())),
        }
    }

    /// True unless another program reads the database.
    fn merge_wal(&self) -> bool {
        self.database.checkpoint().unwrap_or_else(|error| {
            warn!("the WAL could not be merged into the database: {error}. Nothing is lost; it is merged later");
            true
        })
    }

    fn replace(&self, config: Config, endpoints: Vec<Endpoint>, wakers: Wakers) {
        self.routing.replace(routing(&config, wakers));
        self.intake.replace(intake(&config, endpoints));
        self.settings.max_body_bytes.store(config.max_body_bytes, Ordering::Relaxed);
        self.settings.trusted_proxies.replace(config.trusted_proxies.clone());
        self.config.replace(config);
    }

    /// Starts the receiver, and the thread that checks large bodies for it.
    fn start_receiver(&self, upstream: &Upstream, ingest: Ingest) -> Result<(Thread, Thread)> {
        let (stop, server) = (Stop::default(), upstream.server());
        let (large_bodies, checker) = large_bodies(self.intake.clone(), server.clone());
        let receiver = Receiver {
            server: server.clone(),
            intake: self.intake.clone(),
            large_bodies,
            ingest,
            router: self.router_waker.clone(),
            routing: self.routing.clone(),
            unmerged_bytes: 0,
            stop: stop.clone(),
            metrics: Arc::clone(&self.metrics),
            in_trouble: false,
        };
        let checker = self.start_checker(checker)?;
        let receiver = Thread::spawn("receiver", &stop, move || server.unblock(), &self.messages, || receiver.run())?;
        Ok((receiver, checker))
    }

    fn start_housekeeper(&self) -> Result<Thread> {
        let (metrics, router) = (Arc::clone(&self.metrics), self.router_waker.clone());
        let rejects = rejects::RejectKeeper::new(self.database.rejects()?, Arc::clone(&metrics), self.config.clone());
        let observer = Observer::new(self.database.observer()?, self.config.clone(), metrics, router);
        housekeeping::start(&self.database, self.config.clone(), observer, rejects, &self.messages)
    }

    fn start_checker(&self, checker: Checker) -> Result<Thread> {
        // With one core, small deliveries come first.
        Thread::spawn("checker", &Stop::default(), || (), &self.messages, in_background(|| checker.run()))
    }

    fn start_router(&self) -> Result<Thread> {
        let (stop, waker) = (Stop::default(), self.router_waker.clone());
        let router = Router {
            queue: self.database.queue()?,
            routing: self.routing.clone(),
            waker: waker.clone(),
            stop: stop.clone(),
            version: 0,
        };
        Thread::spawn("router", &stop, move || waker.wake(), &self.messages, in_background(|| router.run()))
    }

    /// Opens the page, or waits for its address.
    fn start_page(
        &self,
        listener: PageListener,
        configured_token: Option<Secret>,
        local_address: LocalAddress,
    ) -> Result<(Option<AdminHandle>, Option<Thread>)> {
        match listener {
            PageListener::None => Ok((None, None)),
            PageListener::Open(listener) => Ok((self.start_admin(listener, configured_token, local_address)?, None)),
            PageListener::Awaited(place) => Ok((None, Some(admin::await_address(place, &self.messages)?))),
        }
    }

    /// `None`, and an error in the log, where the listener does not start: deliveries are received without it.
    fn start_admin(
        &self,
        listener: Listener,
        configured_token: Option<Secret>,
        local_address: LocalAddress,
    ) -> Result<Option<AdminHandle>> {
        let api = Api {
            reader: Reader::open(&self.config.get().database)?,
            commands: self.database.commands()?,
            metrics: Arc::clone(&self.metrics),
            traffic: GateMetrics { public: Arc::clone(&self.settings.traffic), admin: admin::traffic() },
            config: self.config.clone(),
            local_address,
            started_at: clock::now(),
            routing: self.routing.clone(),
            router: self.router_waker.clone(),
            running_jobs: self.database.running_jobs(),
        };
        let config = self.config.get();
        let token = admin::token(&config, configured_token, &config.database);
        let started = AdminHandle::start(listener, token, api, &self.messages);
        Ok(started.inspect_err(|error| error!("there is no page and there are no metrics: {error}")).ok())
    }
}

fn worker_count(config: &Config) -> u64 {
    config.actions.values().map(|action| u64::from(action.concurrency)).sum()
}

fn intake(config: &Config, endpoints: Vec<Endpoint>) -> Intake {
    Intake {
        endpoints,
        actions: config.actions.values().cloned().collect(),
        disk_reserve_bytes: config.disk_reserve_bytes,
        max_body_bytes: config.max_body_bytes,
        trusted_proxies: config.trusted_proxies.clone(),
    }
}

fn routing(config: &Config, workers: Wakers) -> Routing {
    Routing { actions: config.actions.values().cloned().collect(), workers, poll_interval: config.poll_interval }
}

/// A private server under a name that no other `serve` uses, because the database is locked against a second one.
fn upstream(prefix: &str, database: &Path) -> Result<Upstream> {
    let path = std::path::absolute(database).unwrap_or_else(|_| PathBuf::from(database));
    let name = digest::hex(&digest::sha256(&[path.as_os_str().as_encoded_bytes()])[..8]);
    Upstream::create(&format!("{prefix}{name}"), path.parent().unwrap_or(&path)).map_err(Error::failed)
}

/// Logs what is served, and warns of doubtful settings.
fn log_startup(config: &Config, address: &str, env: &Env<'_>) {
    if !clock::now().is_plausible() {
        warn!("the clock has not been set: it says {}", clock::now());
    }
    if let Some(owner) = other_owner(&config.database) {
        let path = config.database.display();
        warn!(
            "{path} belongs to another user (uid {owner}), who can read and change all events: run hookbox as that user, or chown it"
        );
    }
    for source in config.sources.values() {
        let (methods, path) = (source.methods_text(), source.path());
        match source.verification.warning() {
            None => info!("{methods} {path} takes verified deliveries from {}", source.verifier.preset.title),
            Some(warning) => warn!("{methods} {path}: {warning}"),
        }
    }
    if config.retention.is_forever() {
        info!("events are kept forever: no [retention] is configured");
    }
    info!("storing in {}; listening on {address}", config.database.display());
    log_warnings(config, env);
}

/// What of the config is probably not what was meant, as `hookbox check` prints it.
fn log_warnings(config: &Config, env: &Env<'_>) {
    config.warnings(env).iter().for_each(|warning| warn!("{warning}"));
}
