//! Bytes as text. Values of header fields and request targets may have bytes above 127 in any encoding (RFC 9110, section
//! 5.5). What is UTF-8 is text as it is; of anything else each byte is a character of Latin-1, so that none is lost.

use std::borrow::Cow;

/// How bytes became text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Charset {
    #[default]
    Utf8,
    Latin1,
}

impl Charset {
    /// The text of these bytes.
    pub fn decode(bytes: Vec<u8>) -> (String, Charset) {
        match String::from_utf8(bytes) {
            Ok(text) => (text, Charset::Utf8),
            Err(error) => (error.into_bytes().into_iter().map(char::from).collect(), Charset::Latin1),
        }
    }

    /// The bytes of a text, or of a part of one, that came from [`Charset::decode`].
    pub fn bytes<'a>(self, text: impl Into<Cow<'a, str>>) -> Cow<'a, [u8]> {
        match (self, text.into()) {
            // Every character is one byte.
            (Charset::Latin1, text) => Cow::Owned(text.chars().map(|char| char as u8).collect()),
            (Charset::Utf8, Cow::Borrowed(text)) => Cow::Borrowed(text.as_bytes()),
            (Charset::Utf8, Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_text_and_the_same_bytes_again() {
        for (bytes, text, charset) in [
            (&b"plain"[..], "plain", Charset::Utf8),
            ("Zürich ☃".as_bytes(), "Zürich ☃", Charset::Utf8),
            (b"M\xfcnsingen", "Münsingen", Charset::Latin1),
            (b"\x80\xff\xc3", "\u{80}\u{ff}\u{c3}", Charset::Latin1),
        ] {
            assert_eq!(Charset::decode(bytes.to_vec()), (text.to_owned(), charset));
            assert_eq!(charset.bytes(text), bytes);
            assert_eq!(charset.bytes(text.to_owned()), bytes);
        }
    }
}
