//! Presets and verifiers, described for people.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::algorithm::Algorithm;
use super::format::{Format, Variable};
use super::keyword::Keyword;
use super::preset::{Preset, WithoutId};
use super::presets::{preset, presets};
use super::recover::{Recovery, recovery};
use super::scheme::Scheme;
use super::selector::Selector;
use super::unsigned::{Body, Unsigned};
use super::unsupported::{UNSUPPORTED, Unsupported, unsupported};
use super::verifier::Verifier;
use crate::suggest::closest;
use crate::units::duration_text;

/// How a delivery without an id is identified.
const WITHOUT_ID: &str =
    "each delivery is a new event, unless one with the same body still waits for its first attempt";

/// What helps against copies of deliveries, in every source.
const ALLOW: &str = "In [sources.NAME], allow = [...] accepts the sender's addresses only";

/// What helps where the body is signed.
const REPEATED_BODY: &str = ", and repeated_body = \"ignore\" does not process a body that came before";

/// A shorter part of a name matches too many.
const MIN_PART_CHARS: usize = 3;

/// The error for a provider that is not in the table, with those that may be meant.
pub fn unknown(name: &str) -> String {
    let known = presets().map(|preset| preset.name).chain(UNSUPPORTED.iter().map(|unsupported| unsupported.name));
    let near = closest(name, known).map_or_else(|| similar(name), |near| vec![near]);
    let near: Vec<String> = near.into_iter().map(|near| format!("{near:?}")).collect();
    match &near[..] {
        [] => format!(
            "no provider {name:?}; `hookbox providers` lists them. For a sender of your own there are \"hmac\" and \"token\""
        ),
        [near] => format!("no provider {name:?}; did you mean {near}?"),
        several => format!("no provider {name:?}; there are {}: see `hookbox providers`", several.join(", ")),
    }
}

/// The presets whose name or title contains it: `mailgun` finds `mailgun-routes`.
fn similar(name: &str) -> Vec<&'static str> {
    if name.chars().count() < MIN_PART_CHARS {
        return Vec::new();
    }
    let name = name.to_lowercase();
    let words = name.replace(['-', '_'], " ");
    let is_similar = |preset: &&Preset| preset.name.contains(&name) || preset.title.to_lowercase().contains(&words);
    presets().filter(is_similar).map(|preset| preset.name).collect()
}

/// How deliveries are verified, in one line.
pub fn verification_text(verifier: &Verifier) -> String {
    if let Some(custom) = &verifier.preset.custom {
        return custom.description.to_owned();
    }
    let scheme = &verifier.scheme;
    let items = match (&scheme.split, scheme.prefix_at(scheme.sig.main())) {
        (_, "") => String::new(),
        (Some(_), prefix) => format!(" (its items {prefix}...)"),
        (None, prefix) => format!(" behind {prefix:?}"),
    };
    let place = format!("{}{items}", place(&scheme.sig));
    let mut text = match scheme.alg {
        Algorithm::Token => format!("the secret itself in {place}: it authenticates the sender, not the body"),
        alg => format!("{}, {}, of {} in {place}", alg.as_str(), scheme.enc.as_str(), scheme.signed),
    };
    let old = scheme.tolerance.map(|tolerance| format!("{} old", duration_text(tolerance)));
    let ahead = scheme.tolerance_future.map(|tolerance| format!("{} ahead", duration_text(tolerance)));
    let bounds: Vec<String> = old.into_iter().chain(ahead).collect();
    if !bounds.is_empty() {
        let if_any = if scheme.ts_optional { ", where there is one" } else { "" };
        let _ = write!(text, "; timestamps up to {}{if_any}", bounds.join(" and "));
    }
    text
}

/// The cells of a table: name, title, algorithm, where the id is.
pub fn summary(preset: &'static Preset) -> [&'static str; 4] {
    let algorithm = if preset.custom.is_some() { "custom" } else { preset.alg.as_str() };
    let id = match preset.id.first() {
        Some(id) if id.contains('{') => "of several values",
        Some(id) => id,
        None => "-",
    };
    [preset.name, preset.title, algorithm, id]
}

/// Everything about the provider of this name, supported or not, as labels and texts; else why there is none.
pub fn contract(name: &str) -> Result<Vec<(&'static str, String)>, String> {
    if let Some(Unsupported { title, why, instead, .. }) = unsupported(name) {
        return Ok(vec![
            ("provider", format!("{title} ({name})")),
            ("verified", format!("not supported: {why}")),
            ("instead", (*instead).to_owned()),
        ]);
    }
    let preset = preset(name).ok_or_else(|| unknown(name))?;
    Ok(describe(&preset.verifier().map_err(|error| error.to_string())?))
}

fn describe(verifier: &Verifier) -> Vec<(&'static str, String)> {
    let preset = verifier.preset;
    let mut lines = vec![
        ("provider", format!("{} ({})", preset.title, preset.name)),
        ("set up", preset.setup.to_owned()),
        ("verified", verification_text(verifier)),
        ("not signed", not_signed(verifier)),
        ("id", id(verifier)),
        ("event type", values(&verifier.event, "none: it is always \"unknown\"")),
    ];
    if !verifier.handshakes.is_empty() {
        let methods: BTreeSet<&str> = preset.handshakes.iter().map(|handshake| handshake.method).collect();
        let methods = methods.into_iter().collect::<Vec<_>>().join(", ");
        lines.push(("handshake", format!("answered by hookbox, and not stored ({methods})")));
    }
    if verifier.needs_url() {
        lines.push(("needs", "public_url in [sources.NAME]: the address as it is entered at the provider".to_owned()));
    }
    lines.extend([
        ("answer", format!("{} with an empty body; the provider expects {}", preset.status, preset.answer)),
        ("retries", preset.retries.to_owned()),
        ("docs", preset.docs.to_owned()),
    ]);
    if let Some(recovery) = recovery(preset.name) {
        lines.push(("missed", recovered(recovery)));
    }
    lines
}

/// How what was missed is recovered, and the token with the least rights for it.
fn recovered(recovery: &Recovery) -> String {
    let take = format!("with mode = \"take\": {}", recovery.to_take);
    let modes = match recovery.resend {
        Some(_) => format!("with mode = \"redeliver\": {}; {take}", recovery.to_redeliver),
        None => take,
    };
    format!("recovered by [sources.NAME.recover] (hookbox help recover). The token with the least rights {modes}")
}

fn values(values: &[Format], none: &str) -> String {
    if values.is_empty() {
        return none.to_owned();
    }
    values.iter().map(|value| value.description(place)).collect::<Vec<_>>().join(", else ")
}

/// What of a delivery is not signed, in a few words; `None` if only header fields that do not decide about its event.
pub fn unsigned_summary(verifier: &Verifier) -> Option<String> {
    let unsigned = verifier.unsigned();
    let body = match unsigned.body {
        Body::Unsigned => return Some("the whole delivery".to_owned()),
        Body::Partly => Some(rest_of_body(verifier)),
        Body::Signed => None,
    };
    let value = |name: &str, places: &[&Selector]| {
        let places: Vec<String> = places.iter().map(|selector| place(selector)).collect();
        (!places.is_empty()).then(|| format!("the {name} in {}", places.join(" or ")))
    };
    let no_id = body.is_none() && verifier.id.is_empty();
    let id = if no_id { Some("a delivery id (there is none)".to_owned()) } else { value("delivery id", &unsigned.id) };
    let values = [id, value("event type", &unsigned.event_type)];
    let parts: Vec<String> = body.into_iter().chain(values.into_iter().flatten()).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn rest_of_body(verifier: &Verifier) -> String {
    if verifier.preset.custom.is_some() {
        return "most of the body".to_owned();
    }
    let Scheme { signed, ts, .. } = &verifier.scheme;
    let ts = ts.iter().filter(|_| signed.has(Variable::Ts));
    let places = ts.chain(signed.selectors()).flat_map(Selector::places);
    let signed: Vec<String> = places.filter(|place| place.is_in_body()).map(place).collect();
    if signed.is_empty() { "the body".to_owned() } else { format!("all of the body beside {}", signed.join(" and ")) }
}

/// The same with what it makes possible, and what helps.
fn not_signed(verifier: &Verifier) -> String {
    let Some(summary) = unsigned_summary(verifier) else { return "other header fields".to_owned() };
    let Unsigned { body, id, .. } = verifier.unsigned();
    let possible = match body {
        Body::Unsigned => {
            let why = "the secret proves who sends it, not what is in it; anyone who sees it can send others";
            return format!("{summary}: {why}. {ALLOW}");
        }
        Body::Partly => format!("with other content. {ALLOW}"),
        Body::Signed => {
            let result = match (verifier.id.is_empty(), id.is_empty()) {
                (true, _) => "as a new event",
                (false, true) => "as another event type",
                (false, false) => "under another id, as a new event",
            };
            let limit = if verifier.scheme.bounds_age() { ", until its timestamp is too old" } else { "" };
            format!("{result}{limit}. {ALLOW}{REPEATED_BODY}")
        }
    };
    format!("{summary} and other header fields: anyone who captures a delivery can send it again {possible}")
}

fn id(verifier: &Verifier) -> String {
    let own = "none: every delivery is an event of its own, unless id in [sources.NAME] says where one is";
    match verifier.preset.without_id {
        WithoutId::Own => values(&verifier.id, own),
        WithoutId::Content if verifier.id.is_empty() => {
            format!("none: {WITHOUT_ID}")
        }
        // Some kinds of deliveries of a provider may lack the id.
        WithoutId::Content => format!("{}; without one, {WITHOUT_ID}", values(&verifier.id, "")),
    }
}

fn place(selector: &Selector) -> String {
    match selector {
        Selector::Header(name) => format!("header {name}"),
        Selector::Json(pointer) => format!("JSON {pointer}"),
        Selector::Form(name) => format!("form field {name}"),
        Selector::Query(name) => format!("query parameter {name}"),
        Selector::Beside(name) => format!("the name of the JSON member beside {name}"),
        Selector::Item(prefix) => format!("item {prefix}"),
        Selector::Any(any) => any.iter().map(place).collect::<Vec<_>>().join(" or "),
    }
}
