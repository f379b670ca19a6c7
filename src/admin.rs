//! The private listener: the page, the JSON API behind it, metrics.
//!
//! It stands behind a gate and a tiny_http of its own, with small limits, and one thread answers. Whatever is done to it, the
//! way of a delivery is another one: nothing here is waited for by the receiver, and if it ends, deliveries go on.

pub mod access;
mod answer;
mod api;
mod assets;
mod health;
mod config_view;
mod prometheus;

use crate::current::Current;
use crate::http::{FORWARDING_HEADERS, Inbound, Server};
use crate::stop::Stop;
use access::{Access, CSRF_HEADER, Credentials, Denial};
use answer::Answer;
pub use api::Api;
pub use config_view::ConfigView;
pub use health::HealthProbe;
pub use prometheus::GateMetrics;

/// Requests here have no body worth the name.
pub const MAX_BODY_BYTES: u64 = 4 * 1024;

/// The thread's all.
pub struct Admin {
    pub server: Server,
    pub access: Current<Access>,
    pub api: Api,
    pub stop: Stop,
}

impl Admin {
    /// Answers until the stop flag is set and [`Server::unblock`] was called.
    pub fn run(mut self) {
        while !self.stop.is_set() {
            let Some(mut responder) = self.server.recv() else { return };
            let answer = match responder.is_probe() {
                true => Answer::line(200, "here"),
                false => self.answer(&responder.read()),
            };
            answer.send(responder);
        }
    }

    fn answer(&mut self, request: &Inbound) -> Answer {
        let access = self.access.get();
        let credentials = credentials(request);
        if let Err(denial) = access.check_host(&credentials) {
            return Answer::denied(denial);
        }
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let Some(wish) = Route::of(path) else { return Answer::not_found() };
        if !wish.methods().split(", ").any(|allowed| allowed == request.method) {
            return Answer::wrong_method(wish.methods());
        }
        if let Err(denial) = authorize(&access, &wish, &credentials) {
            return Answer::denied(denial);
        }
        let has = request.headers.get("If-None-Match");
        match wish {
            Route::Asset(asset) => asset.answer(),
            Route::Health => self.api.health(),
            Route::Metrics => self.api.metrics(),
            Route::Events => self.api.events(query, has),
            Route::Event(id) => self.api.event(id, has),
            Route::Stats => self.api.stats(has),
            Route::Replay(id) => self.api.replay(id, query),
            Route::Cancel(id) => self.api.cancel(id, query),
            Route::Pause(action) => self.api.pause(action),
            Route::Resume(action) => self.api.resume(action),
        }
    }
}

/// What a path stands for.
enum Route<'a> {
    Asset(&'static assets::Asset),
    Health,
    Metrics,
    Events,
    Event(i64),
    Stats,
    Replay(i64),
    Cancel(i64),
    Pause(&'a str),
    Resume(&'a str),
}

impl Route<'_> {
    fn of(path: &str) -> Option<Route<'_>> {
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        match segments[..] {
            ["healthz"] => Some(Route::Health),
            ["metrics"] => Some(Route::Metrics),
            ["api", "events"] => Some(Route::Events),
            ["api", "stats"] => Some(Route::Stats),
            ["api", "events", id] => Some(Route::Event(id.parse().ok()?)),
            ["api", "events", id, "replay"] => Some(Route::Replay(id.parse().ok()?)),
            ["api", "events", id, "cancel"] => Some(Route::Cancel(id.parse().ok()?)),
            ["api", "actions", name, "pause"] => Some(Route::Pause(name)),
            ["api", "actions", name, "resume"] => Some(Route::Resume(name)),
            _ => assets::find(path).map(Route::Asset),
        }
    }

    fn is_change(&self) -> bool {
        matches!(self, Route::Replay(_) | Route::Cancel(_) | Route::Pause(_) | Route::Resume(_))
    }

    /// The page asks for the token, so that it must come without; whether all is well, the public listener tells anybody.
    fn is_open(&self) -> bool {
        matches!(self, Route::Asset(_) | Route::Health)
    }

    fn methods(&self) -> &'static str {
        if self.is_change() { "POST" } else { "GET, HEAD" }
    }
}

fn authorize(access: &Access, wish: &Route<'_>, credentials: &Credentials<'_>) -> Result<(), Denial> {
    if !wish.is_open() {
        access.authorize_read(credentials)?;
    }
    if wish.is_change() { access.authorize_write(credentials) } else { Ok(()) }
}

fn credentials(request: &Inbound) -> Credentials<'_> {
    let headers = &request.headers;
    Credentials {
        host: headers.get("Host"),
        authorization: headers.get("Authorization"),
        csrf: headers.get(CSRF_HEADER.0),
        is_forwarded: FORWARDING_HEADERS.iter().any(|name| headers.has(name)),
    }
}
