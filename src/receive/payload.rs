//! Content becomes JSON: as received where it is JSON, represented by JSON where it is not.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::gzip::gunzip;
use super::rejection::Rejection;
use crate::config::GET;
use crate::event::headers;
use crate::http::Headers;
use crate::http::form::{Field, Form};
use crate::json;
use crate::provider::{Parts, REDACTED, Selector, Values, Verifier};

/// The payload of a request without content: programs that read payloads expect members.
const EMPTY: &str = "{}";

/// The method that is not stored, because it is the usual one.
const POST: &str = "POST";

/// A body as received and as decompressed.
pub(super) struct Content {
    received: Vec<u8>,
    /// `None` if it was not compressed.
    decompressed: Option<Vec<u8>>,
}

impl Content {
    /// Undoes the compression that the header fields name. Never makes more than `max_bytes` of a body.
    pub(super) fn decode(headers: &Headers, received: Vec<u8>, max_bytes: u64) -> Result<Content, Rejection> {
        let mut encodings = headers
            .all("Content-Encoding")
            .flat_map(|list| list.split(','))
            .map(str::trim)
            .filter(|encoding| !encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity"));
        let decompressed = match (encodings.next(), encodings.next()) {
            (None, _) => None,
            _ if received.is_empty() => None, // nothing was compressed
            (Some(encoding), None) if is_gzip(encoding) => Some(gunzip(&received, max_bytes)?),
            _ => return Err(Rejection::UnknownEncoding),
        };
        Ok(Content { received, decompressed })
    }

    pub(super) fn received(&self) -> &[u8] {
        &self.received
    }

    pub(super) fn decoded(&self) -> &[u8] {
        self.decompressed.as_deref().unwrap_or(&self.received)
    }

    pub(super) fn is_compressed(&self) -> bool {
        self.decompressed.is_some()
    }

    /// The payload to store, and also the bytes as received, if they differ from it. `Err` is for the sender.
    pub(super) fn into_stored(self, payload: Payload) -> Result<(String, Option<Vec<u8>>), &'static str> {
        let (json, body) = match (payload, self.decompressed) {
            (Payload::Represented(json), _) => return Ok((json, Some(self.received))),
            (Payload::Body, Some(json)) => (json, Some(self.received)),
            (Payload::Body, None) => (self.received, None),
        };
        let json = String::from_utf8(json).map_err(|_| NOT_UTF_8)?;
        Ok((json, body))
    }
}

/// `x-gzip` is the same (RFC 9110, section 8.4.1.3).
fn is_gzip(encoding: &str) -> bool {
    ["gzip", "x-gzip"].iter().any(|name| encoding.eq_ignore_ascii_case(name))
}

const NOT_UTF_8: &str = "the body is not UTF-8";

/// The payload of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Payload {
    /// The body is JSON, and is stored as received.
    Body,
    /// JSON that represents the body, or a part of it.
    Represented(String),
}

/// The payload of a body, by its `Content-Type`. `values` are those of the body. `Err` is for the sender.
///
/// JSON is stored as received, but without a byte order mark. Where the source takes forms, a form becomes an object of
/// strings, or is the JSON in its field `payload`. Other text becomes a string, other bytes `null`. Text that is a JSON
/// object or array is JSON, whichever type it has: it is sent as `text/plain`, as a report of a browser, by `curl -d`.
pub(super) fn payload(parts: &Parts<'_>, values: &Values) -> Result<Payload, &'static str> {
    if parts.body.is_empty() {
        return Ok(Payload::Represented(EMPTY.to_owned()));
    }
    if is_json(&parts.headers.media_type().to_ascii_lowercase()) {
        return match values.check_json() {
            Err(_) if json::is_utf16(parts.body) => Err("the body is UTF-16, and JSON is sent as UTF-8"),
            Err(wrong) => Err(wrong),
            Ok(()) => json_payload(parts.body),
        };
    }
    if let Some(form) = parts.form() {
        return form_payload(parts, form, values).map(Payload::Represented);
    }
    let is_json = json::begins_object_or_array(parts.body)
        && values.check_json().is_ok()
        && std::str::from_utf8(parts.body).is_ok();
    if is_json { json_payload(parts.body) } else { Ok(Payload::Represented(text_json(parts.body))) }
}

/// The older programs that read the database cannot read a byte order mark.
fn json_payload(body: &[u8]) -> Result<Payload, &'static str> {
    let json = json::without_bom(body);
    if json.len() == body.len() {
        return Ok(Payload::Body);
    }
    let json = std::str::from_utf8(json).map_err(|_| NOT_UTF_8)?;
    Ok(Payload::Represented(json.to_owned()))
}

fn form_payload(parts: &Parts<'_>, form: Form<'_>, values: &Values) -> Result<String, &'static str> {
    parts.check_alone()?;
    let Some(document) = values.document() else { return fields_json(form) };
    values.check_json()?;
    let bom_bytes = document.len() - json::without_bom(document.as_bytes()).len();
    Ok(document[bom_bytes..].to_owned())
}

fn text_json(body: &[u8]) -> String {
    let json = std::str::from_utf8(body).ok().and_then(|text| serde_json::to_string(text).ok());
    json.unwrap_or_else(|| "null".to_owned())
}

fn fields_json(form: Form<'_>) -> Result<String, &'static str> {
    let fields = form.fields().map_err(|error| error.text())?;
    let text = |field: &Field<'_>| Some((field.name().into_owned(), Value::from(field.text()?)));
    Ok(Value::Object(fields.iter().filter_map(text).collect()).to_string())
}

/// `application/json`, and by RFC 6839 every type with the suffix `+json`.
fn is_json(media_type: &str) -> bool {
    media_type == "application/json" || media_type == "text/json" || media_type.ends_with("+json")
}

/// The query that a sender of one's own has sent; that of any other is no part of a delivery.
pub(super) struct OwnQuery {
    /// As it came, without the parameters that carry the proof.
    text: String,
    method: String,
}

impl OwnQuery {
    /// `sharing` are those that may find their proof in it: `verifier`, and those of the sources that share the path.
    pub(super) fn of(parts: &Parts<'_>, verifier: &Verifier, sharing: &[&Verifier]) -> OwnQuery {
        let proves = |name: &str| {
            let mut proofs = sharing.iter().flat_map(|verifier| verifier.scheme.sig.places());
            proofs.any(|place| matches!(place, Selector::Query(proof) if proof == name))
        };
        let is_kept = |pair: &&str| !form_urlencoded::parse(pair.as_bytes()).any(|(name, _)| proves(&name));
        let is_own = verifier.preset.is_own_sender();
        let pairs = parts.query().split('&').filter(|pair| is_own && !pair.is_empty()).filter(is_kept);
        OwnQuery {
            text: pairs.collect::<Vec<_>>().join("&"),
            method: if is_own { parts.method.to_owned() } else { POST.to_owned() },
        }
    }

    /// The payload of a GET: an object of strings. A parameter that is repeated counts once, as in a form.
    pub(super) fn payload(&self) -> Option<Payload> {
        self.payload_bytes().map(|text| {
            let fields: Map<String, Value> =
                form_urlencoded::parse(text).map(|(name, value)| (name.into_owned(), value.into())).collect();
            Payload::Represented(Value::Object(fields).to_string())
        })
    }

    /// What a GET says.
    pub(super) fn payload_bytes(&self) -> Option<&[u8]> {
        (self.method == GET).then_some(self.text.as_bytes())
    }

    fn stored(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let method = (headers::METHOD, self.method.as_str(), self.method != POST);
        let query = (headers::QUERY, self.text.as_str(), !self.text.is_empty());
        [method, query]
            .into_iter()
            .filter(|(_, _, is_stored)| *is_stored)
            .map(|(name, text, _)| (name, text.as_bytes()))
    }
}

/// The header fields as one JSON object. Repeated ones are joined, as RFC 9110, section 5.3, allows; if one of them is
/// hidden, all of them are.
pub(super) fn headers_json(headers: &Headers, query: &OwnQuery, hides: impl Fn(&str, &str) -> bool) -> String {
    let mut fields: Vec<(&str, Cow<'_, [u8]>)> = Vec::new();
    for ((name, text), (_, bytes)) in headers.iter().zip(headers.bytes()) {
        let value = if hides(name, text) { REDACTED.as_bytes().into() } else { bytes };
        let known = fields.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name));
        let is_redacted = |value: &[u8]| value == REDACTED.as_bytes();
        match known {
            Some((_, joined)) if is_redacted(joined) || is_redacted(&value) => *joined = REDACTED.as_bytes().into(),
            Some((_, joined)) => joined.to_mut().extend_from_slice(&[b", ", &*value].concat()),
            None => fields.push((name, value)),
        }
    }
    headers::to_json(fields.iter().map(|(name, value)| (*name, &**value)).chain(query.stored()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::form::MAX_FIELDS;
    use crate::provider::{Reading, preset};

    /// Providers of which forms are read in each way.
    const PAYLOAD: &str = "token";
    const PAYLOAD_ALONE: &str = "gitea-form";
    const FIELDS: &str = "mailgun-routes";
    const NEVER: &str = "stripe";

    const FORM: &str = "application/x-www-form-urlencoded";

    fn of(content_type: &str, body: &[u8]) -> Result<(String, bool), &'static str> {
        of_form(PAYLOAD, content_type, body)
    }

    fn of_form(provider: &str, content_type: &str, body: &[u8]) -> Result<(String, bool), &'static str> {
        let headers = Headers::new(vec![("content-type".into(), content_type.into())]);
        let content = Content { received: body.to_vec(), decompressed: None };
        stored(content, &headers, provider).map(|(json, body)| (json, body.is_some()))
    }

    fn stored(content: Content, headers: &Headers, provider: &str) -> Result<(String, Option<Vec<u8>>), &'static str> {
        let reading = Reading::new(std::iter::empty(), None);
        let forms = preset(provider).unwrap().verifier().unwrap().form_use();
        let parts =
            Parts { method: "POST", target: "", headers, body: content.decoded(), forms, reading: Some(&reading) };
        let payload = payload(&parts, reading.values(&parts))?;
        content.into_stored(payload)
    }

    #[test]
    fn json_is_kept_to_the_letter() {
        let spaced = "{ \"b\" : 1.50,\n\"a\":\"\\u00e9\", \"b\": 2 }";
        for kind in ["application/json", "Application/JSON; charset=utf-8", "application/cloudevents+json"] {
            assert_eq!(of(kind, spaced.as_bytes()), Ok((spaced.to_owned(), false)), "{kind}");
        }
    }

    #[test]
    fn a_body_that_is_not_the_json_it_is_declared_to_be_is_malformed() {
        for body in [" ", "{", "{}{}", "nul", "{\"a\":\u{0}}", "'a'", "\u{feff}", "\u{feff}\u{feff}{}"] {
            assert!(of("application/json", body.as_bytes()).is_err(), "{body:?}");
        }
        assert_eq!(of("application/json", b"\"\xff\""), Err("the body is not UTF-8"));
    }

    #[test]
    fn json_is_stored_without_its_byte_order_mark_and_the_bytes_are_kept() {
        let with_mark = "\u{feff} {\"a\":\"\u{feff}\"}".as_bytes();
        let expected = Ok((" {\"a\":\"\u{feff}\"}".to_owned(), true));
        for kind in ["application/json; charset=utf-8", "text/plain", "", "application/octet-stream", FORM] {
            assert_eq!(of(kind, with_mark), expected, "{kind}");
        }
    }

    #[test]
    fn utf_16_is_refused_by_its_name() {
        let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        for text in ["\u{feff}{}", "{}"] {
            assert!(of("application/json", &utf16(text)).unwrap_err().contains("UTF-16"), "{text:?}");
        }
    }

    #[test]
    fn no_content_is_an_empty_object() {
        for kind in ["application/json", "", "text/plain", FORM] {
            assert_eq!(of(kind, b""), Ok(("{}".to_owned(), true)), "{kind}");
        }
    }

    #[test]
    fn text_that_is_json_is_json_whatever_its_type() {
        for kind in
            ["application/csp-report", "application/octet-stream", "text/xml", "", "multipart/form-data; boundary=b"]
        {
            assert_eq!(of(kind, b" {\"a\":[1]}"), Ok((" {\"a\":[1]}".to_owned(), false)), "{kind}");
        }
        for text in ["{\"a\":1}{}", "{", "123", "\"a\"", "null"] {
            let expected = serde_json::to_string(text).unwrap();
            assert_eq!(of("application/octet-stream", text.as_bytes()), Ok((expected, true)), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded_exactly() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(of("application/json", nested(128).as_bytes()).is_ok());
        assert_eq!(of("application/json", nested(129).as_bytes()), Err("the JSON is nested too deep"));
        assert_eq!(of("application/json", nested(10_000).as_bytes()), Err("the JSON is nested too deep"));
        let brackets_in_a_string = format!("[\"\\\"{}\"]", "[".repeat(200));
        assert!(of("application/json", brackets_in_a_string.as_bytes()).is_ok());
    }

    #[test]
    fn a_form_is_its_payload_or_its_fields() {
        let payload = "payload=%7B%22a%22%3A+%22%C3%A9%22%7D";
        for form in [payload.to_owned(), format!("{payload}&x=1"), format!("x=1&{payload}")] {
            assert_eq!(of(FORM, form.as_bytes()), Ok(("{\"a\": \"é\"}".to_owned(), true)), "{form}");
        }
        assert_eq!(of(FORM, b"payload=%EF%BB%BF%7B%7D"), Ok(("{}".to_owned(), true)));
        assert_eq!(of(FORM, b"payload=%5B1%5D"), Ok(("[1]".to_owned(), true)));
        assert_eq!(of(FORM, b"b=2+3&a=%26"), Ok(("{\"b\":\"2 3\",\"a\":\"&\"}".to_owned(), true)));
        assert_eq!(of(FORM, b"x=1&payload=%5B%5D"), Ok(("{\"x\":\"1\",\"payload\":\"[]\"}".to_owned(), true)));
        assert_eq!(of(FORM, b"payload=%7B"), Ok(("{\"payload\":\"{\"}".to_owned(), true)));
        assert_eq!(of(FORM, b"payload=7"), Ok(("{\"payload\":\"7\"}".to_owned(), true)));
        let deep = format!("payload={}{}", "[".repeat(129), "]".repeat(129));
        assert_eq!(of(FORM, deep.as_bytes()), Err("the JSON is nested too deep"));
    }

    #[test]
    fn of_a_form_only_what_is_signed_is_the_payload() {
        let signed = "payload=%7B%22a%22%3A1%7D";
        assert_eq!(of_form(PAYLOAD_ALONE, FORM, signed.as_bytes()), Ok(("{\"a\":1}".to_owned(), true)));
        for more in [format!("x=1&{signed}"), format!("{signed}&x=1"), format!("{signed}&")] {
            assert!(of_form(PAYLOAD_ALONE, FORM, more.as_bytes()).is_err(), "{more}");
        }
        let multipart = b"--b\r\nContent-Disposition: form-data; name=payload\r\n\r\n{\"a\":1}\r\n--b--\r\n";
        assert!(of_form(PAYLOAD_ALONE, "multipart/form-data; boundary=b", multipart).is_err());
        let fields = of_form(FIELDS, FORM, signed.as_bytes()).unwrap().0;
        assert_eq!(fields, r#"{"payload":"{\"a\":1}"}"#, "other fields are signed");
    }

    #[test]
    fn a_form_of_too_many_fields_is_refused() {
        let fields = |count: usize| "a&".repeat(count - 1) + "a";
        assert_eq!(of(FORM, fields(MAX_FIELDS).as_bytes()), Ok(("{\"a\":\"\"}".to_owned(), true)));
        assert_eq!(of(FORM, fields(MAX_FIELDS + 1).as_bytes()), Err("the form has more than 1000 fields"));
    }

    #[test]
    fn an_unsigned_content_type_alone_makes_no_form() {
        let issue = r#"{"title":"&payload={}&"}"#;
        for kind in [FORM, "multipart/form-data; boundary=b"] {
            assert_eq!(of(kind, issue.as_bytes()), Ok((issue.to_owned(), false)));
        }
        let (json, _) = of_form(NEVER, FORM, b"payload=%7B%7D").unwrap();
        assert_eq!(json, "\"payload=%7B%7D\"", "of a provider that sends no forms");
    }

    #[test]
    fn a_form_with_files_is_an_object_of_its_texts() {
        let body = b"--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--b\r\n\
                     Content-Disposition: form-data; name=\"f\"; filename=\"f\"\r\n\r\n\xff\r\n--b--\r\n";
        assert_eq!(of("multipart/form-data; boundary=b", body), Ok(("{\"a\":\"1\"}".to_owned(), true)));
    }

    #[test]
    fn other_content_is_represented_and_its_bytes_are_kept() {
        assert_eq!(of("text/plain", b"Hello, \"World\"\0"), Ok(("\"Hello, \\\"World\\\"\\u0000\"".to_owned(), true)));
        assert_eq!(of("text/plain", b" {\"Type\": 1}"), Ok((" {\"Type\": 1}".to_owned(), false)));
        assert_eq!(of("text/plain", b"{not json"), Ok(("\"{not json\"".to_owned(), true)));
        assert_eq!(of("application/octet-stream", b"\xff\x00"), Ok(("null".to_owned(), true)));
    }

    #[test]
    fn a_compressed_body_is_read_within_its_bound_and_kept_as_it_came() {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&[b'"'; 1]).unwrap();
        encoder.write_all(&[b'a'; 1000]).unwrap();
        encoder.write_all(&[b'"'; 1]).unwrap();
        let zipped = encoder.finish().unwrap();
        assert!(zipped.len() < 100);
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let headers = |encoding: &str| {
            Headers::new(vec![field("Content-Encoding", encoding), field("Content-Type", "application/json")])
        };
        let decode = |encoding, body: &[u8], max| Content::decode(&headers(encoding), body.to_vec(), max);
        let (json, body) = stored(decode("GZIP", &zipped, 1002).ok().unwrap(), &headers("gzip"), NEVER).unwrap();
        assert_eq!((json.len(), body.as_deref()), (1002, Some(&zipped[..])));
        assert!(matches!(decode("gzip", &zipped, 1001), Err(Rejection::TooLarge)));
        assert!(matches!(decode("gzip", &zipped[..30], 1002), Err(Rejection::Malformed(_))));
        assert!(matches!(decode("gzip", b"{}", 1002), Err(Rejection::Malformed(_))));
        assert!(matches!(decode("br", b"{}", 1002), Err(Rejection::UnknownEncoding)));
        assert!(matches!(decode("gzip, gzip", &zipped, 1002), Err(Rejection::UnknownEncoding)));
        assert!(decode("identity, GZIP", &zipped, 1002).is_ok() && decode("", b"{}", 1002).is_ok());
    }

    #[test]
    fn secret_headers_keep_only_their_name_and_repeated_ones_are_joined() {
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let headers = Headers::new(vec![
            field("X-GitLab-token", "hush"),
            field("X-A", "1"),
            field("x-a", "2"),
            field("authorization", "Bearer hush"),
            field("Authorization", "Basic aHVzaA=="),
            field("B", "1"),
            field("b", "hush"),
            field("b", "2"),
        ]);
        let hides = |name: &str, value: &str| crate::provider::is_secret_header(name) || value == "hush";
        let verifier = preset(NEVER).unwrap().verifier().unwrap();
        let parts = Parts {
            method: "POST",
            target: "/?a=1",
            headers: &headers,
            body: b"",
            forms: verifier.form_use(),
            reading: None,
        };
        let json = headers_json(&headers, &OwnQuery::of(&parts, &verifier, &[&verifier]), hides);
        let expected = r#"{"X-GitLab-token":"[redacted]","X-A":"1, 2","authorization":"[redacted]","B":"[redacted]"}"#;
        assert_eq!(json, expected, "also of repeated ones");
    }
}
