//! The members and items of one container, one after the other, in text that is known to be JSON. Nothing is built: what is
//! passed over costs no memory.

use std::borrow::Cow;
use std::ops::Range;

use super::cursor::Cursor;
use super::replace_lone_surrogates;

/// The members of an object, as they stand there: the position of each name with its quotes, and that of its value.
pub struct Members<'j>(Walk<'j>);

/// The positions of the items of an array.
pub struct Items<'j>(Walk<'j>);

struct Walk<'j> {
    cursor: Cursor<'j>,
    close: u8,
    is_open: bool,
}

/// The members of the object that the text begins with.
pub fn members(json: &str) -> Members<'_> {
    Members(Walk::new(json, b'}'))
}

/// The items of the array that the text begins with.
pub fn items(json: &str) -> Items<'_> {
    Items(Walk::new(json, b']'))
}

/// The first value in the text.
pub fn first_value(json: &str) -> &str {
    let mut cursor = Cursor::new(json.as_bytes());
    value(&mut cursor).and_then(|at| json.get(at)).unwrap_or_default()
}

/// The text of a string with its quotes. Half of a UTF-16 pair becomes U+FFFD, the replacement character.
pub fn unquoted(string: &str) -> Cow<'_, str> {
    if string.contains('\\') {
        let string = replace_lone_surrogates(string);
        return serde_json::from_str::<String>(&string).unwrap_or_default().into();
    }
    string.get(1..string.len() - 1).unwrap_or_default().into()
}

impl<'j> Walk<'j> {
    fn new(json: &'j str, close: u8) -> Walk<'j> {
        let mut cursor = Cursor::new(json.as_bytes());
        let is_open = cursor.peek_token().is_some() && cursor.open(close) == Some(true);
        Walk { cursor, close, is_open }
    }

    fn step<T>(&mut self, read: impl FnOnce(&mut Cursor<'j>) -> Option<T>) -> Option<T> {
        if !self.is_open {
            return None;
        }
        let found = read(&mut self.cursor);
        self.is_open = found.is_some() && self.cursor.go_on(self.close) == Some(true);
        found
    }
}

impl Iterator for Members<'_> {
    type Item = (Range<usize>, Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.step(|cursor| {
            cursor.peek_token()?;
            let start = cursor.position();
            let name = cursor.name()?;
            Some((start..start + name.written().len(), value(cursor)?))
        })
    }
}

impl Iterator for Items<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.step(value)
    }
}

fn value(cursor: &mut Cursor<'_>) -> Option<Range<usize>> {
    cursor.peek_token()?;
    let start = cursor.position();
    cursor.skip_value()?;
    Some(start..cursor.position())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_items_are_found_in_their_order() {
        let json = r#" { "a" : [1, {"x":2}] , "b\n":null,"a":"}" } "#;
        let found: Vec<_> = members(json).map(|(name, value)| (&json[name], &json[value])).collect();
        assert_eq!(found, [("\"a\"", "[1, {\"x\":2}]"), ("\"b\\n\"", "null"), ("\"a\"", "\"}\"")]);
        let json = " [ 1 ,[2,[]], \"]\" ]";
        assert_eq!(items(json).map(|item| &json[item]).collect::<Vec<_>>(), ["1", "[2,[]]", "\"]\""]);
        assert_eq!((members("{ }").count(), items("[]").count(), items("").count()), (0, 0, 0));
        assert_eq!(first_value(" {\"a\":1} ,2"), "{\"a\":1}");
    }

    #[test]
    fn a_string_is_decoded() {
        for (string, text) in
            [(r#""a""#, "a"), (r#""\u00e9\/\n""#, "é/\n"), (r#""x\ud83d""#, "x\u{fffd}"), ("\"\"", "")]
        {
            assert_eq!(unquoted(string), text);
        }
    }
}
