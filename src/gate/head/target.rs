//! The target of a request (RFC 9112, section 3.2).

use super::super::refusal::{Fault, Refusal};
use std::borrow::Cow;

const SCHEMES: [&[u8]; 2] = [b"http://", b"https://"];

/// About the server as a whole: only for OPTIONS.
const ASTERISK: &[u8] = b"*";

#[derive(Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// That of the absolute form, without user and password. It takes the place of `Host` (RFC 9112, section 3.2.2).
    pub authority: Option<&'a [u8]>,
    /// Path and query, or `*`.
    pub origin: Cow<'a, [u8]>,
}

/// Every form but that of CONNECT, which only proxies need.
pub fn parse<'a>(method: &[u8], target: &'a [u8]) -> Result<Target<'a>, Fault> {
    if target.contains(&b'\t') {
        return Err(Refusal::Malformed.by("a tab in the target"));
    }
    let is_options = method == b"OPTIONS";
    if target.starts_with(b"/") || (is_options && target == ASTERISK) {
        return Ok(Target { authority: None, origin: Cow::Borrowed(target) });
    }
    let unknown = || Refusal::Malformed.by("the target is neither a path nor an address that begins with http://");
    let (authority, rest) = split_absolute(target).ok_or_else(unknown)?;
    let invalid = || Refusal::Malformed.by("the target has no valid host");
    let host_and_port = without_user(authority).filter(|authority| is_host_and_port(authority)).ok_or_else(invalid)?;
    let origin = match rest {
        [b'/', ..] => Cow::Borrowed(rest),
        [] if is_options => Cow::Borrowed(ASTERISK),
        rest => Cow::Owned([b"/", rest].concat()),
    };
    Ok(Target { authority: Some(host_and_port), origin })
}

/// The authority of the absolute form, and the rest from the path on.
pub fn split_absolute(target: &[u8]) -> Option<(&[u8], &[u8])> {
    let starts_with = |scheme: &&[u8]| target.get(..scheme.len()).is_some_and(|it| it.eq_ignore_ascii_case(scheme));
    let after = &target[SCHEMES.into_iter().find(starts_with)?.len()..];
    let end = after.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(after.len());
    Some(after.split_at(end))
}

/// User and password are no part of `Host` (RFC 9112, section 3.2).
fn without_user(authority: &[u8]) -> Option<&[u8]> {
    let Some(at) = authority.iter().position(|byte| *byte == b'@') else { return Some(authority) };
    let (user, host) = (&authority[..at], &authority[at + 1..]);
    user.iter().all(|byte| is_name(*byte) || *byte == b':').then_some(host)
}

/// RFC 3986, sections 3.2.2 and 3.2.3. The host must not be empty (RFC 9110, section 4.2.1).
fn is_host_and_port(text: &[u8]) -> bool {
    let host_end = match text.iter().position(|byte| *byte == b']') {
        Some(at) => at + 1,
        None => text.iter().position(|byte| *byte == b':').unwrap_or(text.len()),
    };
    let (host, port) = text.split_at(host_end);
    let is_port = port.strip_prefix(b":").unwrap_or(port).iter().all(u8::is_ascii_digit);
    let is_host = match host {
        [b'[', address @ .., b']'] => address.iter().all(|byte| is_name(*byte) || *byte == b':'),
        name => name.iter().all(|byte| is_name(*byte)),
    };
    !host.is_empty() && is_host && is_port && (port.is_empty() || port[0] == b':')
}

/// Unreserved characters, sub-delimiters, and the sign of an escape.
fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &str, target: &str) -> Option<(Option<String>, String)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let target = parse(method.as_bytes(), target.as_bytes()).ok()?;
        Some((target.authority.map(text), text(&target.origin)))
    }

    fn absolute(authority: &str, origin: &str) -> Option<(Option<String>, String)> {
        Some((Some(authority.to_owned()), origin.to_owned()))
    }

    #[test]
    fn the_absolute_form_is_taken_apart() {
        for (target, authority, origin) in [
            ("http://hooks.example.net/webhooks/x", "hooks.example.net", "/webhooks/x"),
            ("HTTPS://H:5000/a?b=http://c/", "H:5000", "/a?b=http://c/"),
            ("http://user:secret@h/a@b", "h", "/a@b"),
            ("http://[2001:db8::1]:80/", "[2001:db8::1]:80", "/"),
            ("http://under_score.%c3%a9:/", "under_score.%c3%a9:", "/"),
            ("http://h", "h", "/"),
            ("http://h?a=1", "h", "/?a=1"),
            ("http://h#a", "h", "/#a"),
        ] {
            assert_eq!(of("POST", target), absolute(authority, origin), "{target}");
        }
        assert_eq!(of("OPTIONS", "http://h"), absolute("h", "*"));
        assert_eq!(of("OPTIONS", "http://h/"), absolute("h", "/"));
    }

    #[test]
    fn path_and_query_stay_as_they_came() {
        for target in ["/", "/a?b#c", "//h/a", "/http://h/a", "/a%2f..", "/é", "/\"<>\\^`{|}"] {
            assert_eq!(of("POST", target), Some((None, target.to_owned())), "{target}");
        }
        assert_eq!(of("OPTIONS", "*"), Some((None, "*".to_owned())));
    }

    #[test]
    fn anything_else_is_refused() {
        for target in [
            "",
            "*",
            "gate",
            "h:443",
            "?a",
            "#a",
            "../a",
            "%2fa",
            "\\a",
            "ftp://h/",
            "file:///a",
            "javascript:a",
            "http:/h",
            "http:h",
            "http://",
            "http:///a",
            "http://?a",
            "http://:80/",
            "http://@/",
            "http://a@b@h/",
            "http://h:x/",
            "http://h:80:80/",
            "http://[::1/",
            "http://::1]/",
            "http://[::1]x/",
            "http://h\\@e/",
            "http://h<>/",
            "http://é/",
            "/a\tb",
            "http://h/\t",
        ] {
            assert_eq!(of("POST", target), None, "{target}");
        }
        assert_eq!((of("GET", "*"), of("options", "*"), of("OPTIONS", "**")), (None, None, None));
    }
}
