//! Equivalent spellings of a path (RFC 3986, sections 6.2.2.1 and 6.2.2.2).

use std::borrow::Cow;
use std::fmt::Write;

/// `%7e`
const ESCAPE_BYTES: usize = 3;

/// The spelling that all equivalent ones share: unreserved characters stand for themselves, all other escapes are in upper
/// case, and characters beyond ASCII are escaped. Dot segments stay: no path of ours has any.
pub fn normal_path(path: &str) -> Cow<'_, str> {
    if path.is_ascii() && !path.contains('%') {
        return Cow::Borrowed(path);
    }
    let (mut normal, mut rest) = (String::with_capacity(path.len()), path.as_bytes());
    while let Some(first) = rest.first() {
        let escaped = escaped_byte(rest);
        rest = &rest[escaped.map_or(1, |_| ESCAPE_BYTES)..];
        let byte = escaped.unwrap_or(*first);
        if byte.is_ascii() && (escaped.is_none() || is_unreserved(byte)) {
            normal.push(char::from(byte));
        } else {
            let _ = write!(normal, "%{byte:02X}"); // writing to a String cannot fail
        }
    }
    Cow::Owned(normal)
}

fn escaped_byte(text: &[u8]) -> Option<u8> {
    let digits = text.get(..ESCAPE_BYTES)?.strip_prefix(b"%")?;
    let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.contains('+'))?;
    u8::from_str_radix(digits, 16).ok()
}

/// RFC 3986, section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equivalent_spellings_are_one() {
        assert_eq!(normal_path("/%77eb%68ooks/a%2db%5Fc%7E"), "/webhooks/a-b_c~");
        assert_eq!(normal_path("/%c3%a9"), normal_path("/é"));
        assert_eq!(normal_path("/%2e%2E/x"), "/../x");
    }

    #[test]
    fn other_paths_stay_different() {
        for (path, normal) in [
            ("/a%2fb", "/a%2Fb"),
            ("/a%3Fb%23%25", "/a%3Fb%23%25"),
            ("/a%2577", "/a%2577"),
            ("/a%00%7f", "/a%00%7F"),
            ("/%", "/%"),
            ("/%7", "/%7"),
            ("/%zz%+1", "/%zz%+1"),
            ("/a//b/", "/a//b/"),
            ("/A", "/A"),
        ] {
            assert_eq!(normal_path(path), normal, "{path}");
        }
    }
}
