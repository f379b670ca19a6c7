//! Content becomes JSON: as received where it is JSON, represented by JSON where it is not.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::MultiGzDecoder;
use serde_json::{Map, Value};

use super::rejection::Rejection;
use crate::http::Headers;
use crate::http::form::{FORM, Form};
use crate::json::{self, Scan};
use crate::provider::{Parts, REDACTED};

/// Types under which JSON is sent by mistake: by Amazon's notifications, by scripts, by `curl -d` without another type.
const TEXT_TYPES: [&str; 3] = ["", "text/plain", FORM];

/// A form with more fields is stored as text: an object of millions of fields takes thirty times the size of the body, and
/// anyone can send one to a source that verifies nothing.
const MAX_FORM_FIELDS: usize = 10_000;

/// A body as received and as decompressed.
pub(super) struct Content {
    received: Vec<u8>,
    /// `None` if it was not compressed.
    decompressed: Option<Vec<u8>>,
}

impl Content {
    /// Undoes the compression that the header fields name. Never makes more than `max_bytes` of a body.
    pub(super) fn decode(headers: &Headers, received: Vec<u8>, max_bytes: u64) -> Result<Content, Rejection> {
        let mut encodings =
            headers.all("Content-Encoding").filter(|encoding| !encoding.eq_ignore_ascii_case("identity"));
        let decompressed = match (encodings.next(), encodings.next()) {
            (None, _) => None,
            (Some(encoding), None) if is_gzip(encoding) => Some(gunzip(&received, max_bytes)?),
            _ => return Err(Rejection::Malformed("the content encoding is not supported")),
        };
        Ok(Content { received, decompressed })
    }

    pub(super) fn received(&self) -> &[u8] {
        &self.received
    }

    pub(super) fn decoded(&self) -> &[u8] {
        self.decompressed.as_deref().unwrap_or(&self.received)
    }

    /// The body to store: the JSON that [`represent`] has returned, or else the body itself; and also the bytes as
    /// received, if they differ from it. `Err` is for the sender.
    pub(super) fn into_stored(
        self,
        json: Option<String>,
        scan: &Scan<'_>,
    ) -> Result<(String, Option<Vec<u8>>), &'static str> {
        let (json, body) = match (json, self.decompressed) {
            (Some(json), _) => return Ok((json, Some(self.received))),
            (None, Some(json)) => (json, Some(self.received)),
            (None, None) => (self.received, None),
        };
        let json = String::from_utf8(json).map_err(|_| "the body is not UTF-8")?;
        check(scan)?;
        Ok((json, body))
    }
}

/// `x-gzip` is the same (RFC 9110, section 8.4.1.3).
fn is_gzip(encoding: &str) -> bool {
    ["gzip", "x-gzip"].iter().any(|name| encoding.eq_ignore_ascii_case(name))
}

fn gunzip(received: &[u8], max_bytes: u64) -> Result<Vec<u8>, Rejection> {
    let mut body = Vec::new();
    let read = MultiGzDecoder::new(received).take(max_bytes.saturating_add(1)).read_to_end(&mut body);
    read.map_err(|_| Rejection::Malformed("the body is not gzip"))?;
    if body.len() as u64 > max_bytes {
        return Err(Rejection::TooLarge);
    }
    Ok(body)
}

/// The JSON that represents a body, by its `Content-Type`; `None` where the body itself is JSON. `scan` is that of the
/// `form_payload`, or of the body if there is none. `Err` is for the sender.
///
/// JSON is stored as received. Where the source takes forms, a form becomes an object of strings; if its first field is
/// `payload` and holds JSON, that JSON. Other text becomes a string, other bytes `null`. Text that is a JSON object or array
/// is taken as JSON, whichever of [`TEXT_TYPES`] it has.
pub(super) fn represent(
    parts: &Parts<'_>,
    form_payload: Option<Cow<'_, str>>,
    scan: &Scan<'_>,
) -> Result<Option<String>, &'static str> {
    let media_type = parts.headers.media_type().to_ascii_lowercase();
    if is_json(&media_type) {
        return Ok(None);
    }
    if let Some(form) = parts.form() {
        return match form_payload {
            _ if form.fields().nth(MAX_FORM_FIELDS).is_some() => Ok(Some(text_json(parts.body))),
            Some(payload) if scan.is_json => check(scan).map(|()| Some(payload.into_owned())),
            _ => Ok(Some(fields_json(form))),
        };
    }
    let is_json = TEXT_TYPES.contains(&media_type.as_str())
        && json::begins_object_or_array(parts.body)
        && check(scan).is_ok()
        && std::str::from_utf8(parts.body).is_ok();
    Ok((!is_json).then(|| text_json(parts.body)))
}

fn text_json(body: &[u8]) -> String {
    let json = std::str::from_utf8(body).ok().and_then(|text| serde_json::to_string(text).ok());
    json.unwrap_or_else(|| "null".to_owned())
}

fn fields_json(form: Form<'_>) -> String {
    let fields: Map<String, Value> = form.fields().map(|(name, value)| (name.into_owned(), value.into())).collect();
    Value::Object(fields).to_string()
}

fn check(scan: &Scan<'_>) -> Result<(), &'static str> {
    match scan {
        Scan { is_json: false, .. } => Err("the body is not JSON"),
        Scan { depth, .. } if *depth > json::MAX_DEPTH => Err("the JSON is nested too deep"),
        _ => Ok(()),
    }
}

/// `application/json`, and by RFC 6839 every type with the suffix `+json`.
fn is_json(media_type: &str) -> bool {
    media_type == "application/json" || media_type == "text/json" || media_type.ends_with("+json")
}

/// The header fields as one JSON object. Repeated ones are joined, as RFC 9110, section 5.3, allows; if one of them is hidden,
/// all of them are.
pub(super) fn headers_json(headers: &Headers, hides: impl Fn(&str, &str) -> bool) -> String {
    let mut object = Map::new();
    for (name, value) in headers.iter() {
        let value = if hides(name, value) { REDACTED } else { value };
        let known = object.iter_mut().find(|(key, _)| key.eq_ignore_ascii_case(name));
        match known {
            Some((_, Value::String(joined))) if *joined == REDACTED || value == REDACTED => REDACTED.clone_into(joined),
            Some((_, Value::String(joined))) => *joined = format!("{joined}, {value}"),
            _ => drop(object.insert(name.to_owned(), value.into())),
        }
    }
    Value::Object(object).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(content_type: &str, body: &[u8]) -> Result<(String, bool), &'static str> {
        let headers = Headers::new(vec![("content-type".into(), content_type.into())]);
        let content = Content { received: body.to_vec(), decompressed: None };
        stored(content, &headers, true).map(|(json, body)| (json, body.is_some()))
    }

    fn stored(content: Content, headers: &Headers, forms: bool) -> Result<(String, Option<Vec<u8>>), &'static str> {
        let parts = Parts { method: "POST", target: "", headers, body: content.decoded(), forms, scan: None };
        let form_payload = parts.form().and_then(Form::payload);
        let scan = json::scan(form_payload.as_deref().map_or(parts.body, str::as_bytes), []);
        let json = represent(&parts, form_payload, &scan)?;
        content.into_stored(json, &scan)
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
        for body in ["", " ", "{", "{}{}", "nul", "{\"a\":\u{0}}", "'a'", "\u{feff}{}"] {
            assert!(of("application/json", body.as_bytes()).is_err(), "{body:?}");
        }
        assert_eq!(of("application/json", b"\"\xff\""), Err("the body is not UTF-8"));
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
        let form = "application/x-www-form-urlencoded";
        assert_eq!(of(form, b"payload=%7B%22a%22%3A+%22%C3%A9%22%7D&x=1"), Ok(("{\"a\": \"é\"}".to_owned(), true)));
        assert_eq!(of(form, b"b=2+3&a=%26"), Ok(("{\"b\":\"2 3\",\"a\":\"&\"}".to_owned(), true)));
        assert_eq!(of(form, b"x=1&payload=%7B%7D"), Ok(("{\"x\":\"1\",\"payload\":\"{}\"}".to_owned(), true)));
        assert_eq!(of(form, b"payload=%7B"), Ok(("{\"payload\":\"{\"}".to_owned(), true)));
        assert_eq!(of(form, b""), Ok(("{}".to_owned(), true)));
        let deep = format!("payload={}{}", "[".repeat(129), "]".repeat(129));
        assert!(of(form, deep.as_bytes()).is_err());
    }

    #[test]
    fn a_form_of_too_many_fields_is_text() {
        let form = "application/x-www-form-urlencoded";
        let fields = |count: usize| "a&".repeat(count);
        assert_eq!(of(form, fields(MAX_FORM_FIELDS).as_bytes()), Ok(("{\"a\":\"\"}".to_owned(), true)));
        let more = fields(MAX_FORM_FIELDS + 1);
        assert_eq!(of(form, more.as_bytes()), Ok((format!("\"{more}\""), true)));
    }

    #[test]
    fn an_unsigned_content_type_alone_makes_no_form() {
        let form = "application/x-www-form-urlencoded";
        let issue = r#"{"title":"&payload={}&"}"#;
        assert_eq!(of(form, issue.as_bytes()), Ok((issue.to_owned(), false)));
        let multipart = of("multipart/form-data; boundary=b", issue.as_bytes()).unwrap();
        assert_eq!(multipart.0, serde_json::Value::from(issue).to_string());
        let headers = Headers::new(vec![("content-type".into(), form.into())]);
        let content = Content { received: b"payload=%7B%7D".to_vec(), decompressed: None };
        let (json, _) = stored(content, &headers, false).unwrap();
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
        let (json, body) = stored(decode("GZIP", &zipped, 1002).ok().unwrap(), &headers("gzip"), true).unwrap();
        assert_eq!((json.len(), body.as_deref()), (1002, Some(&zipped[..])));
        assert!(matches!(decode("gzip", &zipped, 1001), Err(Rejection::TooLarge)));
        assert!(matches!(decode("gzip", &zipped[..30], 1002), Err(Rejection::Malformed(_))));
        assert!(matches!(decode("gzip", b"{}", 1002), Err(Rejection::Malformed(_))));
        assert!(matches!(decode("br", b"{}", 1002), Err(Rejection::Malformed(_))));
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
        let json = headers_json(&headers, hides);
        let expected = r#"{"X-GitLab-token":"[redacted]","X-A":"1, 2","authorization":"[redacted]","B":"[redacted]"}"#;
        assert_eq!(json, expected, "also of repeated ones");
    }
}
