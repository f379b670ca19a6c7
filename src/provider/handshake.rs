//! Handshakes: requests by which a provider asks whether the address is meant for it. They are answered, and not stored.

use super::Verifier;
use super::format::{Format, Inputs};
use super::selector::{Absent, Parts, Selector};
use crate::digest;
use crate::secret::Secret;

/// The longest value that is sent back. Every provider's challenge is far shorter, and nobody else's text is.
const MAX_ECHO_BYTES: usize = 1024;

/// In `allowed_origins`: anybody may send.
const ANY_ORIGIN: &str = "*";

/// The longest token that a log shows. Those of Notion have 50 characters.
const MAX_TOKEN_BYTES: usize = 128;

/// The largest body that is looked at for a handshake, which most providers send unsigned. Theirs are under a kilobyte, and
/// every look reads all of the body.
const MAX_GREETING_BYTES: usize = 64 * 1024;

/// A kind of request that is answered without storing it: a part of an entry of the table.
#[derive(Debug)]
pub struct Handshake {
    pub method: &'static str,
    /// All of these must hold.
    pub when: &'static [(&'static str, Is)],
    pub proof: Proof,
    pub status: u16,
    pub kind: Kind,
    pub reply: &'static str,
    /// Of those with the same name the first that has its values.
    pub headers: &'static [(&'static str, &'static str)],
    /// What the operator is to know, as a template. Empty: nothing.
    pub tell: &'static str,
    /// Whether a request of that method which is no handshake is one of a wrong method (405), or refused (403).
    pub hides_method: bool,
}

/// When a handshake is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The provider does not sign it.
    Unsigned,
    /// It is signed as a delivery is.
    Signed,
    /// It brings the secret itself: only while there is none. Later it would be a stranger's.
    Secretless,
}

/// What a value in a handshake must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Is {
    Any,
    /// There must be none.
    Absent,
    /// A secret that may be shown: short, and nothing but visible ASCII.
    Token,
    Text(&'static str),
    /// The source's `verify_token`.
    VerifyToken,
    /// One of the source's `allowed_origins`, of which `*` is any.
    AllowedOrigin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No body at all.
    Empty,
    Text,
    /// Values are escaped as in a JSON string.
    Json,
}

/// What most handshakes are.
pub const HANDSHAKE: Handshake = Handshake {
    method: "POST",
    when: &[],
    proof: Proof::Unsigned,
    status: 200,
    kind: Kind::Empty,
    reply: "",
    headers: &[],
    tell: "",
    hides_method: false,
};

/// A [`Handshake`] made ready.
#[derive(Clone, Debug)]
pub struct PreparedHandshake {
    of: &'static Handshake,
    when: Vec<(Selector, Is)>,
    reply: Format,
    headers: Vec<(&'static str, Format)>,
    tell: Option<Format>,
}

/// What the source's config adds to its provider's handshakes.
#[derive(Clone, Debug, Default)]
pub struct HandshakeConfig {
    pub verify_token: Option<Secret>,
    pub allowed_origins: Vec<String>,
}

/// How far a request has come when it is met.
#[derive(Clone, Copy, Debug)]
pub enum Stage<'a> {
    /// Nothing of it is verified; `is_awaited` where nothing can be before the provider has brought the secret.
    Before { is_awaited: bool },
    /// It is verified, with the key that matched; `None` where the source asks for none.
    After(Option<&'a Secret>),
}

/// How a handshake is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
    /// For the operator.
    pub tell: Option<String>,
}

/// What a request is, as far as handshakes go.
#[derive(Debug, PartialEq, Eq)]
pub enum HandshakeResult {
    /// No handshake.
    Delivery,
    Handshake(Reply),
    /// It is one by its method or by what it says, and not as it should be.
    Refused,
    WrongMethod,
}

impl Handshake {
    pub(super) fn prepare(&'static self) -> Result<PreparedHandshake, String> {
        let when = self.when.iter().map(|(selector, is)| Ok((selector.parse()?, *is)));
        let headers = self.headers.iter().map(|(name, value)| Ok((*name, value.parse()?)));
        let tell = Some(self.tell).filter(|tell| !tell.is_empty());
        Ok(PreparedHandshake {
            of: self,
            when: when.collect::<Result<_, String>>()?,
            reply: self.reply.parse()?,
            headers: headers.collect::<Result<_, String>>()?,
            tell: tell.map(str::parse).transpose()?,
        })
    }
}

/// Judges a request before it is verified, and again after.
pub fn meet(verifier: &Verifier, parts: &Parts<'_>, known: &HandshakeConfig, stage: Stage<'_>) -> HandshakeResult {
    let is_small = parts.body.len() <= MAX_GREETING_BYTES;
    let mut greetings = verifier.handshakes.iter().filter(|prepared_handshake| {
        is_small && prepared_handshake.of.proof.is_due(stage) && prepared_handshake.of.method == parts.method
    });
    let scope = Inputs { secret: stage.key().map(Secret::as_bytes), ..Inputs::of(*parts) };
    let met: Vec<&PreparedHandshake> =
        greetings.clone().filter(|prepared_handshake| prepared_handshake.is_met(parts, known)).collect();
    if let Some(reply) = met.iter().find_map(|prepared_handshake| prepared_handshake.reply(&scope)) {
        return HandshakeResult::Handshake(reply);
    }
    match greetings.next() {
        // It says what it is, and has nothing that could be sent back.
        _ if !met.is_empty() => HandshakeResult::Refused,
        _ if parts.method == "POST" => HandshakeResult::Delivery,
        // What is not a POST can be nothing else.
        Some(prepared_handshake) if !prepared_handshake.of.hides_method => HandshakeResult::Refused,
        _ => HandshakeResult::WrongMethod,
    }
}

impl Proof {
    fn is_due(self, stage: Stage<'_>) -> bool {
        match (self, stage) {
            (Proof::Unsigned, Stage::Before { .. }) | (Proof::Signed, Stage::After(_)) => true,
            (Proof::Secretless, Stage::Before { is_awaited }) => is_awaited,
            (Proof::Secretless, Stage::After(key)) => key.is_none(),
            _ => false,
        }
    }
}

impl<'a> Stage<'a> {
    fn key(self) -> Option<&'a Secret> {
        match self {
            Stage::Before { .. } => None,
            Stage::After(key) => key,
        }
    }
}

/// Whether a handshake of the provider goes by that.
pub fn goes_by(verifier: &Verifier, is: Is) -> bool {
    verifier.handshakes.iter().flat_map(|prepared_handshake| &prepared_handshake.when).any(|(_, wanted)| *wanted == is)
}

/// The methods that a source takes.
pub fn methods(verifier: &Verifier) -> String {
    let mut methods = vec!["POST"];
    for prepared_handshake in
        verifier.handshakes.iter().filter(|prepared_handshake| !prepared_handshake.of.hides_method)
    {
        if !methods.contains(&prepared_handshake.of.method) {
            methods.push(prepared_handshake.of.method);
        }
    }
    methods.join(", ")
}

impl PreparedHandshake {
    fn is_met(&self, parts: &Parts<'_>, known: &HandshakeConfig) -> bool {
        self.when.iter().all(|(selector, is)| match parts.only(selector) {
            Ok(value) => is.met_by(&value, known),
            Err(absent) => *is == Is::Absent && absent == Absent::Missing,
        })
    }

    /// `None` where a value that is to be sent back is missing or not fit for it. A header without its value is left out.
    fn reply(&self, scope: &Inputs<'_>) -> Option<Reply> {
        let escape = |text: &str| match self.of.kind {
            Kind::Json => printable(text).map(|text| json_escaped(&text)),
            _ => printable(text),
        };
        let body = self.reply.text(scope, escape)?;
        let value = |template: &Format| template.text(scope, printable).filter(|value| value.is_ascii());
        let mut headers: Vec<(&'static str, String)> = Vec::new();
        for (name, template) in &self.headers {
            let is_there = headers.iter().any(|(have, _)| have == name);
            headers.extend(value(template).filter(|_| !is_there).map(|value| (*name, value)));
        }
        match self.of.kind {
            Kind::Empty => {}
            // The text is a stranger's: a browser must not take it for a page.
            Kind::Text => headers
                .extend([("Content-Type", "text/plain".to_owned()), ("X-Content-Type-Options", "nosniff".to_owned())]),
            Kind::Json => headers.push(("Content-Type", "application/json".to_owned())),
        }
        let tell =
            self.tell.as_ref().map(|tell| tell.text(scope, printable)).map_or(Some(None), |told| told.map(Some))?;
        Some(Reply { status: self.of.status, headers, body, tell })
    }
}

impl Is {
    fn met_by(self, value: &str, known: &HandshakeConfig) -> bool {
        match self {
            Is::Any => true,
            Is::Absent => false,
            Is::Token => value.len() <= MAX_TOKEN_BYTES && value.bytes().all(|byte| byte.is_ascii_graphic()),
            Is::Text(text) => value == text,
            Is::VerifyToken => {
                known.verify_token.as_ref().is_some_and(|token| digest::equal(token.as_bytes(), value.as_bytes()))
            }
            Is::AllowedOrigin => {
                known.allowed_origins.iter().any(|origin| origin == ANY_ORIGIN || origin.eq_ignore_ascii_case(value))
            }
        }
    }
}

fn printable(text: &str) -> Option<String> {
    let is_fit = text.len() <= MAX_ECHO_BYTES && !text.contains(char::is_control);
    is_fit.then(|| text.to_owned())
}

fn json_escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}
