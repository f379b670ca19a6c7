//! The part of the configuration that the page shows, and the commands that send it test deliveries.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::config::{Config, DEFAULT_LISTEN, Origin, SYSTEM_CONFIG, Source};
use crate::provider::Verification;
use crate::secret::SecretRef;
use crate::shell::word;

/// The program's name in `PATH`.
const PROGRAM: &str = "hookbox";

/// A source as the page shows it.
#[derive(Serialize)]
pub struct SourceView {
    name: String,
    provider: &'static str,
    /// `signature`, `awaited`, `none` or `local`
    verification: &'static str,
    /// The shell command that sends it a test delivery.
    send: String,
    /// The environment variable with the secret, which that shell needs too.
    variable: Option<String>,
}

/// An action as the page shows it.
#[derive(Serialize)]
pub struct ActionView {
    name: String,
    kind: &'static str,
}

pub fn sources(config: &Config) -> Vec<SourceView> {
    let (program, options) = (program(), options(config));
    let view = |source: &Source| SourceView {
        name: source.name.clone(),
        provider: source.verifier.preset.title,
        verification: match source.verification {
            Verification::Secrets(_) => "signature",
            Verification::Awaited => "awaited",
            Verification::Nothing => "none",
            Verification::LocalOnly => "local",
        },
        send: format!("{program} send {}{options}", source.name),
        variable: variable(source),
    };
    config.sources.values().map(view).collect()
}

pub fn actions(config: &Config) -> Vec<ActionView> {
    config.actions.values().map(|action| ActionView { name: action.name.clone(), kind: action.kind.as_str() }).collect()
}

/// The program as a shell finds it: by name, or by path where it is not in `PATH`.
fn program() -> String {
    let Ok(here) = env::current_exe() else { return PROGRAM.to_owned() };
    // After an upgrade the running file is deleted, and the new one has its path.
    let here = here.to_string_lossy();
    let here = here.trim_end_matches(" (deleted)");
    let is_here = |directory: PathBuf| fs::canonicalize(directory.join(PROGRAM)).is_ok_and(|it| it == Path::new(here));
    let is_on_path = env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(is_here));
    if is_on_path { PROGRAM.to_owned() } else { word(here) }
}

/// The options with which a command in any directory finds the same sources at the same address.
fn options(config: &Config) -> String {
    let listen = config.listen.to_string();
    match &config.origin {
        Origin::File(path) if path == Path::new(SYSTEM_CONFIG) => String::new(),
        Origin::File(path) => {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            format!(" --config {}", word(&path.to_string_lossy()))
        }
        Origin::BuiltIn if listen == DEFAULT_LISTEN => String::new(),
        Origin::BuiltIn => format!(" --listen {}", word(&listen)),
    }
}

/// The variable with the first secret, which signs a test delivery.
fn variable(source: &Source) -> Option<String> {
    match source.verification.secrets().first() {
        Some(SecretRef::Env(name)) => Some(name.clone()),
        _ => None,
    }
}
