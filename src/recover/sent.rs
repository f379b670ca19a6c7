//! The request that a provider has sent, as its API returns it: new JSON, so that its signature need not match.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::event::{Delivery, MAX_IDENTIFIER_BYTES, headers};
use crate::http::Headers;
use crate::provider::{self, Parts, REDACTED, SentRequest, Verifier};

const CONTENT_TYPE: &str = "content-type";

/// Fields that describe other bytes than those that are stored.
const OF_OTHER_BYTES: [&str; 4] = [CONTENT_TYPE, "content-length", "content-encoding", "transfer-encoding"];

/// A part of the name of each field that carries a signature.
const SIGNATURE: &str = "signature";

/// The event type of a request that names none.
const UNKNOWN_EVENT: &str = "unknown";

#[derive(Clone, Debug)]
pub struct Sent {
    headers: Headers,
    body: String,
    /// The provider has not kept its body.
    pub is_lost: bool,
}

/// The members of a JSON object, each as it is written.
pub struct Object<'j>(BTreeMap<String, &'j RawValue>);

impl<'j> Object<'j> {
    pub fn of(json: &'j str) -> Option<Object<'j>> {
        serde_json::from_str(json).ok().map(Object)
    }

    /// The text of a value within it, by a JSON pointer without escapes.
    pub fn at(&self, pointer: &str) -> Option<&'j str> {
        let (name, rest) = pointer.strip_prefix('/').map(|path| path.split_once('/').unwrap_or((path, "")))?;
        let value = self.0.get(name)?.get();
        if rest.is_empty() { Some(value) } else { Object::of(value)?.at(&format!("/{rest}")) }
    }

    /// A string, or another scalar as it is written.
    pub fn text(&self, pointer: &str) -> Option<String> {
        let value = self.at(pointer)?;
        match value.as_bytes().first()? {
            b'"' => serde_json::from_str(value).ok(),
            b'{' | b'[' | b'n' => None,
            _ => Some(value.to_owned()),
        }
    }
}

impl Sent {
    /// `json` is an item of a list, or what is returned for it alone.
    pub fn of(request: &SentRequest, json: &str) -> Option<Sent> {
        let object = Object::of(json)?;
        let body = if request.body.is_empty() { json } else { object.at(request.body)? };
        let is_lost =
            body == "null" || request.not_kept.is_some_and(|it| Object::of(body).is_some_and(|o| o.at(it).is_some()));
        let fields = request.fields.and_then(|pointer| object.at(pointer)).and_then(Object::of);
        let mut headers = vec![(CONTENT_TYPE.to_owned(), "application/json".to_owned())];
        for (name, value) in fields.iter().flat_map(|fields| &fields.0) {
            let value = match serde_json::from_str(value.get()) {
                Ok(Value::String(text)) => text,
                _ => value.get().to_owned(),
            };
            let lower = name.to_ascii_lowercase();
            if !OF_OTHER_BYTES.contains(&&*lower) && !lower.contains(SIGNATURE) {
                headers.push((name.clone(), value));
            }
        }
        Some(Sent { headers: Headers::new(headers), body: body.to_owned(), is_lost })
    }

    /// How much memory it takes.
    pub fn bytes(&self) -> usize {
        self.body.len()
    }

    /// The id and the event type that the source reads from it.
    pub fn id_and_type(&self, verifier: &Verifier) -> (Option<String>, Option<String>) {
        self.read(verifier, |parts| (verifier.delivery_id(parts), verifier.event_type(parts)))
    }

    /// What is stored. `Err` says why it cannot be.
    pub fn into_delivery(
        self,
        source: &str,
        verifier: &Verifier,
        id: &str,
        now: Timestamp,
    ) -> Result<Delivery, String> {
        if self.is_lost {
            return Err("its content is not kept, because it was too large".to_owned());
        }
        let is_json =
            self.read(verifier, |parts| parts.reading.map_or(Ok(()), |reading| reading.values(parts).check_json()));
        is_json.map_err(str::to_owned)?;
        let event_type = self.id_and_type(verifier).1.unwrap_or_else(|| UNKNOWN_EVENT.to_owned());
        for identifier in [id, &event_type] {
            if identifier.len() > MAX_IDENTIFIER_BYTES || identifier.contains(char::is_control) {
                return Err("its id or event type is not one that can be stored".to_owned());
            }
        }
        let fields = self.headers.iter().map(|(name, value)| {
            let is_secret = provider::is_secret_header(name) || value.eq_ignore_ascii_case(REDACTED);
            (name, if is_secret { REDACTED.as_bytes() } else { value.as_bytes() })
        });
        let headers_json = headers::to_json(fields);
        let delivery = Delivery::of_own(source, &event_type, id.to_owned(), self.body, now);
        Ok(Delivery { headers_json, ..delivery })
    }

    fn read<T>(&self, verifier: &Verifier, read: impl FnOnce(&Parts<'_>) -> T) -> T {
        let reading = verifier.reading(None);
        let (headers, body) = (&self.headers, self.body.as_bytes());
        let forms = verifier.form_use();
        read(&Parts { method: "POST", target: "", headers, body, forms, reading: Some(&reading) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_by_its_pointer_as_it_is_written() {
        let object = Object::of(r#"{"a":{"b":1.50,"c":"x\n","d":null},"e":[1]}"#).unwrap();
        assert_eq!(object.at("/a/b"), Some("1.50"));
        assert_eq!(object.text("/a/c").as_deref(), Some("x\n"));
        assert_eq!(
            (object.text("/a/d"), object.text("/e"), object.at("/a/x"), object.at("/-")),
            (None, None, None, None)
        );
    }

    #[test]
    fn a_signature_is_left_out_and_a_secret_is_redacted() {
        let request = SentRequest { path: None, fields: Some("/h"), body: "/b", not_kept: Some("/oversize") };
        let verifier = provider::preset("github").unwrap().verifier().unwrap();
        let delivery_of = |sent: Sent| sent.into_delivery("hub", &verifier, "guid", crate::clock::now());
        let json = r#"{"h":{"X-Hub-Signature-256":"sha256=1","Content-Type":"application/x-www-form-urlencoded",
            "X-GitHub-Event":"push","X-Gitlab-Token":"[REDACTED]"},"b":{"n": 1.0}}"#;
        let sent = Sent::of(&request, json).unwrap();
        let delivery = delivery_of(sent).unwrap();
        assert_eq!((&*delivery.payload_json, &*delivery.event_type), (r#"{"n": 1.0}"#, "push"));
        let expected = r#"{"content-type":"application/json","X-GitHub-Event":"push","X-Gitlab-Token":"[redacted]"}"#;
        assert_eq!(delivery.headers_json, expected);
        for not_kept in [r#"{"b":null}"#, r#"{"b":{"oversize":true}}"#] {
            let sent = Sent::of(&request, not_kept).unwrap();
            assert!(delivery_of(sent).is_err(), "{not_kept}");
        }
    }
}
