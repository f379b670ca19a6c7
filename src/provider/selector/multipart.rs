//! The fields of `multipart/form-data` (RFC 7578), read in place: bodies are up to `max_body` large.

use std::borrow::Cow;

/// The parameter `boundary` of a `Content-Type`, with or without its quotes.
pub fn boundary(content_type: &str) -> Option<&str> {
    let boundary = parameter(content_type, "boundary")?;
    (!boundary.is_empty()).then_some(boundary)
}

/// Whether the body is one with that boundary. Before it there might be a preamble (RFC 2046), which no sender writes.
pub fn begins_with(boundary: &str, body: &[u8]) -> bool {
    body.strip_prefix(b"--").is_some_and(|rest| rest.starts_with(boundary.as_bytes()))
}

/// The fields that are text, in their order. Files are left out, and so is what a broken end leaves open.
pub fn fields<'a>(boundary: &str, body: &'a [u8]) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> + use<'a> {
    let delimiter = format!("\r\n--{boundary}").into_bytes();
    // Before the first delimiter there is no line that it could end.
    let mut rest = body.strip_prefix(&delimiter[2..]);
    std::iter::from_fn(move || {
        let (part, after) = split(rest?, &delimiter)?;
        rest = Some(after);
        Some(field(part))
    })
    .flatten()
}

/// A part without its delimiters: the end of the delimiter's line, header fields, an empty line, the value.
fn field(part: &[u8]) -> Option<(Cow<'_, str>, Cow<'_, str>)> {
    let (head, value) = split(part, b"\r\n\r\n")?;
    let disposition = std::str::from_utf8(head).ok()?.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("Content-Disposition").then_some(value)
    })?;
    let is_file = parameter(disposition, "filename").is_some() || parameter(disposition, "filename*").is_some();
    let name = parameter(disposition, "name").filter(|_| !is_file)?;
    Some((Cow::Borrowed(name), Cow::Borrowed(std::str::from_utf8(value).ok()?)))
}

/// A parameter of a header's value. Escapes within quotes stay as they are: no provider's field names have any.
fn parameter<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    value.split(';').skip(1).find_map(|parameter| {
        let (have, value) = parameter.split_once('=')?;
        have.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    })
}

/// `by` has four bytes at least.
fn split<'a>(bytes: &'a [u8], by: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let beginning: [u8; 4] = *by.first_chunk()?;
    let mut from = 0;
    loop {
        // As many bytes as fit a register are looked for at once: to look for one alone takes a hundred times as long in a
        // body that is made of it.
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
        fields("b", body).map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
    }

    #[test]
    fn texts_are_fields_and_files_are_not() {
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(of(BODY.as_bytes()), [field("a", "1 --b\r\n--c"), field("empty", "")]);
        assert!(begins_with("b", BODY.as_bytes()) && !begins_with("c", BODY.as_bytes()) && !begins_with("b", b"{}"));
    }

    #[test]
    fn what_is_cut_short_anywhere_has_fewer_fields_and_no_half_ones() {
        for length in 0..BODY.len() {
            let fields = of(&BODY.as_bytes()[..length]);
            assert!(fields.iter().all(|(name, value)| name == "a" && value == "1 --b\r\n--c" || value.is_empty()));
        }
        assert_eq!(of(b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\n\xff\r\n--b--"), []);
    }

    #[test]
    fn the_boundary_is_a_parameter() {
        assert_eq!(boundary("multipart/form-data; charset=x; Boundary=\"a b\""), Some("a b"));
        assert_eq!(boundary("multipart/form-data; boundary="), None);
        assert_eq!(boundary("multipart/form-data"), None);
    }
}
