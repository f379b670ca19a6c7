//! `[sources.NAME.recover]`: how what was missed is recovered from the provider.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Value;

use super::reader::Reader;
use super::values::{Parsed, duration, owned_text, parsed, text};
use crate::provider::{self, Preset, Recovery};
use crate::secret::SecretRef;

/// More often than once a minute uses up the provider's limits; what is rarer than once a week is done by hand.
const EVERY: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(7 * 24 * 60 * 60);

/// One request each time where nothing is missing.
const DEFAULT_EVERY: Duration = Duration::from_secs(10 * 60);

/// How a source gets back what was missed.
#[derive(Clone, Debug)]
pub struct Recover {
    pub recovery: &'static Recovery,
    pub mode: Mode,
    /// As it is written; what is listed, where the API has no hooks.
    pub hook: String,
    /// Its path in the API.
    pub hook_path: String,
    pub token: SecretRef,
    /// `None`: only by hand.
    pub every: Option<Duration>,
    /// The event types that are wanted; none: all.
    pub events: Vec<String>,
    /// Where the API is, without a slash at its end.
    pub api: String,
}

/// What is done about what is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The provider is asked to send it again.
    Redeliver,
    /// What its API returns is stored.
    Take,
}

impl Recover {
    /// The token with the least rights.
    pub fn permission(&self) -> &'static str {
        match self.mode {
            Mode::Redeliver => self.recovery.to_redeliver,
            Mode::Take => self.recovery.to_take,
        }
    }
}

pub(super) fn read(keys: &mut Reader, preset: Option<&'static Preset>) -> Option<Recover> {
    let recovery = preset.map(|preset| (preset, provider::recovery(preset.name)));
    let has_hooks = recovery.is_none_or(|(_, found)| found.is_none_or(|recovery| !recovery.hooks.is_empty()));
    let hook = match has_hooks {
        true => keys.require("hook", "write the hook whose deliveries are compared", owned_text),
        false => keys.get("hook", owned_text),
    };
    let token = keys.require("token", "write \"env:NAME\" or \"file:/path\"", parsed::<SecretRef>);
    let mode = keys.get("mode", mode);
    let every = keys.get("every", every);
    let events = keys.get_all("events", owned_text).unwrap_or_default();
    let api = keys.get("api", api);
    let (preset, recovery) = recovery?;
    let Some(recovery) = recovery else {
        let those: Vec<&str> = provider::recoverable().collect();
        let message = format!("not known for {}; it is for {}", preset.title, those.join(", "));
        return keys.refuse("hook", message);
    };
    let (hook, hook_path) = read_hook(keys, recovery, hook)?;
    if mode == Some(Mode::Redeliver) && recovery.resend.is_none() {
        let title = recovery.title;
        return keys.refuse("mode", format!("{title} sends nothing again on request; write mode = \"take\""));
    }
    let usual = if recovery.resend.is_some() { Mode::Redeliver } else { Mode::Take };
    Some(Recover {
        recovery,
        mode: mode.unwrap_or(usual),
        hook,
        hook_path,
        token: token?,
        every: every.unwrap_or(Some(DEFAULT_EVERY)),
        events,
        api: api.unwrap_or_else(|| recovery.api.to_owned()),
    })
}

/// The hook as it is written, and its path.
fn read_hook(keys: &mut Reader, recovery: &Recovery, hook: Option<String>) -> Option<(String, String)> {
    let title = recovery.title;
    match hook {
        None if recovery.hooks.is_empty() => Some(("the account".to_owned(), String::new())),
        None => None,
        Some(_) if recovery.hooks.is_empty() => {
            keys.refuse("hook", format!("{title} lists the events of the account; remove hook"))
        }
        Some(hook) => match recovery.hook_path(&hook) {
            Some(path) => Some((hook, path)),
            None => keys.refuse("hook", format!("{hook:?} is no hook of {title}; {}", recovery.hook_advice)),
        },
    }
}

fn mode(value: &Value) -> Parsed<Mode> {
    match text(value)? {
        "redeliver" => Ok(Mode::Redeliver),
        "take" => Ok(Mode::Take),
        other => Err(format!("{other:?} is unknown; write \"redeliver\" or \"take\"")),
    }
}

fn every(value: &Value) -> Parsed<Option<Duration>> {
    match value.as_str() {
        Some("off") => Ok(None),
        _ => duration(value, &EVERY).map(Some),
    }
}

/// The token is sent there: without TLS only within this machine.
fn api(value: &Value) -> Parsed<String> {
    let url = text(value)?.trim_end_matches('/');
    let is_local = ["127.0.0.1", "localhost", "[::1]"].iter().any(|host| {
        let rest = url.strip_prefix("http://").and_then(|rest| rest.strip_prefix(host));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
    });
    if is_local || url.len() > "https://".len() && url.starts_with("https://") && !url.contains(['?', '#', '@']) {
        return Ok(url.to_owned());
    }
    Err("not an address that begins with https://".to_owned())
}
