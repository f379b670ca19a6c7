//! `[sources.NAME]`: who sends, how deliveries are verified, and where their ids and event types are.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use toml::Value;

use super::own_sender::{self, Answer, PATH_PREFIX, STATUS};
use super::reader::Reader;
use super::recover::{self, Recover};
use super::values::{Parsed, count, duration, expected, owned_text, parsed, text};
use crate::cidr::Cidr;
use crate::news;
use crate::provider::handshake::Condition;
use crate::provider::{self, Format, Keyword, Preset, Scheme, Variable, Verification, Verifier};
use crate::secret::{Env, Secret, SecretError, SecretRef};

/// The clocks of two machines differ by up to a second. A century allows replaying recorded deliveries.
const TOLERANCE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// A shorter window would process the provider's own retries again; ten years are forever, which is the default.
const DEDUP_WINDOW: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// More often than every second is no rhythm of a sender; a longer time than a year is none either.
const EXPECT_EVERY: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(366 * 24 * 60 * 60);

/// Each of the sources that share a path may have to verify a delivery that no one has proven yet.
pub const MAX_SHARING: usize = 4;

/// How every provider sends its deliveries.
const POST: &str = "POST";

/// The source of a start without any config: its name, which is also its provider, and the variable with its secret.
pub(super) const BUILT_IN: &str = "github";
pub(super) const BUILT_IN_SECRET: &str = "GITHUB_WEBHOOK_SECRET";

/// The provider of a source that has `verify = "none"` alone: each of its deliveries is an event of its own.
const UNSIGNED: &str = "token";

/// A configured sender of deliveries.
#[derive(Clone, Debug)]
pub struct Source {
    pub name: String,
    pub verifier: Verifier,
    pub verification: Verification<SecretRef>,
    /// A second secret, with which some providers authenticate their handshake.
    pub verify_token: Option<SecretRef>,
    pub allowed_origins: Vec<String>,
    /// The networks from which it accepts deliveries; `None`: any.
    pub allow: Option<Vec<Cidr>>,
    /// A delivery that is repeated later than this is processed again. `None`: never, if it has an id.
    pub dedup_window: Option<Duration>,
    /// How long it may receive nothing, before that is news.
    pub expect_every: Option<Duration>,
    /// Whether a body that is stored already is ignored under another id.
    pub ignores_repeated_body: bool,
    /// A further path that takes its deliveries, in its normal spelling.
    pub further_path: Option<String>,
    /// The methods of its deliveries; none where the provider alone decides.
    pub methods: Vec<&'static str>,
    /// What a stored delivery is answered; `None`: the provider's status, and nothing else.
    pub answer: Option<Arc<Answer>>,
    /// How what was missed is recovered.
    pub recover: Option<Recover>,
}

impl Source {
    /// The path that takes its deliveries, on every host.
    pub fn path(&self) -> String {
        format!("{PATH_PREFIX}{}", self.name)
    }

    /// Whether it takes deliveries at this path, which is in its normal spelling.
    pub fn is_at(&self, normal_path: &str) -> bool {
        normal_path.strip_prefix(PATH_PREFIX) == Some(&self.name) || self.further_path.as_deref() == Some(normal_path)
    }

    /// Whether a delivery may bring the proofs of both.
    pub fn shares_path_with(&self, other: &Source) -> bool {
        self.name == other.name || (self.further_path.is_some() && self.further_path == other.further_path)
    }

    /// Whether it takes deliveries with this method; `None` where its provider decides.
    pub fn takes_method(&self, method: &str) -> Option<bool> {
        (!self.methods.is_empty()).then(|| self.methods.contains(&method))
    }

    /// The methods of its deliveries, for the operator.
    pub fn methods_text(&self) -> String {
        if self.methods.is_empty() { POST.to_owned() } else { self.methods.join(", ") }
    }

    /// The method with which a delivery is sent to try it.
    pub fn usual_method(&self) -> &'static str {
        match self.methods.first() {
            Some(first) if !self.methods.contains(&POST) => first,
            _ => POST,
        }
    }

    /// Fetches one of its secrets, and decodes it as its provider writes it.
    pub fn key(&self, reference: &SecretRef, env: &Env<'_>) -> Result<Secret, SecretError> {
        let decode = |secret| self.verifier.scheme.key(&secret).map_err(|why| format!("{reference}: {why}"));
        reference.resolve(env).and_then(decode).map_err(|reason| self.secret_error("secret", reason))
    }

    /// Fetches its `verify_token`, if it has one.
    pub fn fetch_verify_token(&self, env: &Env<'_>) -> Result<Option<Secret>, SecretError> {
        let token = self.verify_token.as_ref().map(|reference| reference.resolve(env)).transpose();
        token.map_err(|reason| self.secret_error("verify_token", reason))
    }

    /// Fetches the token for its provider's API.
    pub fn fetch_recover_token(&self, recover: &Recover, env: &Env<'_>) -> Result<Secret, SecretError> {
        recover.token.resolve(env).map_err(|reason| self.secret_error("recover.token", reason))
    }

    fn secret_error(&self, key: &str, reason: String) -> SecretError {
        SecretError { key: format!("sources.{}.{key}", self.name), reason }
    }

    /// The unset keys without which a handshake of its provider is refused.
    pub fn keys_for_handshakes(&self) -> impl Iterator<Item = &'static str> {
        let keys = [
            ("verify_token", self.verifier.requires(Condition::VerifyToken) && self.verify_token.is_none()),
            ("allowed_origins", self.verifier.requires(Condition::AllowedOrigin) && self.allowed_origins.is_empty()),
        ];
        keys.into_iter().filter(|(_, is_missing)| *is_missing).map(|(key, _)| key)
    }
}

/// `None` where there is no `[sources]`.
///
/// An empty table is refused: a receiver without sources would receive nothing.
pub(super) fn read_all(keys: &mut Reader) -> Option<BTreeMap<String, Source>> {
    let sources = keys.tables("sources", read);
    if keys.is_empty_table("sources") {
        return keys.refuse("sources", "no source in it; add [sources.NAME], or leave [sources] out".to_owned());
    }
    if let Some(sources) = &sources {
        refuse_shared_paths(sources, keys);
        if sources.contains_key(news::SOURCE) {
            let message = "events about hookbox itself have this name; choose another".to_owned();
            keys.refuse_at(format!("sources.{}", news::SOURCE), message);
        }
    }
    sources
}

/// Senders of one's own may share a path: the first source to which a delivery is proven takes it. A provider's handshakes
/// would be answered by one of the sources only.
fn refuse_shared_paths(sources: &BTreeMap<String, Source>, keys: &mut Reader) {
    let mut takers: BTreeMap<&str, Vec<&Source>> = BTreeMap::new();
    for source in sources.values() {
        let Some(path) = source.further_path.as_deref() else { continue };
        let takers = takers.entry(path).or_default();
        takers.push(source);
        let message = match takers.as_slice() {
            [other, .., _] if takers.iter().any(|taker| !taker.verifier.preset.is_own_sender()) => {
                let only = "; only hmac and token sources may share one, so give each a path of its own";
                format!("sources.{}.path is {path} too{only}", other.name)
            }
            takers if takers.len() > MAX_SHARING => {
                format!("more than {MAX_SHARING} sources share {path}; give this one a path of its own")
            }
            _ => continue,
        };
        keys.refuse_at(format!("sources.{}.path", source.name), message);
    }
}

/// A variable that is set but empty counts as set: it is meant to verify, and reported when it is resolved.
pub(super) fn built_in(env: &Env) -> BTreeMap<String, Source> {
    let verifier = provider::preset(BUILT_IN).and_then(|preset| preset.verifier().ok());
    let Some(verifier) = verifier else { return BTreeMap::new() };
    let source = Source {
        name: BUILT_IN.to_owned(),
        verifier,
        verification: match env(BUILT_IN_SECRET) {
            Some(_) => Verification::Secrets(vec![SecretRef::Env(BUILT_IN_SECRET.to_owned())]),
            None => Verification::LocalOnly,
        },
        verify_token: None,
        allowed_origins: Vec::new(),
        allow: None,
        dedup_window: None,
        expect_every: None,
        ignores_repeated_body: false,
        further_path: None,
        methods: Vec::new(),
        answer: None,
        recover: None,
    };
    BTreeMap::from([(BUILT_IN.to_owned(), source)])
}

fn read(name: &str, keys: &mut Reader) -> Option<Source> {
    let preset = read_preset(keys);
    let verification = read_verification(keys, preset);
    let verifier = read_verifier(keys, preset);
    if keys.has_table("recover") && keys.has("id") {
        let message = "the provider lists its own ids, which are compared with those stored; remove id".to_owned();
        keys.refuse::<()>("recover", message);
    }
    let recover = keys.table("recover", |keys| recover::read(keys, preset));
    let methods = own_sender::methods(keys, verifier.as_ref(), verification.as_ref());
    Some(Source {
        name: name.to_owned(),
        verify_token: keys.get("verify_token", parsed),
        allowed_origins: keys.get_all("allowed_origins", owned_text).unwrap_or_default(),
        allow: keys.get_all("allow", parsed),
        dedup_window: keys.get("dedup_window", |v| duration(v, &DEDUP_WINDOW)),
        expect_every: keys.get("expect_every", |v| duration(v, &EXPECT_EVERY)),
        ignores_repeated_body: keys.get("repeated_body", ignore).is_some(),
        further_path: keys.get("path", own_sender::path),
        methods: methods.unwrap_or_default(),
        answer: own_sender::answer(keys, preset),
        recover: recover.flatten(),
        verifier: verifier?,
        verification: verification?,
    })
}

/// A sender that signs nothing needs no provider.
fn read_preset(keys: &mut Reader) -> Option<&'static Preset> {
    if !keys.has("provider") && keys.has("verify") && !keys.has("secret") && !keys.has_table("verify") {
        return provider::preset(UNSIGNED);
    }
    let advice = "write one of those that `hookbox providers` lists, or \"hmac\" or \"token\"; for a sender that signs \
                  nothing, verify = \"none\" is enough";
    keys.require("provider", advice, preset)
}

fn read_verifier(keys: &mut Reader, preset: Option<&'static Preset>) -> Option<Verifier> {
    let id = keys.get_all("id", value_format);
    let event = keys.get_all("event", value_format);
    let status = keys.get("status", |v| count(v, &STATUS)).and_then(|status| u16::try_from(status).ok());
    let public_url = keys.get("public_url", url);
    let mut verifier = match preset?.verifier() {
        Ok(verifier) => verifier,
        Err(wrong) => return keys.refuse("provider", wrong),
    };
    if keys.has_table("verify") {
        let is_custom = verifier.preset.custom.is_some();
        keys.table("verify", |keys| override_scheme(&mut verifier.scheme, keys));
        if is_custom {
            return keys
                .refuse("verify", "this provider's way to sign cannot be changed by keys; remove them".to_owned());
        }
    }
    verifier.id = id.unwrap_or(verifier.id);
    verifier.event = event.unwrap_or(verifier.event);
    verifier.status = status.unwrap_or(verifier.status);
    verifier.forms |= verifier.reads_forms();
    if verifier.needs_url() && !keys.has("public_url") {
        let why = "missing; this provider signs the address too: write it as you have entered it there";
        return keys.refuse("public_url", why.to_owned());
    }
    if verifier.scheme.signed.has(Variable::Id) && verifier.id.is_empty() {
        return keys.refuse("id", "missing; the signed text has {id}: write where the id is".to_owned());
    }
    verifier.public_url = public_url;
    Some(verifier)
}

/// Each key replaces the preset's.
fn override_scheme(scheme: &mut Scheme, keys: &mut Reader) {
    let ts = keys.get("ts", parsed);
    replace(&mut scheme.alg, keys.get("alg", keyword));
    replace(&mut scheme.sig, keys.get("sig", parsed));
    replace(
        &mut scheme.split,
        keys.get("split", owned_text).map(|split| Some(split).filter(|split| !split.is_empty())),
    );
    if let Some([prefix, others @ ..]) = keys.get_all("prefix", owned_text).as_deref() {
        scheme.has_own_prefix = true;
        scheme.prefix = prefix.clone();
        scheme.other_prefixes = others.to_vec();
    }
    replace(&mut scheme.enc, keys.get("enc", keyword));
    replace(&mut scheme.signed, keys.get("signed", parsed::<Format>));
    replace(&mut scheme.ts, ts.map(Some));
    replace(&mut scheme.timestamp_format, keys.get("ts_unit", keyword));
    replace(&mut scheme.tolerance, keys.get("tolerance", tolerance));
    replace(&mut scheme.tolerance_future, keys.get("tolerance_future", tolerance));
    replace(&mut scheme.key, keys.get("key", keyword));
    replace(&mut scheme.key_strip, keys.get("key_strip", owned_text));
    if let Err((key, message)) = scheme.check() {
        keys.refuse::<()>(key, message);
    }
}

fn replace<T>(into: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *into = value;
    }
}

fn read_verification(keys: &mut Reader, preset: Option<&'static Preset>) -> Option<Verification<SecretRef>> {
    let secrets = keys.get_all("secret", parsed);
    let none = if keys.has_table("verify") { None } else { keys.get("verify", verify_none) };
    let says_none = keys.has("verify") && !keys.has_table("verify");
    match (keys.has("secret"), says_none) {
        (true, false) => secrets.map(Verification::Secrets),
        (false, true) => none.map(|()| Verification::Nothing),
        (true, true) => keys.refuse("verify", "there is a secret too; remove one of the two".to_owned()),
        (false, false) if preset.is_some_and(Preset::sends_its_secret) => Some(Verification::Awaited),
        (false, false) => keys.refuse(
            "secret",
            "missing; write \"env:NAME\" or \"file:/path\", or verify = \"none\" to accept deliveries from anyone"
                .to_owned(),
        ),
    }
}

fn preset(value: &Value) -> Parsed<&'static Preset> {
    let name = text(value)?;
    if let Some(unsupported) = provider::unsupported(name) {
        return Err(format!("{} is not supported: {}; {}", unsupported.title, unsupported.why, unsupported.instead));
    }
    provider::preset(name).ok_or_else(|| provider::unknown(name))
}

fn value_format(value: &Value) -> Parsed<Format> {
    Format::parse_value(text(value)?)
}

fn keyword<T: Keyword>(value: &Value) -> Parsed<T> {
    T::parse(text(value)?)
}

/// A number is in seconds, as in the providers' documentation; `"off"` accepts deliveries of any age.
fn tolerance(value: &Value) -> Parsed<Option<Duration>> {
    match value {
        Value::String(text) if text == "off" => Ok(None),
        Value::Integer(seconds) => duration(&Value::String(format!("{seconds}s")), &TOLERANCE).map(Some),
        Value::String(_) => duration(value, &TOLERANCE).map(Some),
        other => Err(expected("seconds, a duration such as \"5m\", or \"off\"", other)),
    }
}

fn ignore(value: &Value) -> Parsed<()> {
    match text(value)? {
        "ignore" => Ok(()),
        other => Err(format!("{other:?} is unknown; write \"ignore\", or leave the key out to process every delivery")),
    }
}

fn url(value: &Value) -> Parsed<String> {
    let url = text(value)?;
    let is_url = ["https://", "http://"].iter().any(|scheme| url.len() > scheme.len() && url.starts_with(scheme));
    if is_url { Ok(url.to_owned()) } else { Err("not an address; write it with https://".to_owned()) }
}

fn verify_none(value: &Value) -> Parsed<()> {
    match text(value)? {
        "none" => Ok(()),
        other => Err(format!("{other:?} is unknown; write \"none\", or a secret instead, or a table of keys")),
    }
}
