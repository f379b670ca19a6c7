//! One pass over JSON text, for its grammar, its depth and the values to look up. No tree is built: bodies are up to
//! `max_body` large, and a tree takes ten times the size. It recurses only along the pointers looked up, and never beyond
//! [`MAX_DEPTH`].

use std::borrow::Cow;

use serde_json::Value;

use super::MAX_DEPTH;
use super::cursor::{Cursor, Name};

/// A value to look up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup<'q> {
    /// The string or integer at a pointer (RFC 6901). Of members with the same name the last counts, as for every parser
    /// that builds a tree.
    Pointer(&'q str),
    /// The name of the first member of the outermost object that has another name than this.
    Beside(&'q str),
}

/// The result of one pass.
#[derive(Clone, Debug)]
pub struct Scan<'q> {
    pub is_json: bool,
    /// The deepest nesting of brackets, up to where the text stops being JSON, or to the first that is too deep: behind it
    /// nothing is read.
    pub depth: usize,
    found: Vec<(Lookup<'q>, Found)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Text(String),
    /// It is a string or a number that cannot be decoded. This is final.
    Unreadable,
}

/// Reads the text once. The bytes need not be UTF-8: only names and values that are looked up must be.
pub fn scan<'q>(json: &[u8], lookups: impl IntoIterator<Item = Lookup<'q>>) -> Scan<'q> {
    let found: Vec<_> = lookups.into_iter().map(|lookup| (lookup, Found::Nothing)).collect();
    let targets: Vec<_> = found.iter().enumerate().map(|(of, (lookup, _))| Target { of, rest: *lookup }).collect();
    let mut scanner = Scanner { cursor: Cursor::new(json), found };
    let value = scanner.value(&targets);
    let is_json = value.is_some() && scanner.cursor.peek_token().is_none();
    Scan { is_json, depth: scanner.cursor.deepest, found: scanner.found }
}

impl Scan<'_> {
    pub fn is_too_deep(&self) -> bool {
        self.depth > MAX_DEPTH
    }

    /// `None` where `lookup` was not asked for.
    pub fn get(&self, lookup: Lookup<'_>) -> Option<Option<&str>> {
        let (_, found) = self.found.iter().find(|(asked, _)| *asked == lookup)?;
        match found {
            Found::Text(text) if self.is_json => Some(Some(text)),
            _ => Some(None),
        }
    }
}

impl Found {
    /// The value of a text that is known to be a string, a number, a boolean or `null`.
    fn of(scalar: &[u8]) -> Found {
        match serde_json::from_slice(scalar) {
            Ok(Value::String(text)) => Found::Text(text),
            Ok(Value::Number(number)) if !number.is_f64() => Found::Text(number.to_string()),
            Ok(_) => Found::Nothing,
            Err(_) => Found::Unreadable,
        }
    }
}

/// A lookup within the value being read.
#[derive(Clone, Copy)]
struct Target<'q> {
    /// Its position among the lookups.
    of: usize,
    /// The part of the pointer that is left; empty for the value itself.
    rest: Lookup<'q>,
}

impl<'q> Target<'q> {
    /// The first segment of the rest of the pointer, and the target within the member or item of that name.
    fn split(self) -> Option<(Cow<'q, str>, Target<'q>)> {
        let Lookup::Pointer(pointer) = self.rest else { return None };
        let pointer = pointer.strip_prefix('/')?;
        let (segment, rest) = pointer.split_at(pointer.find('/').unwrap_or(pointer.len()));
        Some((unescaped(segment), Target { rest: Lookup::Pointer(rest), ..self }))
    }
}

fn unescaped(segment: &str) -> Cow<'_, str> {
    if segment.contains('~') { segment.replace("~1", "/").replace("~0", "~").into() } else { segment.into() }
}

/// Every step is `None` where the text is not JSON.
struct Scanner<'j, 'q> {
    cursor: Cursor<'j>,
    found: Vec<(Lookup<'q>, Found)>,
}

impl<'q> Scanner<'_, 'q> {
    fn value(&mut self, targets: &[Target<'q>]) -> Option<()> {
        if targets.is_empty() || self.cursor.depth == MAX_DEPTH {
            return self.cursor.skip_value();
        }
        match self.cursor.peek_token()? {
            b'{' => self.object(targets),
            b'[' => self.array(targets),
            _ => self.scalar(targets),
        }
    }

    fn scalar(&mut self, targets: &[Target<'q>]) -> Option<()> {
        let scalar = self.cursor.scalar()?;
        for target in targets.iter().filter(|target| target.rest == Lookup::Pointer("")) {
            self.set(target.of, Found::of(scalar));
        }
        Some(())
    }

    fn object(&mut self, targets: &[Target<'q>]) -> Option<()> {
        let mut is_open = self.cursor.open(b'}')?;
        if !is_open {
            return Some(());
        }
        let wanted: Vec<_> = targets.iter().filter_map(|target| target.split()).collect();
        let beside: Vec<_> =
            targets.iter().filter(|target| matches!(target.rest, Lookup::Beside(_))).copied().collect();
        while is_open {
            let name = self.cursor.name()?;
            beside.iter().for_each(|target| self.note_beside(*target, name));
            let inner: Vec<_> =
                wanted.iter().filter(|(segment, _)| name.is(segment)).map(|(_, within)| *within).collect();
            inner.iter().for_each(|within| self.set(within.of, Found::Nothing));
            self.value(&inner)?;
            is_open = self.cursor.go_on(b'}')?;
        }
        Some(())
    }

    fn note_beside(&mut self, target: Target<'q>, name: Name<'_>) {
        if let Lookup::Beside(known) = target.rest
            && self.found[target.of].1 == Found::Nothing
            && !name.is(known)
        {
            self.set(target.of, name.text().map_or(Found::Unreadable, |name| Found::Text(name.into_owned())));
        }
    }

    fn array(&mut self, targets: &[Target<'q>]) -> Option<()> {
        let items: Vec<_> = targets.iter().filter_map(|target| target.split()).filter_map(item).collect();
        let (mut is_open, mut index) = (self.cursor.open(b']')?, 0);
        while is_open {
            let inner: Vec<_> = items.iter().filter(|(wanted, _)| *wanted == index).map(|(_, inner)| *inner).collect();
            self.value(&inner)?;
            is_open = self.cursor.go_on(b']')?;
            index += 1;
        }
        Some(())
    }

    fn set(&mut self, of: usize, found: Found) {
        let (_, before) = &mut self.found[of];
        if *before != Found::Unreadable {
            *before = found;
        }
    }
}

/// The index that a segment is; `01` is none.
fn item<'q>((segment, within): (Cow<'q, str>, Target<'q>)) -> Option<(usize, Target<'q>)> {
    let index: usize = segment.parse().ok()?;
    (index.to_string() == segment).then_some((index, within))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(json: &[u8], lookup: Lookup<'_>) -> Option<String> {
        scan(json, [lookup]).get(lookup).unwrap().map(str::to_owned)
    }

    #[test]
    fn the_value_at_the_pointer_is_found() {
        let json = br#"{"a":{"b":["x",{"c":-7}]},"m~n/o":18446744073709551615,"a":{"b":["y"]}}"#;
        let at = |pointer| value(json, Lookup::Pointer(pointer));
        assert_eq!(at("/a/b/0").as_deref(), Some("y"), "the last member of a name counts");
        assert_eq!(at("/m~0n~1o").as_deref(), Some("18446744073709551615"));
        for nothing in ["/a", "/a/b", "/a/b/1", "/a/b/00", "/a/b/-", "/x", "/a/b/0/c", "/"] {
            assert_eq!(at(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn the_member_beside_the_one_that_is_always_there_is_found() {
        let beside = |json: &str| value(json.as_bytes(), Lookup::Beside("update_id"));
        assert_eq!(beside(r#"{"update_id":1,"message":{"text":"a"},"x":2}"#).as_deref(), Some("message"));
        assert_eq!(beside(r#"{"poll":{},"update_id":1}"#).as_deref(), Some("poll"));
        for nothing in [r#"{"update_id":1}"#, "{}", r#"[{"a":1}]"#, r#"{"a":1"#, r#"{"a":1}x"#, "\"a\""] {
            assert_eq!(beside(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn text_that_is_not_json_as_a_whole_has_no_values() {
        for text in ["{\"a\":1", "{\"a\":1}x", "", "a=1"] {
            assert_eq!(value(text.as_bytes(), Lookup::Pointer("/a")), None, "{text}");
        }
    }

    #[test]
    fn all_lookups_are_answered_by_one_pass() {
        let lookups = [Lookup::Pointer("/a/1"), Lookup::Pointer("/b"), Lookup::Beside("a"), Lookup::Pointer("/a/1")];
        let scan = scan(br#" { "a" : [ 1 , "two" ] , "b" : [] } "#, lookups);
        assert!(scan.is_json);
        assert_eq!(lookups.map(|lookup| scan.get(lookup).unwrap()), [Some("two"), None, Some("b"), Some("two")]);
        assert_eq!((scan.depth, scan.get(Lookup::Pointer("/c"))), (2, None));
    }

    #[test]
    fn grammar_is_that_of_the_parser_that_reads_it_later() {
        use serde::de::IgnoredAny;
        let pieces = [
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"",
            "\"a\"",
            "\"b",
            "\\",
            "\\u00e9",
            "\\ud83d",
            "\\q",
            "0",
            "-",
            "1",
            "01",
            ".5",
            "e",
            "E+9",
            "e999",
            "true",
            "null",
            "fals",
            " ",
            "\n",
            "\u{1}",
            "é",
            "~",
            "a",
            "{\"a\":",
            "longer than eight",
        ];
        // Numbers of Knuth's generator: the same texts in every run.
        let mut state = 1u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for _ in 0..200_000 {
            let text: String = (0..random(9)).map(|_| pieces[random(pieces.len())]).collect();
            let is_json = serde_json::from_str::<IgnoredAny>(&text).is_ok();
            assert_eq!(scan(text.as_bytes(), []).is_json, is_json, "{text}");
            assert_eq!(
                scan(text.as_bytes(), [Lookup::Pointer("/a/0"), Lookup::Pointer("/a")]).is_json,
                is_json,
                "{text}"
            );
        }
    }

    #[test]
    fn nothing_is_read_beyond_the_deepest_level() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let nested = |levels: usize| open.repeat(levels) + "1" + &close.repeat(levels);
            let pointer = "/a".repeat(1_000);
            let scan = |levels: usize| scan(nested(levels).as_bytes(), [Lookup::Pointer(&pointer)]);
            assert_eq!((scan(MAX_DEPTH).is_json, scan(MAX_DEPTH).depth), (true, MAX_DEPTH));
            assert_eq!((scan(1_000_000).is_json, scan(1_000_000).depth), (false, MAX_DEPTH + 1));
        }
    }
}
