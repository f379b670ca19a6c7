//! What only the running server knows, asked at the page's listener: which requests it has rejected, and why, and which jobs
//! are under way.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::page;
use crate::ask::{Response, get};
use crate::config::Config;
use crate::listen::{Listen, LocalAddress};
use crate::secret::Env;
use crate::store::{self, RunningJob, ServerJobs};

/// The server is on this machine, and a person waits.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Stands for the source of a request that matches none.
const NO_SOURCE: &str = "no source";

/// Counts since the server started.
#[derive(Debug, Default)]
pub(super) struct Running {
    /// Counts by source.
    pub(super) rejected: Value,
    /// Counts by source and reason.
    pub(super) reasons: Value,
    /// The latest.
    pub(super) rejects: Value,
}

/// One of the latest rejects, with those that are similar.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rejects {
    /// `None` where the path matches no source.
    pub(super) source: Option<String>,
    path: String,
    text: String,
    peer: String,
    first_at: String,
    pub(super) last_at: String,
    count: u64,
}

/// Asks the server of this config. `Err` is the reason why the counts are unknown.
pub(super) fn ask(config: &Config, env: &Env<'_>) -> Result<Running, String> {
    let Some(place) = config.admin.listen.place() else {
        return Err("the page's listener is off ([admin] listen)".to_owned());
    };
    let overview = fetch(config, env, &place, "/api/stats")?;
    if !is_of(&overview, config) {
        return Err(format!("the page's listener at {place} is that of another config"));
    }
    Ok(Running::of(overview))
}

/// What the server of this database, if there is one, has under way.
pub(super) fn jobs(config: &Config, env: &Env<'_>) -> ServerJobs {
    let Some(pid) = store::server_of(&config.database) else {
        return ServerJobs { is_served: false, running: Vec::new() };
    };
    let mut answer = Value::Null;
    if let Some(place) = config.admin.listen.place() {
        answer = fetch(config, env, &place, "/api/running").unwrap_or_default();
    }
    // Another server may listen there, which has another database; and an earlier version does not know this address.
    let is_its_own = pid.parse().is_ok_and(|pid: u64| answer["pid"] == pid);
    let running: Vec<RunningJob> = serde_json::from_value(answer["jobs"].take()).unwrap_or_default();
    ServerJobs { is_served: true, running: if is_its_own { running } else { Vec::new() } }
}

fn fetch(config: &Config, env: &Env<'_>, place: &Listen, path: &str) -> Result<Value, String> {
    let token = page::token(config, env)?;
    let response = LocalAddress::of(place).and_then(|address| get(&address, path, token.as_ref(), TIMEOUT));
    let answer = response.map_err(|error| error.to_string()).and_then(|response| json_of(&response));
    answer.map_err(|why| format!("no answer from the page's listener at {place} ({why})"))
}

fn json_of(response: &Response) -> Result<Value, String> {
    match response.status {
        200 => serde_json::from_slice(&response.body).map_err(|error| error.to_string()),
        401 => Err("401: it asks for the page's token".to_owned()),
        429 => Err("429: too many wrong tokens were sent; try again in a minute".to_owned()),
        status => Err(status.to_string()),
    }
}

/// False if another server listens there, which has other sources: the address may be the default one.
fn is_of(overview: &Value, config: &Config) -> bool {
    let sources = overview["sources"].as_array().into_iter().flatten();
    sources.filter_map(|source| source["name"].as_str()).eq(config.sources.keys())
}

impl Running {
    fn of(mut overview: Value) -> Running {
        let [rejected, reasons, rejects] = ["rejected", "reject_reasons", "rejects"]
            .map(|key| overview.get_mut(key).map(Value::take).unwrap_or_default());
        Running { rejected, reasons, rejects }
    }

    /// The number of rejects by source, without zeros; those that match none are last.
    pub(super) fn counts(&self) -> Vec<(String, u64)> {
        let of_none = self.reasons[""].as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum();
        let counts = self.rejected.as_object().into_iter().flatten();
        let counts = counts.map(|(source, count)| (source.clone(), count.as_u64().unwrap_or_default()));
        counts.chain([(NO_SOURCE.to_owned(), of_none)]).filter(|(_, count)| *count > 0).collect()
    }

    /// The number of rejects by reason, of all sources and of none.
    pub(super) fn by_reason(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        let of_sources = self.reasons.as_object().into_iter().flatten();
        for (reason, count) in of_sources.flat_map(|(_, reasons)| reasons.as_object().into_iter().flatten()) {
            *counts.entry(reason.clone()).or_default() += count.as_u64().unwrap_or_default();
        }
        counts
    }

    /// The latest rejects, the newest first.
    pub(super) fn latest(&self) -> Vec<Rejects> {
        self.rejects.as_array().into_iter().flatten().map(Rejects::of).collect()
    }
}

impl Rejects {
    fn of(json: &Value) -> Rejects {
        let text = |key: &str| json[key].as_str().unwrap_or("?").to_owned();
        Rejects {
            source: json["source"].as_str().map(str::to_owned),
            path: text("path"),
            text: text("text"),
            peer: text("peer"),
            first_at: text("first_at"),
            last_at: text("last_at"),
            count: json["count"].as_u64().unwrap_or(1),
        }
    }

    /// Its place and what is wrong.
    pub(super) fn line(&self) -> String {
        let path = if self.path.is_empty() { "a request" } else { &self.path };
        format!("{}: {}", self.source.as_deref().unwrap_or(path), self.fault())
    }

    /// What is wrong, how often, and from where.
    pub(super) fn fault(&self) -> String {
        let Rejects { text, peer, first_at, last_at, count, .. } = self;
        let since = if *count > 1 { format!(" since {first_at}") } else { String::new() };
        format!("{text} ({count} x{since}, last {last_at} from {peer})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(json: &str) -> Running {
        Running::of(json_of(&Response { status: 200, body: json.into() }).unwrap())
    }

    #[test]
    fn missing_and_odd_values_are_no_error() {
        let running = running(
            r#"{"rejected":{"a":2,"b":0,"c":"?"},"reject_reasons":{"":{"malformed":3,"x":"?"},"a":{"malformed":2},"d":1},
               "rejects":[{"source":"a","text":"no signature","count":2},{"path":""}]}"#,
        );
        assert_eq!(running.counts(), [("a".to_owned(), 2), ("no source".to_owned(), 3)]);
        assert_eq!(running.by_reason(), BTreeMap::from([("malformed".to_owned(), 5), ("x".to_owned(), 0)]));
        let lines: Vec<String> = running.latest().iter().map(Rejects::line).collect();
        assert_eq!(lines, ["a: no signature (2 x since ?, last ? from ?)", "a request: ? (1 x, last ? from ?)"]);
        assert!(Running::of(Value::Null).counts().is_empty() && Running::default().by_reason().is_empty());
    }

    #[test]
    fn a_response_that_is_no_overview_says_why() {
        for (status, body, why) in [(401, "", "token"), (503, "", "503"), (200, "hello", "expected")] {
            let error = json_of(&Response { status, body: body.into() }).unwrap_err();
            assert!(error.contains(why), "{status} {body}: {error}");
        }
    }
}
