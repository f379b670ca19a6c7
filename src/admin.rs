//! The private listener: the page, the JSON API behind it, metrics.
//!
//! It stands behind a gate and a tiny_http of its own, with small limits, and one thread answers. The receiver waits for
//! nothing here, and if this ends, deliveries go on.

pub mod access;
mod answer;
mod api;
mod bulk;
mod config_view;
pub mod guesses;
mod prometheus;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;
use std::time::Instant;

use log::Level;

use crate::current::Current;
use crate::http::{Inbound, Peer, Server};
use crate::log::rate_limited;
use crate::packed::packed;
use crate::secret::Secret;
use crate::stop::Stop;
use access::{Access, Credentials, Denial};
use answer::Answer;
pub use api::Api;
use guesses::Guesses;
pub use prometheus::GateMetrics;

/// Far more than the body of any request here.
pub const MAX_BODY_BYTES: u64 = 4 * 1024;

/// The files of the page.
static ASSETS: [Asset; 4] = [
    Asset { path: "/", content_type: "text/html; charset=utf-8", text: packed!("page.html") },
    Asset { path: "/page.css", content_type: "text/css; charset=utf-8", text: packed!("page.css") },
    Asset { path: "/page.js", content_type: "text/javascript; charset=utf-8", text: packed!("page.js") },
    Asset { path: "/icon.svg", content_type: "image/svg+xml", text: packed!("icon.svg") },
];

struct Asset {
    path: &'static str,
    content_type: &'static str,
    text: LazyLock<String>,
}

/// The state of the thread.
pub struct Admin {
    pub server: Server,
    pub access: Current<Access>,
    pub guesses: Guesses,
    pub api: Api,
    pub stop: Stop,
}

/// The page's address with its token: a browser sends nothing behind `#`, so that the token is in no log.
pub fn page_address(origin: &str, token: Option<&Secret>) -> String {
    let token = token.map(|token| form_urlencoded::byte_serialize(token.as_bytes()).collect::<String>());
    format!("{origin}/{}", token.map_or(String::new(), |token| format!("#token={token}")))
}

impl Admin {
    /// Answers until the stop flag is set and [`Server::unblock`] was called.
    pub fn run(mut self) {
        while !self.stop.is_set() {
            let Some(mut responder) = self.server.recv() else { return };
            let answer = match responder.is_probe() {
                true => Answer::line(200, "here"),
                false => self.answer(&responder.read()).unwrap_or_else(|refusal| refusal),
            };
            answer.send(responder);
        }
    }

    /// `Err` is an answer too.
    fn answer(&mut self, request: &Inbound) -> Result<Answer, Answer> {
        let access = self.access.get();
        let credentials = Credentials::of(request);
        access.check_host(&credentials)?;
        let (path, query) = (request.normal_path(), request.target.split_once('?').map_or("", |(_, query)| query));
        let route = Route::of(&path).ok_or_else(Answer::not_found)?;
        if !route.methods().split(", ").any(|allowed| allowed == request.method) {
            return Err(Answer::line(405, "wrong method").with("Allow", route.methods()));
        }
        let client = request.peer.map_or(Ipv4Addr::UNSPECIFIED.into(), Peer::ip);
        self.authorize(&route, &access, &credentials, client)?;
        if route.is_change() {
            access.authorize_write(&credentials)?;
        }
        let known_tag = request.headers.get("If-None-Match");
        match route {
            Route::Asset(asset) => Ok(Answer::new(200, asset.content_type, asset.text.as_str())),
            Route::Health => Ok(self.api.health()),
            Route::Metrics => self.api.metrics(),
            Route::Events => self.api.events(query, known_tag),
            Route::Event(id) => self.api.event(id, known_tag),
            Route::Running => Ok(self.api.running()),
            Route::Stats => self.api.stats(known_tag),
            Route::ReplayAll => self.api.replay_all(query),
            Route::Replay(id) => self.api.replay(id, query),
            Route::CancelAll => self.api.cancel_all(query),
            Route::Cancel(id) => self.api.cancel(id, query),
            Route::Pause(action) => self.api.pause(action),
            Route::Resume(action) => self.api.resume(action),
        }
    }

    /// Checks the token. Who has sent too many wrong ones waits, and is told so at once: a pause of this thread would delay
    /// all clients.
    fn authorize(
        &mut self,
        route: &Route<'_>,
        access: &Access,
        credentials: &Credentials<'_>,
        client: IpAddr,
    ) -> Result<(), Denial> {
        if route.is_open() {
            return Ok(());
        }
        let now = Instant::now();
        if access.is_guessable() && credentials.token().is_some() && self.guesses.are_too_many(client, now) {
            return Err(Denial::TooManyWrongTokens);
        }
        let checked = match route {
            Route::Metrics => access.authorize_metrics(credentials, client),
            _ => access.authorize_read(credentials),
        };
        if checked != Err(Denial::WrongToken) {
            return checked;
        }
        self.api.metrics.wrong_tokens.add(1);
        rate_limited(
            Level::Warn,
            "",
            "wrong token for the page",
            format_args!("wrong token for the page from {client}"),
        );
        Err(if self.guesses.add(client, now) { Denial::TooManyWrongTokens } else { Denial::WrongToken })
    }
}

/// The resource that a path names.
enum Route<'a> {
    Asset(&'static Asset),
    Health,
    Metrics,
    Events,
    Event(i64),
    Running,
    Stats,
    ReplayAll,
    Replay(i64),
    CancelAll,
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
            ["api", "running"] => Some(Route::Running),
            ["api", "stats"] => Some(Route::Stats),
            ["api", "events", "replay"] => Some(Route::ReplayAll),
            ["api", "events", "cancel"] => Some(Route::CancelAll),
            ["api", "events", id] => Some(Route::Event(id.parse().ok()?)),
            ["api", "events", id, "replay"] => Some(Route::Replay(id.parse().ok()?)),
            ["api", "events", id, "cancel"] => Some(Route::Cancel(id.parse().ok()?)),
            ["api", "actions", name, "pause"] => Some(Route::Pause(name)),
            ["api", "actions", name, "resume"] => Some(Route::Resume(name)),
            _ => ASSETS.iter().find(|asset| asset.path == path).map(Route::Asset),
        }
    }

    fn is_change(&self) -> bool {
        matches!(
            self,
            Route::ReplayAll
                | Route::Replay(_)
                | Route::CancelAll
                | Route::Cancel(_)
                | Route::Pause(_)
                | Route::Resume(_)
        )
    }

    /// True if no token is needed: the page itself asks for it, and the public listener shows its health to anyone.
    fn is_open(&self) -> bool {
        matches!(self, Route::Asset(_) | Route::Health)
    }

    fn methods(&self) -> &'static str {
        if self.is_change() { "POST" } else { "GET, HEAD" }
    }
}
