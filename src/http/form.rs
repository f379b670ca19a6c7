//! Forms: `application/x-www-form-urlencoded`, and `multipart/form-data` (RFC 7578). They are read in place: bodies are up
//! to `max_body` large.

use std::borrow::Cow;

use super::Headers;
use crate::json;

/// The media type of a form without files.
pub const FORM: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data";

/// The name of the field in which JSON is sent as a form.
const PAYLOAD: &str = "payload";

/// A name and its value.
pub type Field<'a> = (Cow<'a, str>, Cow<'a, str>);

/// A body that is a form.
#[derive(Clone, Copy, Debug)]
pub enum Form<'a> {
    UrlEncoded(&'a [u8]),
    Multipart { boundary: &'a str, body: &'a [u8] },
}

impl<'a> Form<'a> {
    /// The form in a body, if its `Content-Type` and its first bytes say so: providers do not sign the type, which alone
    /// must not turn JSON into a form.
    pub fn find(headers: &'a Headers, body: &'a [u8]) -> Option<Form<'a>> {
        let media_type = headers.media_type();
        if media_type.eq_ignore_ascii_case(FORM) {
            return is_url_encoded(body).then_some(Form::UrlEncoded(body));
        }
        let content_type = headers.get("Content-Type").filter(|_| media_type.eq_ignore_ascii_case(MULTIPART))?;
        let boundary = parameter(content_type, "boundary").filter(|boundary| !boundary.is_empty())?;
        begins_with(boundary, body).then_some(Form::Multipart { boundary, body })
    }

    /// The fields in their order; of a form with files, those that are text.
    pub fn fields(self) -> Box<dyn Iterator<Item = Field<'a>> + 'a> {
        match self {
            Form::UrlEncoded(body) => Box::new(form_urlencoded::parse(body)),
            Form::Multipart { boundary, body } => Box::new(texts(boundary, body)),
        }
    }

    /// The value of the first field of a form without files, if that is named `payload` and no other is.
    pub fn payload(self) -> Option<Cow<'a, str>> {
        let Form::UrlEncoded(body) = self else { return None };
        let mut fields = form_urlencoded::parse(body);
        let (_, payload) = fields.next().filter(|(name, _)| name == PAYLOAD)?;
        fields.all(|(name, _)| name != PAYLOAD).then_some(payload)
    }
}

/// A form writes braces and brackets as `%7B` and `%5B`. Bytes that are not UTF-8 would be read as three bytes each.
fn is_url_encoded(body: &[u8]) -> bool {
    !json::begins_object_or_array(body) && std::str::from_utf8(body).is_ok()
}

/// Whether the body is one with that boundary. Before it there might be a preamble (RFC 2046), which no sender writes.
fn begins_with(boundary: &str, body: &[u8]) -> bool {
    body.strip_prefix(b"--").is_some_and(|rest| rest.starts_with(boundary.as_bytes()))
}

/// The fields that are text, in their order. Files are left out, and so is a part without its end.
fn texts<'a>(boundary: &str, body: &'a [u8]) -> impl Iterator<Item = Field<'a>> + use<'a> {
    let delimiter = format!("\r\n--{boundary}").into_bytes();
    // The first delimiter ends no line.
    let mut rest = body.strip_prefix(&delimiter[2..]);
    std::iter::from_fn(move || {
        let (part, after) = split(rest?, &delimiter)?;
        rest = Some(after);
        Some(field(part))
    })
    .flatten()
}

/// A part without its delimiters: the end of the delimiter's line, header fields, an empty line, the value.
fn field(part: &[u8]) -> Option<Field<'_>> {
    let (head, value) = split(part, b"\r\n\r\n")?;
    let disposition = std::str::from_utf8(head).ok()?.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("Content-Disposition").then_some(value)
    })?;
    let is_file = parameter(disposition, "filename").is_some() || parameter(disposition, "filename*").is_some();
    let name = parameter(disposition, "name").filter(|_| !is_file)?;
    Some((Cow::Borrowed(name), Cow::Borrowed(std::str::from_utf8(value).ok()?)))
}

/// A parameter of a header's value, without its quotes. Escapes within quotes stay: no provider's field names have any.
fn parameter<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    value.split(';').skip(1).find_map(|parameter| {
        let (have, value) = parameter.split_once('=')?;
        have.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    })
}

/// `by` has at least four bytes.
fn split<'a>(bytes: &'a [u8], by: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let beginning: [u8; 4] = *by.first_chunk()?;
    let mut from = 0;
    loop {
        // Four bytes are compared at once: to search for the first alone takes a hundred times as long in a body that
        // consists of it.
        let at = from + bytes[from..].windows(beginning.len()).position(|window| window == beginning)?;
        if let Some(after) = bytes[at..].strip_prefix(by) {
            return Some((&bytes[..at], after));
        }
        from = at + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1 --b\r\n--c\r\n--b\r\n\
                        content-type: text/plain\r\ncontent-disposition: form-data; name=file; filename=\"f\"\r\n\r\nx\r\n--b\r\n\
                        Content-Disposition: form-data; name=empty\r\n\r\n\r\n--b--\r\n";

    fn of(body: &[u8]) -> Vec<(String, String)> {
        texts("b", body).map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
    }

    #[test]
    fn texts_are_fields_and_files_are_not() {
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(of(BODY.as_bytes()), [field("a", "1 --b\r\n--c"), field("empty", "")]);
        assert!(begins_with("b", BODY.as_bytes()) && !begins_with("c", BODY.as_bytes()) && !begins_with("b", b"{}"));
    }

    #[test]
    fn a_form_that_is_cut_short_has_fewer_fields_and_no_half_ones() {
        for length in 0..BODY.len() {
            let fields = of(&BODY.as_bytes()[..length]);
            assert!(fields.iter().all(|(name, value)| name == "a" && value == "1 --b\r\n--c" || value.is_empty()));
        }
        assert_eq!(of(b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\n\xff\r\n--b--"), []);
    }

    #[test]
    fn the_boundary_is_a_parameter() {
        let finds = |content_type: &str, body: &[u8]| {
            Form::find(&Headers::new(vec![("Content-Type".into(), content_type.into())]), body).is_some()
        };
        assert!(finds("multipart/form-data; charset=x; Boundary=\"a b\"", b"--a b\r\n"));
        assert!(!finds("multipart/form-data; boundary=", b"--\r\n"));
        assert!(!finds("multipart/form-data", b"--\r\n"));
    }
}
