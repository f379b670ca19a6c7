//! Counts that only the running server has, read from its admin listener.

use std::time::Duration;

use serde_json::Value;

use crate::ask::{Response, get};
use crate::config::Config;
use crate::listen::LocalAddress;
use crate::secret::Env;

/// The server is on this machine, and a person waits.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The part of the overview that is printed.
#[derive(Debug)]
pub(super) struct Running {
    /// Source to count.
    pub(super) rejected: Value,
    /// The latest, each with its reason.
    pub(super) rejects: Value,
}

/// Asks the server of this config. `Err` is the reason why the counts are unknown.
pub(super) fn ask(config: &Config, env: &Env<'_>) -> Result<Running, String> {
    let Some(place) = config.admin.listen.place() else {
        return Err("there is no admin listener ([admin] listen is off)".to_owned());
    };
    let token = config.admin.fetch_token(env).map_err(|error| error.to_string())?;
    let response = LocalAddress::of(&place).and_then(|address| get(&address, "/api/stats", token.as_ref(), TIMEOUT));
    let overview = response.map_err(|error| error.to_string()).and_then(|response| overview(&response));
    let mut overview = overview.map_err(|why| format!("no answer from the admin listener at {place} ({why})"))?;
    if !is_of(&overview, config) {
        return Err(format!("the admin listener at {place} is that of another configuration"));
    }
    Ok(Running { rejected: overview["rejected"].take(), rejects: overview["rejects"].take() })
}

fn overview(response: &Response) -> Result<Value, String> {
    match response.status {
        200 => serde_json::from_slice(&response.body).map_err(|error| error.to_string()),
        401 => Err("401: it asks for admin.token".to_owned()),
        status => Err(status.to_string()),
    }
}

/// False if another server listens there, which has other sources: the address may be the default one.
fn is_of(overview: &Value, config: &Config) -> bool {
    let sources = overview["sources"].as_array().into_iter().flatten();
    sources.filter_map(|source| source["name"].as_str()).eq(config.sources.keys())
}

impl Running {
    /// The number of rejects by source, without zeros.
    pub(super) fn counts(&self) -> Vec<(String, u64)> {
        let counts = self.rejected.as_object().into_iter().flatten();
        let counts = counts.map(|(source, count)| (source.clone(), count.as_u64().unwrap_or_default()));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// The latest rejects, one a line.
    pub(super) fn reasons(&self) -> Vec<String> {
        let rejects = self.rejects.as_array().into_iter().flatten();
        let text = |reject: &Value, key: &str| reject[key].as_str().unwrap_or("?").to_owned();
        let line = |reject: &Value| {
            let place = reject["source"].as_str().map_or_else(|| text(reject, "path"), str::to_owned);
            let count = reject["count"].as_u64().unwrap_or(1);
            let [why, last_at, peer] = ["text", "last_at", "peer"].map(|key| text(reject, key));
            format!("{place}: {why} ({count} x, last {last_at} from {peer})")
        };
        rejects.map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_and_odd_values_are_no_error() {
        let body =
            r#"{"rejected":{"a":2,"b":0,"c":"?"},"rejects":[{"source":"a","text":"no signature","count":2},{}]}"#;
        let overview = overview(&Response { status: 200, body: body.into() }).unwrap();
        let running = Running { rejected: overview["rejected"].clone(), rejects: overview["rejects"].clone() };
        assert_eq!(running.counts(), [("a".to_owned(), 2)]);
        assert_eq!(running.reasons()[0], "a: no signature (2 x, last ? from ?)");
        assert_eq!(running.reasons().len(), 2);
    }

    #[test]
    fn a_response_that_is_no_overview_says_why() {
        for (status, body, why) in [(401, "", "admin.token"), (503, "", "503"), (200, "hello", "expected")] {
            let error = overview(&Response { status, body: body.into() }).unwrap_err();
            assert!(error.contains(why), "{status} {body}: {error}");
        }
    }
}
