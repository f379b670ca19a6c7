//! Everything that a configuration only refers to: keys, tokens, certificates.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::{Error, Result};
use crate::action::{Action, Runner};
use crate::config::{Config, Source};
use crate::metrics::Metrics;
use crate::provider::handshake::HandshakeConfig;
use crate::receive::Endpoint;
use crate::secret::{Env, Secret};

/// The actions of a configuration, ready to run, by name.
pub(super) type Runners = BTreeMap<String, Arc<Runner>>;

pub(super) struct Secrets {
    pub endpoints: Vec<Endpoint>,
    pub runners: Runners,
    pub admin_token: Option<Secret>,
}

impl Secrets {
    pub(super) fn fetch(config: &Config, env: &Env<'_>, metrics: &Metrics) -> Result<Secrets> {
        let endpoints = config.sources.values().map(|source| endpoint(source, env, metrics)).collect::<Result<_>>()?;
        let runners = config.actions.values().map(|action| runner(action, env)).collect::<Result<_>>()?;
        let admin_token = config.admin.fetch_token(env).map_err(Error::refused)?;
        Ok(Secrets { endpoints, runners, admin_token })
    }
}

fn endpoint(source: &Source, env: &Env<'_>, metrics: &Metrics) -> Result<Endpoint> {
    let key = |reference: &_| source.key(reference, env);
    let verification = source.verification.try_map(key).map_err(Error::refused)?;
    let verify_token = source.fetch_verify_token(env).map_err(Error::refused)?;
    let known = HandshakeConfig { verify_token, allowed_origins: source.allowed_origins.clone() };
    Ok(Endpoint { source: source.clone(), verification, known, counts: metrics.source(&source.name) })
}

fn runner(action: &Action, env: &Env<'_>) -> Result<(String, Arc<Runner>)> {
    let name = &action.name;
    let runner = action.kind.prepare(env).map_err(|error| Error::refused(format!("actions.{name}.{error}")))?;
    Ok((name.clone(), runner))
}
