//! What only the running server knows, asked of its admin listener.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

use crate::cli::send::to_connect_to;
use crate::config::Config;
use crate::listen::Listen;
use crate::secret::{Env, Secret};

/// To connect, and for each part of the answer: it is on this machine, as a rule, and a person waits.
const TIMEOUT: Duration = Duration::from_millis(500);

/// Far more than an answer has.
const MAX_ANSWER_BYTES: u64 = 1 << 20;

const NO_ANSWER: &str = "no answer from the admin listener";

/// What is of interest in the answer.
#[derive(Debug)]
pub(super) struct Running {
    /// Source to count.
    pub(super) rejected: Value,
    /// The latest, each with its reason.
    pub(super) rejects: Value,
}

/// Asks the server of this config. `Err` says why there is nothing to tell.
pub(super) fn ask(config: &Config, env: &Env<'_>) -> Result<Running, String> {
    let Some(place) = config.admin.listen.place() else {
        return Err("there is no admin listener ([admin] listen is off)".to_owned());
    };
    let token = config.admin.fetch_token(env).map_err(|error| error.to_string())?;
    let answer = exchange(&place, &request(&place, token.as_ref()));
    let answer = answer.map_err(|error| format!("{NO_ANSWER} at {place} ({error})"))?;
    let mut overview = read(&answer).map_err(|why| format!("{NO_ANSWER} at {place} ({why})"))?;
    if !is_of(&overview, config) {
        return Err(format!("the admin listener at {place} is that of another configuration"));
    }
    Ok(Running { rejected: overview["rejected"].take(), rejects: overview["rejects"].take() })
}

fn request(place: &Listen, token: Option<&Secret>) -> Vec<u8> {
    let host = match place {
        Listen::Tcp(address) => to_connect_to(address),
        Listen::Unix(_) => "localhost".to_owned(),
    };
    let mut request = format!("GET /api/stats HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n").into_bytes();
    if let Some(token) = token {
        request.extend([b"Authorization: Bearer ", token.as_bytes(), b"\r\n"].concat());
    }
    request.extend(b"\r\n");
    request
}

fn exchange(place: &Listen, request: &[u8]) -> io::Result<Vec<u8>> {
    match place {
        Listen::Tcp(address) => {
            let address = to_connect_to(address).to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
            let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            talk(stream, request)
        }
        Listen::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            talk(stream, request)
        }
    }
}

fn talk(mut stream: impl Read + Write, request: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(request)?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer)?;
    Ok(answer)
}

/// The body of an answer that ends with its connection.
fn read(answer: &[u8]) -> Result<Value, String> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(head_bytes)) = response.parse(answer) else {
        return Err("it is not HTTP".to_owned());
    };
    match response.code {
        Some(200) => serde_json::from_slice(&answer[head_bytes..]).map_err(|error| error.to_string()),
        Some(401) => Err("401: it asks for admin.token".to_owned()),
        code => Err(format!("{}", code.unwrap_or_default())),
    }
}

/// Nobody may have chosen where the listener is, and another server may be there: that has other sources.
fn is_of(overview: &Value, config: &Config) -> bool {
    let sources = overview["sources"].as_array().into_iter().flatten();
    sources.filter_map(|source| source["name"].as_str()).eq(config.sources.keys())
}

impl Running {
    /// Rejects by source, where there are any.
    pub(super) fn counts(&self) -> Vec<(String, u64)> {
        let counts = self.rejected.as_object().into_iter().flatten();
        let counts = counts.map(|(source, count)| (source.clone(), count.as_u64().unwrap_or_default()));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// The latest rejects, each in a line.
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
    fn an_answer_is_read_leniently() {
        let body =
            r#"{"rejected":{"a":2,"b":0,"c":"?"},"rejects":[{"source":"a","text":"no signature","count":2},{}]}"#;
        let overview = read(format!("HTTP/1.1 200 OK\r\nA: b\r\n\r\n{body}").as_bytes()).unwrap();
        let running = Running { rejected: overview["rejected"].clone(), rejects: overview["rejects"].clone() };
        assert_eq!(running.counts(), [("a".to_owned(), 2)]);
        assert_eq!(running.reasons()[0], "a: no signature (2 x, last ? from ?)");
        assert_eq!(running.reasons().len(), 2);
    }

    #[test]
    fn what_is_no_answer_says_why() {
        for (answer, why) in [
            ("220 smtp ready\r\n", "not HTTP"),
            ("HTTP/1.1 401 Unauthorized\r\n\r\n", "admin.token"),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", "503"),
            ("HTTP/1.1 200 OK\r\n\r\nhello", "expected"),
            ("", "not HTTP"),
        ] {
            let error = read(answer.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{answer}: {error}");
        }
    }
}
