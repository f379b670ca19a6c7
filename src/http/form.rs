//! Forms: `application/x-www-form-urlencoded`, and `multipart/form-data` (RFC 7578). They are split in place, in one pass
//! and within bounds: an unverified body is up to `max_body` large.

use std::borrow::Cow;

use memchr::memmem;

use super::Headers;
use crate::json;

/// The media type of a form without files.
pub const FORM: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data";

/// The name of the field in which JSON is sent as a form.
pub const PAYLOAD: &str = "payload";

/// PHP and Django take no more by default, so that no provider sends more.
pub const MAX_FIELDS: usize = 1000;

/// The header fields of one part. Senders write up to three, of less than a hundred bytes each beside a file's name.
const MAX_PART_HEAD_BYTES: usize = 4096;

/// The most characters in which a form encodes one: `%41`.
const MAX_ENCODED_BYTES: usize = 3;

/// A body that is a form.
#[derive(Clone, Copy, Debug)]
pub enum Form<'a> {
    UrlEncoded(&'a str),
    Multipart { boundary: &'a str, body: &'a [u8] },
}

/// A field as it stands in the body.
#[derive(Clone, Copy, Debug)]
pub enum Field<'a> {
    /// `name=value`, both encoded.
    Encoded(&'a str),
    Part {
        name: &'a str,
        value: &'a [u8],
        is_file: bool,
    },
}

/// Why a form is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormError {
    TooManyFields,
    LongPartHead,
}

impl FormError {
    /// For the sender.
    pub fn text(self) -> &'static str {
        match self {
            FormError::TooManyFields => "the form has more than 1000 fields",
            FormError::LongPartHead => "a part of the form has more than 4 KiB of header fields",
        }
    }
}

impl<'a> Form<'a> {
    /// The form in a body, if its `Content-Type` and its first bytes say so: providers do not sign the type, which alone
    /// must not turn JSON into a form.
    pub fn find(headers: &'a Headers, body: &'a [u8]) -> Option<Form<'a>> {
        let media_type = headers.media_type();
        if media_type.eq_ignore_ascii_case(FORM) {
            return url_encoded(body).map(Form::UrlEncoded);
        }
        let content_type = headers.get("Content-Type").filter(|_| media_type.eq_ignore_ascii_case(MULTIPART))?;
        let boundary = parameter(content_type, "boundary").filter(|boundary| !boundary.is_empty())?;
        // Some senders write the line end that belongs to a delimiter before the first one too.
        let body = body.strip_prefix(b"\r\n").unwrap_or(body);
        begins_with(boundary, body).then_some(Form::Multipart { boundary, body })
    }

    /// The fields in their order.
    pub fn fields(self) -> Result<Vec<Field<'a>>, FormError> {
        match self {
            Form::UrlEncoded(body) => pairs(body),
            Form::Multipart { boundary, body } => parts(boundary, body),
        }
    }

    /// Whether it consists of the field `payload`, and not a byte beside it.
    pub fn is_payload_alone(self) -> bool {
        let Form::UrlEncoded(body) = self else { return false };
        body.strip_prefix(PAYLOAD).and_then(|rest| rest.strip_prefix('=')).is_some_and(|value| !value.contains('&'))
    }
}

/// The value of the field `payload`, if it is there once.
pub fn payload<'a>(fields: &[Field<'a>]) -> Option<Cow<'a, str>> {
    let mut found = fields.iter().filter(|field| field.is_named(PAYLOAD));
    let field = found.next().filter(|_| found.next().is_none())?;
    match field {
        // Browsers and libraries name a file where a part has a type of its own.
        Field::Part { value, is_file: true, .. } => std::str::from_utf8(value).ok().map(Cow::Borrowed),
        field => field.text(),
    }
}

impl<'a> Field<'a> {
    pub fn is_named(&self, name: &str) -> bool {
        match self {
            // A longer one is not decoded.
            Field::Encoded(pair) => {
                let encoded = encoded_name(pair);
                encoded.len() <= MAX_ENCODED_BYTES * name.len() && decoded_name(encoded) == name
            }
            Field::Part { name: have, .. } => *have == name,
        }
    }

    pub fn name(&self) -> Cow<'a, str> {
        match self {
            Field::Encoded(pair) => decoded_name(encoded_name(pair)),
            Field::Part { name, .. } => Cow::Borrowed(name),
        }
    }

    /// The value. `None` of a file, and where it is not UTF-8.
    pub fn text(&self) -> Option<Cow<'a, str>> {
        match self {
            Field::Encoded(pair) => form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value),
            Field::Part { is_file: true, .. } => None,
            Field::Part { value, .. } => std::str::from_utf8(value).ok().map(Cow::Borrowed),
        }
    }
}

fn encoded_name(pair: &str) -> &str {
    pair.split('=').next().unwrap_or_default()
}

fn decoded_name(encoded: &str) -> Cow<'_, str> {
    form_urlencoded::parse(encoded.as_bytes()).next().map_or(Cow::Borrowed(""), |(name, _)| name)
}

/// A form writes braces and brackets as `%7B` and `%5B`. Bytes that are not UTF-8 would be read as three bytes each.
fn url_encoded(body: &[u8]) -> Option<&str> {
    if json::begins_object_or_array(body) { None } else { std::str::from_utf8(body).ok() }
}

fn pairs(body: &str) -> Result<Vec<Field<'_>>, FormError> {
    let mut fields = Vec::new();
    // Empty ones take time too.
    for (at, pair) in body.split('&').enumerate() {
        if at == MAX_FIELDS {
            return Err(FormError::TooManyFields);
        }
        if !pair.is_empty() {
            fields.push(Field::Encoded(pair));
        }
    }
    Ok(fields)
}

/// Whether the body begins with a line that is that delimiter, and has nothing after it: providers do not sign the
/// `Content-Type`, and with the beginning of the boundary in it, a text within a part could be read as a part. Before the
/// delimiter there might be a preamble (RFC 2046), which no sender writes.
fn begins_with(boundary: &str, body: &[u8]) -> bool {
    let rest = body.strip_prefix(b"--").and_then(|rest| rest.strip_prefix(boundary.as_bytes()));
    rest.is_some_and(ends_delimiter)
}

/// Whether this may follow the text of a delimiter: the end of its line, or the two hyphens of the last one.
fn ends_delimiter(rest: &[u8]) -> bool {
    let padding = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    rest.starts_with(b"--") || rest[padding..].starts_with(b"\r\n")
}

/// The parts of a form that begins with the delimiter. A part without its end is left out.
fn parts<'a>(boundary: &str, body: &'a [u8]) -> Result<Vec<Field<'a>>, FormError> {
    let delimiter = format!("\r\n--{boundary}");
    let finder = memmem::Finder::new(&delimiter);
    let mut fields = Vec::new();
    // The first delimiter ends no line. A part begins where its delimiter's text ends.
    let mut start = delimiter.len() - 2;
    let ends = finder.find_iter(body).filter(|at| ends_delimiter(&body[at + delimiter.len()..]));
    for (count, end) in ends.enumerate() {
        if body[start..].starts_with(b"--") {
            break;
        }
        if count == MAX_FIELDS {
            return Err(FormError::TooManyFields);
        }
        fields.extend(part(body.get(start..end).unwrap_or_default())?);
        start = end + delimiter.len();
    }
    Ok(fields)
}

/// A part without its delimiters: the end of the delimiter's line, header fields, an empty line, the value.
fn part(part: &[u8]) -> Result<Option<Field<'_>>, FormError> {
    let beginning = &part[..part.len().min(MAX_PART_HEAD_BYTES)];
    let Some(head_bytes) = memmem::find(beginning, b"\r\n\r\n") else {
        return if part.len() > MAX_PART_HEAD_BYTES { Err(FormError::LongPartHead) } else { Ok(None) };
    };
    let value = &part[head_bytes + b"\r\n\r\n".len()..];
    Ok(std::str::from_utf8(&part[..head_bytes]).ok().and_then(|head| named_part(head, value)))
}

fn named_part<'a>(head: &'a str, value: &'a [u8]) -> Option<Field<'a>> {
    let disposition = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("Content-Disposition").then_some(value)
    })?;
    let (mut name, mut is_file) = (None, false);
    for (parameter, value) in parameters(disposition) {
        is_file |= ["filename", "filename*"].iter().any(|file| parameter.eq_ignore_ascii_case(file));
        name = name.or(Some(value).filter(|_| parameter.eq_ignore_ascii_case("name")));
    }
    Some(Field::Part { name: name?, value, is_file })
}

fn parameter<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    parameters(value).find(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// The parameters of a header's value (RFC 9110, section 5.6.6), without their quotes. Escapes within quotes stay: no
/// provider's field names have any.
fn parameters(value: &str) -> impl Iterator<Item = (&str, &str)> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let is_separator = move |c: char| {
        let was_escaped = is_escaped;
        is_escaped = is_quoted && c == '\\' && !was_escaped;
        is_quoted ^= c == '"' && !was_escaped;
        c == ';' && !is_quoted
    };
    let pairs = value.split(is_separator).skip(1).filter_map(|parameter| parameter.split_once('='));
    pairs.map(|(name, value)| (name.trim(), without_quotes(value.trim())))
}

fn without_quotes(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1 --b\r\n--c\r\n--b\r\n\
                        content-type: text/plain\r\ncontent-disposition: form-data; name=file; filename=\"f\"\r\n\r\nx\r\n--b\r\n\
                        Content-Disposition: form-data; name=empty\r\n\r\n\r\n--b--\r\n";

    fn texts(form: Form<'_>) -> Vec<(String, String)> {
        let text = |field: &Field<'_>| Some((field.name().into_owned(), field.text()?.into_owned()));
        form.fields().unwrap().iter().filter_map(text).collect()
    }

    fn of(body: &[u8]) -> Vec<(String, String)> {
        texts(Form::Multipart { boundary: "b", body })
    }

    fn field(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn texts_are_fields_and_files_are_not() {
        assert_eq!(of(BODY.as_bytes()), [field("a", "1 --b\r\n--c"), field("empty", "")]);
        assert!(begins_with("b", BODY.as_bytes()) && !begins_with("c", BODY.as_bytes()) && !begins_with("b", b"{}"));
    }

    #[test]
    fn a_form_that_is_cut_short_has_fewer_fields_and_no_half_ones() {
        for length in 3..BODY.len() {
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
        assert!(finds("multipart/form-data; boundary=\"a;b\"", b"--a;b \t\r\n"));
        assert!(finds("multipart/form-data; boundary=b", b"\r\n--b\r\n"));
        assert!(!finds("multipart/form-data; boundary=", b"--\r\n"));
        assert!(!finds("multipart/form-data", b"--\r\n"));
    }

    #[test]
    fn a_boundary_is_a_whole_line() {
        let body = b"--bound\r\nContent-Disposition: form-data; name=text\r\n\r\nHello\r\n--b\r\n\
                     Content-Disposition: form-data; name=payload\r\n\r\n{}\r\n--b--\r\n--bound--\r\n";
        assert!(begins_with("bound", body) && !begins_with("b", body), "its beginning is not the boundary");
        let [(name, text)] = &texts(Form::Multipart { boundary: "bound", body })[..] else { panic!() };
        assert!(name == "text" && text.contains("payload"));
        assert_eq!(
            of(b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--bx\r\n--b--"),
            [field("a", "1\r\n--bx")]
        );
    }

    #[test]
    fn the_name_of_a_file_is_not_the_name_of_a_field() {
        let disposition = "form-data; filename=\"a\\\"; name=payload; x=\"; name=\"thumb\"";
        assert_eq!(parameter(disposition, "name"), Some("thumb"));
        assert_eq!(parameter("form-data; name=\"a=b\"; x=1", "name"), Some("a=b"));
    }

    #[test]
    fn the_number_of_fields_is_bounded() {
        let encoded = |count: usize| Form::UrlEncoded(&"a&".repeat(count - 1)).fields().map(|fields| fields.len());
        assert_eq!(encoded(MAX_FIELDS), Ok(MAX_FIELDS - 1));
        assert_eq!(encoded(MAX_FIELDS + 1), Err(FormError::TooManyFields));
        assert_eq!(Form::UrlEncoded(&"&".repeat(MAX_FIELDS)).fields().map(|_| ()), Err(FormError::TooManyFields));
        let multipart = |count: usize| {
            let body = "--b\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n".repeat(count) + "--b--\r\n";
            Form::Multipart { boundary: "b", body: body.as_bytes() }.fields().map(|fields| fields.len())
        };
        assert_eq!(multipart(MAX_FIELDS), Ok(MAX_FIELDS));
        assert_eq!(multipart(MAX_FIELDS + 1), Err(FormError::TooManyFields));
        let body = format!("--b\r\nX: {}\r\n\r\n1\r\n--b--", "x".repeat(MAX_PART_HEAD_BYTES));
        let long = Form::Multipart { boundary: "b", body: body.as_bytes() };
        assert_eq!(long.fields().map(|_| ()), Err(FormError::LongPartHead));
    }

    #[test]
    fn an_encoded_field_is_found_by_its_name() {
        let fields = Form::UrlEncoded("a=1=2&%62+c=%26&d&=e&%70ayload=%7B%7D").fields().unwrap();
        let text = |name: &str| fields.iter().find(|field| field.is_named(name)).and_then(Field::text);
        let texts = ["a", "b c", "d", "", "x"].map(|name| text(name).map(Cow::into_owned));
        assert_eq!(
            texts,
            [Some("1=2".to_owned()), Some("&".to_owned()), Some(String::new()), Some("e".to_owned()), None]
        );
        assert_eq!(payload(&fields).as_deref(), Some("{}"));
    }

    #[test]
    fn only_the_plain_form_of_one_field_is_the_payload_alone() {
        assert!(Form::UrlEncoded("payload=%7B%7D").is_payload_alone());
        for more in ["payload=%7B%7D&", "a=1&payload=%7B%7D", "payload=1&payload=2", "%70ayload=1", "payload", "a=1"] {
            assert!(!Form::UrlEncoded(more).is_payload_alone(), "{more}");
        }
        assert!(!Form::Multipart { boundary: "b", body: b"--b--" }.is_payload_alone());
    }
}
