//! `hookbox serve`: starts the threads, waits for signals, and ends in an order that loses nothing.

mod admin;
mod workers;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver as Inbox, Sender};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use log::{error, info, warn};
use rustix::process::setpriority_process;
use sd_notify::NotifyState;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

use crate::admin::{Api, ConfigView, GateMetrics, HealthProbe};
use crate::cli::Failure;
use crate::clock;
use crate::config::{Config, Source};
use crate::current::Current;
use crate::digest;
use crate::gate::upstream::socket::{Upstream, UpstreamError};
use crate::gate::{self, Gate, Limits, Settings};
use crate::housekeeping::{self, Housekeeper};
use crate::listen::{self, Listener};
use crate::metrics::Metrics;
use crate::provider::Verification;
use crate::receive::{Endpoint, Intake, PATH_PREFIX, Receiver};
use crate::route::{Router, Routing};
use crate::secret::{Env, Secret};
use crate::stop::{Stop, Waker};
use crate::store::{Database, Reader};
use crate::systemd;
use admin::AdminHandle;
pub use admin::token as admin_token;
use workers::{Runners, WorkerPool};

/// How far those step back for whom nobody waits: a tenth of a core is left to them at the worst.
const NICENESS: i32 = 10;

/// What the main thread waits for.
enum Message {
    Stop,
    Reload,
    /// A thread that ought to live has ended.
    Ended(String),
}

/// Serves until SIGTERM or SIGINT. `reload` reads the configuration again, for SIGHUP.
pub fn run(config: Config, env: &Env<'_>, reload: impl Fn() -> Result<Config, Failure>) -> Result<(), Failure> {
    let metrics = Arc::new(Metrics::default());
    let secrets = Secrets::fetch(&config, env, &metrics)?;
    let passed = passed_listeners(env)?;
    let (messages, inbox) = mpsc::channel();
    watch_signals(messages.clone())?;
    let mut service = Service::start(&config, passed, secrets, Arc::clone(&metrics), messages)?;
    let ended = service.supervise(&inbox, || {
        let config = reload()?;
        let secrets = Secrets::fetch(&config, env, &metrics)?;
        Ok((config, secrets))
    });
    service.stop();
    ended
}

/// Everything that a configuration only refers to.
struct Secrets {
    endpoints: Vec<Endpoint>,
    runners: Runners,
    admin_token: Option<Secret>,
}

impl Secrets {
    fn fetch(config: &Config, env: &Env<'_>, metrics: &Metrics) -> Result<Secrets, Failure> {
        let endpoints = endpoints(config, env, metrics)?;
        Ok(Secrets { endpoints, runners: workers::runners(config, env)?, admin_token: admin::token(config, env)? })
    }
}

/// Sockets that the service manager has passed. They win over the config: senders connect to these.
struct PassedListeners {
    public: Option<Listener>,
    admin: Option<Listener>,
}

/// Everything that lives while hookbox serves.
struct Service {
    database: Database,
    config: Config,
    gate: Gate,
    settings: Arc<Settings>,
    intake: Current<Intake>,
    private: Upstream,
    receiver: JoinHandle<()>,
    receiver_stop: Stop,
    routing: Current<Routing>,
    router: JoinHandle<()>,
    router_stop: Stop,
    router_waker: Waker,
    workers: WorkerPool,
    watchdog: Guard,
    admin: Option<AdminHandle>,
    housekeeper: Guard,
    policy: Current<housekeeping::Policy>,
    messages: Sender<Message>,
}

/// A running thread that only waits most of the time, from outside.
struct Guard {
    stop: Stop,
    waker: Waker,
    thread: JoinHandle<()>,
}

impl Service {
    fn start(
        config: &Config,
        passed: PassedListeners,
        secrets: Secrets,
        metrics: Arc<Metrics>,
        messages: Sender<Message>,
    ) -> Result<Service, Failure> {
        // First: what opens files meets a limit that is too low with less telling words.
        let limits = Limits::of_this_process(workers(config))?;
        let database = Database::open(&config.database)?;
        let listener = passed.public.map_or_else(|| listen::bind(&config.listen), Ok)?;
        let local_address = listener.local_address()?;
        let admin_listener = admin::listener(config, passed.admin, secrets.admin_token.is_some())?;
        let private = private_server("", &config.database)?;
        let (receiver_stop, router_stop, router_waker) = (Stop::default(), Stop::default(), Waker::default());

        let intake = Current::new(intake_of(config, secrets.endpoints));
        let receiver = Receiver {
            server: private.server(),
            intake: intake.clone(),
            ingest: database.ingest()?,
            router: router_waker.clone(),
            stop: receiver_stop.clone(),
            metrics: Arc::clone(&metrics),
            in_trouble: false,
        };
        let receiver = start_receiver(receiver, &messages)?;

        let routing =
            Current::new(Routing { actions: Vec::new(), workers: Vec::new(), poll_interval: config.poll_interval });
        let router = Router {
            queue: database.queue()?,
            routing: routing.clone(),
            waker: router_waker.clone(),
            stop: router_stop.clone(),
            version: 0,
        };
        let mut workers = WorkerPool::new(Arc::clone(&metrics));

        let settings = Arc::new(Settings { max_body_bytes: config.max_body_bytes.into(), traffic: Arc::default() });
        let on_end = end_of("gate", &messages);
        let gate = gate::start(limits, listener, &private.path(), Arc::clone(&settings), on_end)?;
        let watchdog = watch::guard(local_address.clone(), gate.liveness(), &database, &messages)?;
        let api = Api {
            inspector: Reader::open(&config.database)?,
            operator: database.commands()?,
            metrics,
            traffic: GateMetrics { public: Arc::clone(&settings.traffic), admin: Arc::default() },
            config_view: Current::new(ConfigView::of(config)),
            receiver: HealthProbe::at(local_address),
            started_at: clock::now(),
            routing: routing.clone(),
            router: router_waker.clone(),
        };
        let admin = admin_listener.and_then(|it| admin::start(config, it, secrets.admin_token, api));
        let policy = Current::new(policy_of(config));
        let housekeeper = start_housekeeper(&database, policy.clone(), &messages)?;
        // Last: a command that has begun would outlive a start that fails.
        workers.reconfigure(config, &secrets.runners, &database, &messages)?;
        routing.replace(routing_of(config, &workers));
        let router = spawn("router", &messages, move || {
            lower_priority();
            router.run();
        })?;
        log_startup(config, gate.address());
        systemd::notify(&[NotifyState::Ready]);
        Ok(Service {
            database,
            config: config.clone(),
            gate,
            settings,
            intake,
            private,
            receiver,
            receiver_stop,
            routing,
            router,
            router_stop,
            router_waker,
            workers,
            watchdog,
            admin,
            housekeeper,
            policy,
            messages,
        })
    }

    /// Obeys signals. Errs when a thread has ended that should not have.
    fn supervise(
        &mut self,
        inbox: &Inbox<Message>,
        reload: impl Fn() -> Result<(Config, Secrets), Failure>,
    ) -> Result<(), Failure> {
        loop {
            match inbox.recv() {
                Ok(Message::Reload) => {
                    systemd::notify_reloading();
                    match reload().and_then(|(config, secrets)| self.adopt(config, secrets)) {
                        Ok(()) => info!("configuration reloaded"),
                        Err(failure) => log_each_line("keeping the old configuration", &failure),
                    }
                    systemd::notify(&[NotifyState::Ready]);
                }
                Ok(Message::Stop) | Err(_) => return Ok(()),
                Ok(Message::Ended(name)) => {
                    return Err(Failure::failed(format!(
                        "the thread {name} has ended; the service manager should restart me"
                    )));
                }
            }
        }
    }

    /// Takes over everything that can change while serving.
    fn adopt(&mut self, config: Config, secrets: Secrets) -> Result<(), Failure> {
        if config.listen != self.config.listen || config.database != self.config.database {
            warn!("listen and database change only at a restart");
        }
        self.admin.as_ref().map_or(Ok(()), |admin| admin.check(secrets.admin_token.as_ref()))?;
        // Raises the limit on descriptors, for more workers; the gate goes by what it was given.
        Limits::of_this_process(workers(&config))?;
        self.workers.reconfigure(&config, &secrets.runners, &self.database, &self.messages)?;
        self.routing.replace(routing_of(&config, &self.workers));
        self.intake.replace(intake_of(&config, secrets.endpoints));
        self.settings.max_body_bytes.store(config.max_body_bytes, Ordering::Relaxed);
        self.admin.as_ref().inspect(|admin| admin.adopt(&config, secrets.admin_token));
        self.router_waker.wake();
        self.policy.replace(policy_of(&config));
        self.housekeeper.waker.wake();
        let (listen, database) = (self.config.listen.clone(), self.config.database.clone());
        self.config = Config { listen, database, ..config };
        Ok(())
    }

    /// Ends in the order in which the data flows: what was received is answered, what was answered is on disk.
    fn stop(self) {
        info!("stopping");
        systemd::notify(&[NotifyState::Stopping]);
        // From now on silence is no reason to end. A question that is on its way is not waited for: it may take as long as
        // the watchdog has patience.
        self.watchdog.tell_to_end();
        if let Some(admin) = self.admin {
            admin.stop();
        }
        self.housekeeper.shut_down();
        let dismissed_at = Instant::now();
        self.workers.shut_down();
        self.gate.stop();
        self.receiver_stop.set();
        self.private.server().unblock();
        join(self.receiver);
        self.router_stop.set();
        self.router_waker.wake();
        join(self.router);
        if !self.workers.leave(dismissed_at) {
            warn!("some actions did not finish in time: they run again at the next start");
            if let Err(error) = self.database.interrupt() {
                warn!("{error}");
            }
        }
        if let Err(error) = self.database.checkpoint() {
            warn!("the checkpoint at the end was not possible: {error}. Nothing is lost; the next start does it");
        }
        crate::log::flush_suppressed_at_end();
        info!("stopped");
    }
}

impl Guard {
    fn tell_to_end(&self) {
        self.stop.set();
        self.waker.wake();
    }

    fn shut_down(self) {
        self.tell_to_end();
        join(self.thread);
    }
}

fn workers(config: &Config) -> u64 {
    config.actions.values().map(|action| u64::from(action.concurrency)).sum()
}

fn routing_of(config: &Config, workers: &WorkerPool) -> Routing {
    Routing {
        actions: config.actions.values().cloned().collect(),
        workers: workers.wakers(),
        poll_interval: config.poll_interval,
    }
}

fn passed_listeners(env: &Env<'_>) -> Result<PassedListeners, Failure> {
    let passed = systemd::passed_sockets(env)?;
    let adopt = |socket: Option<_>| socket.map(listen::adopt).transpose();
    Ok(PassedListeners { public: adopt(passed.public)?, admin: adopt(passed.admin)? })
}

/// A configuration may have several problems, and a line of the log has one.
fn log_each_line(what: &str, failure: &Failure) {
    failure.to_string().lines().for_each(|line| error!("{what}: {line}"));
}

fn start_receiver(receiver: Receiver, messages: &Sender<Message>) -> Result<JoinHandle<()>, Failure> {
    let (stop, end) = (receiver.stop.clone(), end_of("receiver", messages));
    spawn("receiver", messages, move || {
        receiver.run();
        if !stop.is_set() {
            end();
        }
    })
}

fn start_housekeeper(
    database: &Database,
    policy: Current<housekeeping::Policy>,
    messages: &Sender<Message>,
) -> Result<Guard, Failure> {
    let (stop, waker) = (Stop::default(), Waker::default());
    let housekeeper = Housekeeper::new(database.pruner()?, policy, waker.clone(), stop.clone());
    let thread = spawn("housekeeper", messages, move || {
        lower_priority();
        housekeeper.run();
    })?;
    Ok(Guard { stop, waker, thread })
}

fn policy_of(config: &Config) -> housekeeping::Policy {
    housekeeping::Policy { retention: config.retention.clone(), disk_reserve_bytes: config.disk_reserve_bytes }
}

/// Resolves the secrets of all sources.
fn endpoints(config: &Config, env: &Env<'_>, metrics: &Metrics) -> Result<Vec<Endpoint>, Failure> {
    config.sources.values().map(|source| endpoint(source, env, metrics)).collect()
}

fn endpoint(source: &Source, env: &Env<'_>, metrics: &Metrics) -> Result<Endpoint, Failure> {
    let key = |reference: &_| crate::cli::secret::key(source, reference, env);
    let verification = source.verification.try_map(key)?;
    let known = source.handshake_config(crate::cli::secret::verify_token(source, env)?);
    Ok(Endpoint { source: source.clone(), verification, known, counts: metrics.source(&source.name) })
}

fn intake_of(config: &Config, endpoints: Vec<Endpoint>) -> Intake {
    Intake {
        endpoints,
        disk_reserve_bytes: config.disk_reserve_bytes,
        max_body_bytes: config.max_body_bytes,
        trusted_proxies: config.trusted_proxies.clone(),
    }
}

/// Tells the operator what goes on, and what does not.
fn log_startup(config: &Config, address: &str) {
    if !clock::now().is_plausible() {
        warn!("the clock has not been set: it says {}", clock::now());
    }
    for source in config.sources.values() {
        let path = format!("{PATH_PREFIX}{}", source.name);
        match source.verification {
            Verification::Secrets(_) => {
                info!("POST {path} takes verified deliveries from {}", source.verifier.preset.title)
            }
            Verification::Awaited => {
                warn!("POST {path} waits for the verification token of {}", source.verifier.preset.title)
            }
            Verification::Nothing => {
                warn!("POST {path} takes deliveries that are NOT verified: anybody can forge them")
            }
            Verification::LocalOnly => warn!(
                "POST {path} takes deliveries that are NOT verified, from this machine only: set GITHUB_WEBHOOK_SECRET to \
                 verify them"
            ),
        }
    }
    if config.retention.is_for_ever() {
        info!("events are kept for ever: no [retention] is configured");
    }
    info!("storing in {}; listening on {address}", config.database.display());
}

/// By a name that no other `serve` uses: the database is locked against a second one.
fn private_server(prefix: &str, database: &Path) -> Result<Upstream, UpstreamError> {
    let path = std::path::absolute(database).unwrap_or_else(|_| PathBuf::from(database));
    let name = digest::hex(&digest::sha256(&[path.as_os_str().as_encoded_bytes()])[..8]);
    Upstream::create(&format!("{prefix}{name}"), path.parent().unwrap_or(&path))
}

fn watch_signals(messages: Sender<Message>) -> Result<(), Failure> {
    let failed = |error| Failure::failed(format!("signals cannot be watched: {error}"));
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(failed)?;
    // Any handler will do. The first, inherited as ignored, has the kernel throw away the exit codes of commands; the other
    // ends a process that writes beyond its limit on the size of a file, in place of failing the write.
    for signal in [SIGCHLD, SIGXFSZ] {
        signal_hook::flag::register(signal, Arc::default()).map_err(failed)?;
    }
    let watch = move || {
        for signal in signals.forever() {
            let message = if signal == SIGHUP { Message::Reload } else { Message::Stop };
            // The main thread has left: it is stopping already.
            if messages.send(message).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(watch).map_err(failed)?;
    Ok(())
}

/// Starts a thread whose panic ends the process: half a service that looks whole is worse than a restart.
fn spawn(
    name: &str,
    messages: &Sender<Message>,
    body: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, Failure> {
    let guard = PanicGuard { name: name.to_owned(), messages: messages.clone() };
    let body = move || {
        let _guard = guard;
        body();
    };
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(body);
    spawned.map_err(|error| Failure::failed(format!("the thread {name} cannot be started: {error}")))
}

/// Lets the threads go first that a provider waits for: where there are one or two cores, a worker that catches up would
/// take their turns. Where that is not allowed, nothing else changes.
fn lower_priority() {
    let _ = setpriority_process(None, NICENESS); // on Linux that is the calling thread alone
}

struct PanicGuard {
    name: String,
    messages: Sender<Message>,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.messages.send(Message::Ended(self.name.clone()));
        }
    }
}

fn end_of(name: &'static str, messages: &Sender<Message>) -> impl FnOnce() + Send + 'static {
    let messages = messages.clone();
    move || {
        let _ = messages.send(Message::Ended(name.to_owned()));
    }
}

/// A panic in the thread has been told by its guard.
fn join(thread: JoinHandle<()>) {
    let _ = thread.join();
}
