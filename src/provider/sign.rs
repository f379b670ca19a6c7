//! A delivery as the provider itself would send it, to try a set-up with.

use std::fmt;

use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::format::Inputs;
use super::scheme::Algorithm;
use super::selector::{Parts, Selector};
use super::{FORM, Format, Sample, Verifier, WithoutId};
use crate::clock::Timestamp;
use crate::http::Headers;
use crate::secret::Secret;

/// What stands where a provider has a text of its own, and the member that makes one of our bodies unlike the last.
const PLACEHOLDER: &str = "hookbox_send";

/// What the user has asked for; the rest is as in the provider's example.
#[derive(Debug)]
pub struct TestDelivery {
    pub event_type: Option<String>,
    pub id: Option<String>,
    pub body: Option<Vec<u8>>,
    /// The id if the user names none.
    pub new_id: String,
}

/// A request in the making.
#[derive(Clone, Debug)]
pub struct RequestBuilder {
    pub headers: Headers,
    pub body: Vec<u8>,
    /// What is to be added to the URL's query.
    pub query: Vec<(String, String)>,
    pub forms: bool,
    pub public_url: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum SignError {
    /// Only the provider has the key.
    PrivateKey,
    /// The provider puts something into the JSON, which this body is not.
    NoPlace(String),
}

impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SignError::PrivateKey => f.write_str(
                "this provider signs with a private key that only it has; use the test button in its settings instead",
            ),
            SignError::NoPlace(place) => {
                write!(f, "the body has no place for {place}, which belongs to this provider's deliveries")
            }
        }
    }
}

/// Makes a delivery, signed where there is a key.
pub fn draft(
    verifier: &Verifier,
    key: Option<&Secret>,
    wish: TestDelivery,
    now: Timestamp,
) -> Result<RequestBuilder, SignError> {
    let Sample { event_type, content_type, body } = verifier.preset.sample;
    let is_sample = wish.body.is_none();
    let content_type = wish.body.as_deref().map_or(content_type, |body| type_of(body, content_type, verifier.forms));
    let mut draft = RequestBuilder {
        headers: Headers::new(vec![("Content-Type".to_owned(), content_type.to_owned())]),
        body: wish.body.unwrap_or_else(|| body.as_bytes().to_vec()),
        query: Vec::new(),
        forms: verifier.forms,
        public_url: verifier.public_url.clone(),
    };
    let sample_type = wish.event_type.is_none().then_some(event_type);
    let event_type = wish.event_type.as_deref().or(sample_type).unwrap_or_default();
    let id = wish.id.as_deref().unwrap_or(&wish.new_id);
    let may_edit_id = is_sample || wish.id.is_some() || lacks_signed_id(verifier, &draft);
    draft.identify(&verifier.id, id, may_edit_id)?;
    if is_sample && verifier.id.is_empty() && verifier.without_id == WithoutId::Content {
        // It goes by its body: to try twice must be two deliveries.
        draft.set_member(PLACEHOLDER, id.into());
    }
    draft.identify(&verifier.event, event_type, is_sample || wish.event_type.is_some())?;
    match key {
        Some(key) => draft.signed(verifier, key, now),
        None => Ok(draft),
    }
}

/// Whether the id is a part of what is signed, and the body has none: then there is nothing to sign.
fn lacks_signed_id(verifier: &Verifier, draft: &RequestBuilder) -> bool {
    let is_signed = |id: &Selector| verifier.scheme.signed.selectors().any(|signed| signed == id);
    let ids = verifier.id.iter().filter_map(Format::selector);
    verifier.delivery_id(&draft.parts()).is_none() && ids.into_iter().any(is_signed)
}

/// What a user's own body is sent as: what the provider's is, as far as its looks allow.
fn type_of(body: &[u8], usual: &'static str, forms: bool) -> &'static str {
    let is_pairs = !body.is_empty() && body.iter().all(u8::is_ascii_graphic) && body.contains(&b'=');
    match std::str::from_utf8(body) {
        Err(_) => "application/octet-stream",
        Ok(text) if serde_json::from_str::<IgnoredAny>(text).is_ok() && usual == FORM => "application/json",
        Ok(text) if serde_json::from_str::<IgnoredAny>(text).is_ok() => usual,
        Ok(_) if forms && is_pairs => FORM,
        Ok(_) => "text/plain; charset=utf-8",
    }
}

impl RequestBuilder {
    pub fn parts(&self) -> Parts<'_> {
        Parts { method: "POST", target: "", headers: &self.headers, body: &self.body, forms: self.forms, scan: None }
    }

    pub fn set_header(&mut self, name: &str, value: &str) {
        let others = self.headers.iter().filter(|(have, _)| !have.eq_ignore_ascii_case(name));
        let others = others.map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.headers = Headers::new(others.chain([(name.to_owned(), value.to_owned())]).collect());
    }

    /// Changes the body, if it is JSON.
    pub fn edit_json(&mut self, edit: impl FnOnce(&mut Value)) {
        if let Ok(mut json) = serde_json::from_slice(&self.body) {
            edit(&mut json);
            self.body = json.to_string().into_bytes();
        }
    }

    fn set_member(&mut self, name: &str, value: Value) {
        self.edit_json(|json| {
            if let Some(fields) = json.as_object_mut() {
                fields.insert(name.to_owned(), value);
            }
        });
    }

    /// Puts an id or a type where it is looked for first. The user's own bytes are changed only where he says so.
    fn identify(&mut self, values: &[Format], text: &str, may_edit_body: bool) -> Result<(), SignError> {
        // Of an id made of several values the first is the one that tells deliveries apart.
        let is_there = |selector: &Selector| self.parts().first(selector).is_some();
        let complete = values.iter().find(|value| value.selectors().skip(1).all(is_there));
        let Some(value) = complete.or(values.first()).filter(|_| !text.is_empty()) else { return Ok(()) };
        let others =
            value.selectors().skip(1).filter(|selector| !is_there(selector)).map(|other| (other.main(), PLACEHOLDER));
        let first = value.selectors().take(1).map(|first| (first.main(), text));
        let places: Vec<(&Selector, &str)> = first.chain(others).collect();
        let is_in_body = |place: &Selector| !matches!(place, Selector::Header(_) | Selector::Query(_));
        if !may_edit_body && places.iter().any(|(place, _)| is_in_body(place)) {
            return Ok(());
        }
        places.into_iter().try_for_each(|(place, text)| self.put(place, text))
    }

    fn signed(mut self, verifier: &Verifier, key: &Secret, now: Timestamp) -> Result<RequestBuilder, SignError> {
        if let Some(code) = &verifier.preset.code {
            return (code.sign)(key, &mut self).map(|()| self);
        }
        let scheme = &verifier.scheme;
        let ts = scheme.ts_unit.write(now);
        let ts_item = match &scheme.ts {
            Some(Selector::Item(prefix)) => Some(format!("{prefix}{ts}")),
            Some(place) => self.put(place, &ts).map(|()| None)?,
            None => None,
        };
        let tag = {
            let id = verifier.id_as_given(&self.parts());
            let scope = Inputs {
                ts: Some(&ts),
                id: id.as_deref(),
                url: verifier.public_url.as_deref(),
                secret: Some(key.as_bytes()),
                ..Inputs::of(self.parts())
            };
            let message = scheme.signed.bytes(&scope).map_err(|(name, _)| SignError::NoPlace(name))?;
            scheme.alg.tag(key.as_bytes(), &message).ok_or(SignError::PrivateKey)?
        };
        let written = match scheme.alg {
            Algorithm::Token => String::from_utf8_lossy(&tag).into_owned(),
            _ => scheme.enc.encode(&tag),
        };
        let signature = format!("{}{written}", scheme.prefix);
        let separator = scheme.split.as_deref().unwrap_or_default();
        self.put(&scheme.sig, &ts_item.into_iter().chain([signature]).collect::<Vec<_>>().join(separator))?;
        Ok(self)
    }

    fn put(&mut self, place: &Selector, text: &str) -> Result<(), SignError> {
        let no_place = || SignError::NoPlace(place.to_string());
        match place.main() {
            Selector::Header(name) => self.set_header(name, text),
            Selector::Query(name) => self.query.push((name.clone(), text.to_owned())),
            Selector::Form(name) => {
                let old = std::mem::take(&mut self.body);
                let others = form_urlencoded::parse(&old).filter(|(have, _)| have != name);
                let mut form = form_urlencoded::Serializer::new(String::new());
                form.extend_pairs(others).append_pair(name, text);
                self.body = form.finish().into_bytes();
            }
            Selector::Json(pointer) => {
                let mut json = serde_json::from_slice(&self.body).map_err(|_| no_place())?;
                // A timestamp is a number for those who read it as one.
                let value = text.parse::<i64>().map_or_else(|_| Value::from(text), Value::from);
                *make(&mut json, pointer).ok_or_else(no_place)? = value;
                self.body = json.to_string().into_bytes();
            }
            Selector::Beside(_) => self.set_member(text, Value::Object(Map::new())),
            Selector::Item(_) | Selector::Any(_) => return Err(no_place()),
        }
        Ok(())
    }
}

/// The place that the pointer names, made if it is not there.
fn make<'a>(json: &'a mut Value, pointer: &str) -> Option<&'a mut Value> {
    pointer.split('/').skip(1).try_fold(json, |node, segment| {
        let index = segment.parse::<usize>();
        if node.is_null() {
            *node = if index.is_ok() { Value::Array(Vec::new()) } else { Value::Object(Map::new()) };
        }
        match node {
            Value::Object(fields) => {
                Some(fields.entry(segment.replace("~1", "/").replace("~0", "~")).or_insert(Value::Null))
            }
            Value::Array(items) => {
                let index = index.ok()?;
                if index == items.len() {
                    items.push(Value::Null);
                }
                items.get_mut(index)
            }
            _ => None,
        }
    })
}
