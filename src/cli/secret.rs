//! The secrets of a source, fetched and in the form in which its provider uses them.

use super::Failure;
use crate::config::Source;
use crate::secret::{Env, Secret, SecretRef};

/// Fetches one secret of a source, and reads it as its provider shows it.
pub(crate) fn key(source: &Source, reference: &SecretRef, env: &Env<'_>) -> Result<Secret, Failure> {
    decoded(source, reference, env).map_err(|why| Failure::usage(format!("sources.{}.secret: {why}", source.name)))
}

/// As [`key`], and `Err` is only what is wrong with it.
pub(crate) fn decoded(source: &Source, reference: &SecretRef, env: &Env<'_>) -> Result<Secret, String> {
    let secret = reference.resolve(env).map_err(|error| error.to_string())?;
    source.verifier.scheme.key(&secret).map_err(|why| format!("{reference}: {why}"))
}

pub(crate) fn verify_token(source: &Source, env: &Env<'_>) -> Result<Option<Secret>, Failure> {
    let token = source.verify_token.as_ref().map(|reference| reference.resolve(env)).transpose();
    token.map_err(|error| Failure::usage(format!("sources.{}.verify_token: {error}", source.name)))
}
