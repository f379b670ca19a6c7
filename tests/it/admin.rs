//! The admin listener: its page, its API, its metrics, and who may use them.

mod abuse;
mod access;
mod api;
mod metrics;
mod rejects;
mod token;

use serde_json::Value;

use crate::support::{Address, Request, Response, SOURCE};

/// A config with the usual source and this in `[admin]`.
fn config(admin: &str) -> String {
    format!("[admin]\n{admin}\n{SOURCE}")
}

/// A request as the page sends it.
fn asking(method: &str, target: &str) -> Request {
    Request::new(method, target).with("Host", "localhost")
}

fn get(target: &str) -> Request {
    asking("GET", target)
}

fn post(target: &str) -> Request {
    asking("POST", target).header("X-Hookbox", "1")
}

#[track_caller]
fn json(response: &Response) -> Value {
    assert_eq!(response.status, 200, "{}", response.text());
    serde_json::from_slice(&response.body).unwrap_or_else(|problem| panic!("{problem}: {}", response.text()))
}

/// The status of the answer.
#[track_caller]
fn status(address: &Address, request: &Request) -> u16 {
    address.send(request).status
}
