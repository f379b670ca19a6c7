//! A delivery as the provider would send it, to test a set-up with.

use serde::de::IgnoredAny;

use super::algorithm::Algorithm;
use super::format::{Format, Inputs};
use super::preset::{Sample, WithoutId};
use super::request::{RequestBuilder, SignError};
use super::selector::{FORM, Selector};
use super::verifier::Verifier;
use crate::clock::Timestamp;
use crate::http::Headers;
use crate::secret::Secret;

/// Stands for values of the provider that do not matter, and names the member that makes each sample body unique.
const PLACEHOLDER: &str = "hookbox_send";

/// The user's choices; the rest is as in the preset's sample.
#[derive(Debug)]
pub struct TestDelivery {
    pub event_type: Option<String>,
    pub id: Option<String>,
    pub body: Option<Vec<u8>>,
    /// The id if the user names none.
    pub new_id: String,
}

impl TestDelivery {
    /// The request, signed if there is a key. The user's own body is changed only for an id or type that the user names,
    /// or that must be signed.
    pub fn build(self, verifier: &Verifier, key: Option<&Secret>, now: Timestamp) -> Result<RequestBuilder, SignError> {
        let sample = verifier.preset.sample_of(self.event_type.as_deref());
        let Sample { event_type: sample_type, content_type, body: sample_body } = *sample;
        let is_sample = self.body.is_none();
        let content_type =
            self.body.as_deref().map_or(content_type, |body| content_type_of(body, content_type, verifier.forms));
        let mut request = RequestBuilder {
            headers: Headers::new(vec![("Content-Type".to_owned(), content_type.to_owned())]),
            body: self.body.unwrap_or_else(|| sample_body.as_bytes().to_vec()),
            query: Vec::new(),
            forms: verifier.form_use(),
            public_url: verifier.public_url.clone(),
        };
        let id = self.id.as_deref().unwrap_or(&self.new_id);
        let may_edit_id = is_sample || self.id.is_some() || lacks_signed_id(verifier, &request);
        identify(&mut request, &verifier.id, id, may_edit_id)?;
        if is_sample && verifier.id.is_empty() && verifier.preset.without_id == WithoutId::Content {
            // Its body identifies it: two test deliveries must differ.
            request.set_member(PLACEHOLDER, id.into());
        }
        let event_type = self.event_type.as_deref().unwrap_or(sample_type);
        identify(&mut request, &verifier.event, event_type, is_sample || self.event_type.is_some())?;
        if let Some(key) = key {
            sign(&mut request, verifier, key, now)?;
        }
        Ok(request)
    }
}

/// Whether the id must be signed and the request has none, so that nothing can be signed.
fn lacks_signed_id(verifier: &Verifier, request: &RequestBuilder) -> bool {
    let is_signed = |id: &Selector| verifier.scheme.signed.selectors().any(|signed| signed == id);
    verifier.delivery_id(&request.parts()).is_none() && verifier.id.iter().filter_map(Format::selector).any(is_signed)
}

/// The content type of a user's own body: the provider's usual one if the body fits it.
fn content_type_of(body: &[u8], usual: &'static str, forms: bool) -> &'static str {
    let is_pairs = !body.is_empty() && body.iter().all(u8::is_ascii_graphic) && body.contains(&b'=');
    let is_json = serde_json::from_slice::<IgnoredAny>(body).is_ok();
    match std::str::from_utf8(body) {
        Err(_) => "application/octet-stream",
        Ok(_) if is_json && usual == FORM => "application/json",
        Ok(_) if is_json => usual,
        Ok(_) if forms && is_pairs => FORM,
        Ok(_) => "text/plain; charset=utf-8",
    }
}

/// Puts an id or an event type where it is read first.
fn identify(
    request: &mut RequestBuilder,
    formats: &[Format],
    text: &str,
    may_edit_body: bool,
) -> Result<(), SignError> {
    let is_there = |selector: &Selector| request.parts().first(selector).is_some();
    let fits = |selector: &Selector| request.parts().is_form() || !matches!(selector.main(), Selector::Form(_));
    // Of an id composed of several values, the first is the one that distinguishes deliveries.
    let is_usual = |format: &&Format| format.selectors().take(1).all(fits) && format.selectors().skip(1).all(is_there);
    let Some(format) = formats.iter().find(is_usual).or(formats.first()).filter(|_| !text.is_empty()) else {
        return Ok(());
    };
    let first = format.selectors().take(1).map(|first| (first.main(), text));
    let missing = format.selectors().skip(1).filter(|selector| !is_there(selector));
    let values: Vec<(&Selector, &str)> = first.chain(missing.map(|other| (other.main(), PLACEHOLDER))).collect();
    let is_in_body = |selector: &Selector| !matches!(selector, Selector::Header(_) | Selector::Query(_));
    if !may_edit_body && values.iter().any(|(selector, _)| is_in_body(selector)) {
        return Ok(());
    }
    values.into_iter().try_for_each(|(selector, text)| request.put(selector, text))
}

fn sign(request: &mut RequestBuilder, verifier: &Verifier, key: &Secret, now: Timestamp) -> Result<(), SignError> {
    if let Some(custom) = &verifier.preset.custom {
        return (custom.sign)(key, request);
    }
    let scheme = &verifier.scheme;
    let ts = scheme.timestamp_format.write(now);
    let ts_item = match &scheme.ts {
        Some(Selector::Item(prefix)) => Some(format!("{prefix}{ts}")),
        Some(selector) => request.put(selector, &ts).map(|()| None)?,
        None => None,
    };
    let tag = tag(request, verifier, key, &ts)?;
    let written = match scheme.alg {
        Algorithm::Token => String::from_utf8_lossy(&tag).into_owned(),
        _ => scheme.enc.encode(&tag),
    };
    let signature = format!("{}{written}", scheme.prefix_at(scheme.sig.main()));
    let separator = scheme.split.as_deref().unwrap_or_default();
    request.put(&scheme.sig, &ts_item.into_iter().chain([signature]).collect::<Vec<_>>().join(separator))
}

fn tag(request: &RequestBuilder, verifier: &Verifier, key: &Secret, ts: &str) -> Result<Vec<u8>, SignError> {
    let id = verifier.raw_id(&request.parts());
    let inputs = Inputs {
        ts: Some(ts),
        id: id.as_deref(),
        url: verifier.public_url.as_deref(),
        secret: Some(key.as_bytes()),
        ..Inputs::of(request.parts())
    };
    let message = verifier.scheme.signed.bytes(&inputs).map_err(|(name, _)| SignError::NoPlace(name))?;
    verifier.scheme.alg.tag(key.as_bytes(), &message).ok_or(SignError::PrivateKey)
}
