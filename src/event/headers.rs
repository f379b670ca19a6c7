//! The header fields of a delivery as the JSON object that is stored with it: written and read here side by side.
//!
//! In a value that is not UTF-8, each byte above 127 is written as an escape (`\u00fc`) and never as the character itself.
//! Any parser reads the same text; [`from_json`] also finds the bytes that came. The same holds for a program that escapes
//! everything that is not ASCII and reads header fields as Latin-1, as WSGI does.

use std::fmt::{self, Write};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::charset::Charset;

/// Beside the header fields of a sender of one's own: the method, if it is not POST, and the query, if there is one. No
/// header field can have such a name (RFC 9110, section 5.1); HTTP/2 names what is not a header field in the same way.
pub const METHOD: &str = ":method";
pub const QUERY: &str = ":query";

/// The object with these names and values, in their order.
pub fn to_json<'a>(fields: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> String {
    let member = |(name, value): (&str, &[u8])| format!("{}:{}", string(name), value_json(value));
    let members: Vec<String> = fields.into_iter().map(member).collect();
    format!("{{{}}}", members.join(","))
}

/// The names, and the bytes of the values that are strings, as far as the text is such an object.
pub fn from_json(json: &str) -> Vec<(String, Vec<u8>)> {
    let Ok(Members(members)) = serde_json::from_str(json) else { return Vec::new() };
    members.into_iter().filter_map(|(name, value)| Some((name, value_bytes(value.get())?))).collect()
}

/// The text that is stored under one of these names beside the header fields.
pub fn beside(json: &str, name: &str) -> Option<String> {
    let (_, value) = from_json(json).into_iter().find(|(found, _)| found == name)?;
    String::from_utf8(value).ok()
}

fn string(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default() // fails for no text
}

fn value_json(value: &[u8]) -> String {
    let (text, charset) = Charset::decode(value.to_vec());
    let json = string(&text);
    if charset == Charset::Utf8 {
        return json;
    }
    json.chars().fold(String::new(), |mut escaped, char| {
        // Writing to a String cannot fail.
        let _ = if char.is_ascii() { write!(escaped, "{char}") } else { write!(escaped, "\\u{:04x}", u32::from(char)) };
        escaped
    })
}

fn value_bytes(json: &str) -> Option<Vec<u8>> {
    let text: String = serde_json::from_str(json).ok()?;
    let is_latin_1 = json.is_ascii() && text.chars().all(|char| char <= '\u{ff}');
    let charset = if is_latin_1 { Charset::Latin1 } else { Charset::Utf8 };
    Some(charset.bytes(text).into_owned())
}

/// The members of an object in their order, each value as it is written.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members<'de>, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_comes_back_as_it_was() {
        let fields: [(&str, &[u8]); 5] = [
            ("X-B", b"plain \"quoted\" \\u00fc"),
            ("cf-region", "Île-de-France ☃".as_bytes()),
            ("cf-ipcity", b"M\xfcnsingen \"\\"),
            ("X-A", "\u{fc}".as_bytes()),
            ("X-Empty", b""),
        ];
        let json = to_json(fields);
        let text: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&json).unwrap();
        assert_eq!((&text["cf-region"], &text["cf-ipcity"]), (&"Île-de-France ☃".into(), &"Münsingen \"\\".into()));
        assert!(json.contains("M\\u00fcnsingen") && json.contains("Île"), "{json}");
        assert_eq!(from_json(&json), fields.map(|(name, value)| (name.to_owned(), value.to_vec())));
    }

    #[test]
    fn what_another_program_has_stored_is_read_as_far_as_it_can_be() {
        // json.dumps() of Python, of a value that Werkzeug has read as Latin-1, and of one beyond that.
        let json = r#"{"a":"Z\u00c3\u00bcrich","b":"\u0141","c":7,"d":null}"#;
        let bytes = |text: &str| text.as_bytes().to_vec();
        assert_eq!(from_json(json), [("a".to_owned(), bytes("Zürich")), ("b".to_owned(), bytes("Ł"))]);
        for odd in ["", "no json", "[]", "null", "{\"a\":"] {
            assert_eq!(from_json(odd), [], "{odd}");
        }
    }
}
