//! A value of JSON as `{{ payload }}` prints it, which is how Python does.

use std::fmt::{self, Write};

use minijinja::Value;

use super::index::Index;
use crate::json::{self, Token};

/// A part of a payload. Where a name stands twice in an object, the last counts.
pub struct Shown<'j> {
    pub json: &'j str,
    pub names_are_unique: bool,
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = self.json;
        let shown = |json| Shown { json, ..*self };
        match json.as_bytes().first() {
            _ if self.names_are_unique && !f.alternate() => once_through(json, f),
            Some(b'{') => {
                f.debug_map().entries(members(json).map(|(name, value)| (shown(name), shown(value)))).finish()
            }
            Some(b'[') => f.debug_list().entries(json::items(json).map(|item| shown(&json[item]))).finish(),
            _ => scalar(json, f),
        }
    }
}

fn once_through(json: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    // What stands before the next part.
    let mut separator = "";
    for token in json::tokens(json) {
        if !matches!(token, Token::Close(_)) {
            f.write_str(separator)?;
        }
        match token {
            Token::Open(bracket) | Token::Close(bracket) => f.write_char(bracket)?,
            Token::Name(name) => string(name, f)?,
            Token::Scalar(json) => scalar(json, f)?,
        }
        separator = match token {
            Token::Open(_) => "",
            Token::Name(_) => ": ",
            Token::Scalar(_) | Token::Close(_) => ", ",
        };
    }
    Ok(())
}

fn scalar(json: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match json.as_bytes().first() {
        Some(b'"') => string(json, f),
        Some(b't') => f.write_str("True"),
        Some(b'f') => f.write_str("False"),
        Some(b'n') => f.write_str("None"),
        _ => f.write_str(json),
    }
}

fn string(quoted: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'\'' && byte != b'\\';
    match quoted.get(1..quoted.len() - 1) {
        Some(text) if text.bytes().all(is_plain) => {
            f.write_char('\'')?;
            f.write_str(text)?;
            f.write_char('\'')
        }
        _ => fmt::Debug::fmt(&Value::from(json::unquoted(quoted)), f),
    }
}

/// The members of an object with their quoted names, each name once.
pub fn members(json: &str) -> impl Iterator<Item = (&str, &str)> {
    let index = Index::of(json);
    (0..index.len()).map(move |at| {
        let (name, value) = index.entry(json, at);
        (name, &json[value])
    })
}

/// Whether no object has two members of one name. Names with escapes, which may be equal without looking so, are not looked
/// into: there, and where two hashes are equal by chance, this is false.
pub fn names_are_unique(json: &str) -> bool {
    let (mut hashes, mut starts): (Vec<u64>, Vec<usize>) = (Vec::new(), Vec::new());
    for token in json::tokens(json) {
        match token {
            Token::Name(name) if name.contains('\\') => return false,
            Token::Name(name) => hashes.push(hash(name)),
            Token::Open(_) => starts.push(hashes.len()),
            Token::Close(_) => {
                let start = starts.pop().unwrap_or_default();
                hashes[start..].sort_unstable();
                if hashes[start..].windows(2).any(|pair| pair[0] == pair[1]) {
                    return false;
                }
                hashes.truncate(start);
            }
            Token::Scalar(_) => {}
        }
    }
    true
}

/// FNV-1a: <http://www.isthe.com/chongo/tech/comp/fnv/>
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
