//! Handshakes: requests by which a provider tests the address before it sends deliveries. They are answered and not stored.

use super::format::{Format, Inputs};
use super::parts::{Absent, Parts};
use super::selector::Selector;
use crate::digest;
use crate::secret::Secret;

/// The longest value that is sent back; every provider's challenge is far shorter.
const MAX_ECHO_BYTES: usize = 1024;

/// In `allowed_origins`: any origin.
const ANY_ORIGIN: &str = "*";

/// The longest token that is logged. Those of Notion have 50 characters.
const MAX_TOKEN_BYTES: usize = 128;

/// Every source answers it.
pub const HEAD: &str = "HEAD";

/// The largest body that is tested for a handshake. Most providers send handshakes unsigned and smaller than a kilobyte, and
/// each test reads the whole body.
const MAX_HANDSHAKE_BYTES: usize = 64 * 1024;

/// A kind of request that is answered without storing it: a part of an entry of the table.
#[derive(Debug)]
pub struct Handshake {
    pub method: &'static str,
    /// By selector. All must hold.
    pub when: &'static [(&'static str, Condition)],
    pub signing: Signing,
    pub status: u16,
    pub body_type: BodyType,
    pub reply: &'static str,
    /// Of several with the same name, the first whose values are present is sent.
    pub headers: &'static [(&'static str, &'static str)],
    /// A message for the operator's log, as a format; empty for none.
    pub notice: &'static str,
    /// The answer to any other request with that method: 405 if true, 403 if not.
    pub else_wrong_method: bool,
}

/// How a handshake is authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {
    Unsigned,
    /// Like a delivery.
    Signed,
    /// It contains the secret itself, and is accepted only while the source has none: later, anyone could have sent it.
    SendsSecret,
}

/// A condition on a value in a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Present,
    Absent,
    /// A secret that can be logged: short, and visible ASCII only.
    Token,
    Equals(&'static str),
    /// The source's `verify_token`.
    VerifyToken,
    /// One of the source's `allowed_origins`; `*` allows any.
    AllowedOrigin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyType {
    Empty,
    Text,
    /// Values are escaped as in a JSON string.
    Json,
}

/// The values that most handshakes share.
pub const HANDSHAKE: Handshake = Handshake {
    method: "POST",
    when: &[],
    signing: Signing::Unsigned,
    status: 200,
    body_type: BodyType::Empty,
    reply: "",
    headers: &[],
    notice: "",
    else_wrong_method: false,
};

/// A [`Handshake`] with its selectors and formats parsed.
#[derive(Clone, Debug)]
pub struct PreparedHandshake {
    handshake: &'static Handshake,
    when: Vec<(Selector, Condition)>,
    reply: Format,
    headers: Vec<(&'static str, Format)>,
    notice: Format,
}

/// The settings of a source for its provider's handshakes.
#[derive(Clone, Debug, Default)]
pub struct HandshakeConfig {
    pub verify_token: Option<Secret>,
    pub allowed_origins: Vec<String>,
}

/// Whether the request has been verified when it is tested for a handshake.
#[derive(Clone, Copy, Debug)]
pub enum AuthState<'a> {
    /// Not yet. `awaits_secret`: it cannot be, because the source waits for the provider to send its secret.
    Unverified { awaits_secret: bool },
    /// It has, with this key; `None` if the source verifies nothing.
    Verified(Option<&'a Secret>),
}

/// How a handshake is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
    /// For the operator's log.
    pub notice: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum HandshakeResult {
    /// Not a handshake.
    Delivery,
    Handshake(Reply),
    /// A handshake by its method or its values, but not a valid one.
    Refused,
    WrongMethod,
}

impl Handshake {
    pub(super) fn prepare(&'static self) -> Result<PreparedHandshake, String> {
        let when = self.when.iter().map(|(selector, condition)| Ok((selector.parse()?, *condition)));
        let headers = self.headers.iter().map(|(name, value)| Ok((*name, value.parse()?)));
        Ok(PreparedHandshake {
            handshake: self,
            when: when.collect::<Result<_, String>>()?,
            reply: self.reply.parse()?,
            headers: headers.collect::<Result<_, String>>()?,
            notice: self.notice.parse()?,
        })
    }
}

/// Tests a request for a handshake: called before it is verified, and again afterwards.
pub fn answer_handshake(
    handshakes: &[PreparedHandshake],
    parts: &Parts<'_>,
    config: &HandshakeConfig,
    state: AuthState<'_>,
) -> HandshakeResult {
    let is_small = parts.body.len() <= MAX_HANDSHAKE_BYTES;
    let is_candidate = |candidate: &&PreparedHandshake| {
        is_small && candidate.handshake.signing.is_due(state) && candidate.handshake.method == parts.method
    };
    let candidates: Vec<&PreparedHandshake> = handshakes.iter().filter(is_candidate).collect();
    let matching: Vec<_> = candidates.iter().filter(|candidate| candidate.matches(parts, config)).collect();
    let key = if let AuthState::Verified(key) = state { key } else { None };
    let inputs = Inputs { secret: key.map(Secret::as_bytes), ..Inputs::of(*parts) };
    if let Some(reply) = matching.iter().find_map(|handshake| handshake.reply(&inputs)) {
        return HandshakeResult::Handshake(reply);
    }
    match candidates.first() {
        // It matches, and has no valid value to send back.
        _ if !matching.is_empty() => HandshakeResult::Refused,
        _ if parts.method == "POST" => HandshakeResult::Delivery,
        // Any other method is for handshakes only.
        Some(candidate) if !candidate.handshake.else_wrong_method => HandshakeResult::Refused,
        _ => HandshakeResult::WrongMethod,
    }
}

/// The methods that a source accepts, as the value of an `Allow` header.
pub fn allowed_methods(handshakes: &[PreparedHandshake]) -> String {
    let of_handshakes = handshakes.iter().map(|prepared| prepared.handshake).filter(|it| !it.else_wrong_method);
    let mut methods = vec!["POST"];
    for method in of_handshakes.map(|handshake| handshake.method).chain([HEAD]) {
        if !methods.contains(&method) {
            methods.push(method);
        }
    }
    methods.join(", ")
}

/// Whether a request with that method can be a handshake.
pub fn has_method(handshakes: &[PreparedHandshake], method: &str) -> bool {
    handshakes.iter().any(|prepared| prepared.handshake.method == method)
}

impl Reply {
    /// 200, and nothing else.
    pub fn empty() -> Reply {
        Reply { status: 200, headers: Vec::new(), body: String::new(), notice: None }
    }
}

impl Signing {
    /// Whether such a handshake is accepted in this state.
    fn is_due(self, state: AuthState<'_>) -> bool {
        match (self, state) {
            (Signing::Unsigned, AuthState::Unverified { .. }) | (Signing::Signed, AuthState::Verified(_)) => true,
            (Signing::SendsSecret, AuthState::Unverified { awaits_secret }) => awaits_secret,
            (Signing::SendsSecret, AuthState::Verified(key)) => key.is_none(),
            _ => false,
        }
    }
}

impl PreparedHandshake {
    /// All selectors of which it may need the value.
    pub(super) fn selectors(&self) -> impl Iterator<Item = &Selector> {
        let formats = self.headers.iter().map(|(_, format)| format).chain([&self.reply, &self.notice]);
        self.when.iter().map(|(selector, _)| selector).chain(formats.flat_map(Format::selectors))
    }

    pub fn has(&self, condition: Condition) -> bool {
        self.when.iter().any(|(_, required)| *required == condition)
    }

    fn matches(&self, parts: &Parts<'_>, config: &HandshakeConfig) -> bool {
        self.when.iter().all(|(selector, condition)| match parts.only(selector) {
            Ok(value) => condition.holds_for(&value, config),
            Err(absent) => *condition == Condition::Absent && absent == Absent::Missing,
        })
    }

    /// `None` if a value to send back is missing or not printable. A header without its value is left out.
    fn reply(&self, inputs: &Inputs<'_>) -> Option<Reply> {
        let escape = |text: &str| match self.handshake.body_type {
            BodyType::Json => printable(text).map(|text| json_escaped(&text)),
            _ => printable(text),
        };
        let body = self.reply.text(inputs, escape)?;
        let notice = Some(self.notice.text(inputs, printable)?).filter(|notice| !notice.is_empty());
        Some(Reply { status: self.handshake.status, headers: self.reply_headers(inputs), body, notice })
    }

    fn reply_headers(&self, inputs: &Inputs<'_>) -> Vec<(&'static str, String)> {
        let mut headers: Vec<(&'static str, String)> = Vec::new();
        for (name, format) in &self.headers {
            let value = format.text(inputs, printable).filter(|value| value.is_ascii());
            if let Some(value) = value
                && !headers.iter().any(|(present, _)| present == name)
            {
                headers.push((*name, value));
            }
        }
        match self.handshake.body_type {
            BodyType::Empty => {}
            // The text is the client's: a browser must not take it for a page.
            BodyType::Text => headers
                .extend([("Content-Type", "text/plain".to_owned()), ("X-Content-Type-Options", "nosniff".to_owned())]),
            BodyType::Json => headers.push(("Content-Type", "application/json".to_owned())),
        }
        headers
    }
}

impl Condition {
    fn holds_for(self, value: &str, config: &HandshakeConfig) -> bool {
        match self {
            Condition::Present => true,
            Condition::Absent => false,
            Condition::Token => value.len() <= MAX_TOKEN_BYTES && value.bytes().all(|byte| byte.is_ascii_graphic()),
            Condition::Equals(text) => value == text,
            Condition::VerifyToken => {
                config.verify_token.as_ref().is_some_and(|token| digest::equal(token.as_bytes(), value.as_bytes()))
            }
            Condition::AllowedOrigin => {
                config.allowed_origins.iter().any(|origin| origin == ANY_ORIGIN || origin.eq_ignore_ascii_case(value))
            }
        }
    }
}

fn printable(text: &str) -> Option<String> {
    let is_printable = text.len() <= MAX_ECHO_BYTES && !text.contains(char::is_control);
    is_printable.then(|| text.to_owned())
}

fn json_escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}
