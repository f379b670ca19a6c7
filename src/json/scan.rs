//! One pass over JSON text, for its grammar, its depth and the values to look up. No tree is built: bodies are up to
//! `max_body` large, and a tree takes ten times the size. It recurses only along the pointers looked up, and never beyond
//! [`MAX_DEPTH`].

use std::borrow::Cow;

use serde_json::Value;

use super::MAX_DEPTH;

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
    /// The deepest nesting of brackets, up to where the text stops being JSON.
    pub depth: usize,
    found: Vec<(Lookup<'q>, Found)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Text(String),
    /// The value, or a name on the way to it, is a string or a number that cannot be decoded. This is final.
    Unreadable,
}

/// Reads the text once. The bytes need not be UTF-8: only names and values that are looked up must be.
pub fn scan<'q>(json: &[u8], lookups: impl IntoIterator<Item = Lookup<'q>>) -> Scan<'q> {
    let found = lookups.into_iter().map(|lookup| (lookup, Found::Nothing)).collect();
    let mut scanner = Scanner { json, at: 0, depth: 0, deepest: 0, found };
    let targets: Vec<Target<'q>> =
        scanner.found.iter().enumerate().map(|(of, (lookup, _))| lookup.target(of)).collect();
    let value = scanner.value(&targets);
    scanner.skip_whitespace();
    let is_json = value.is_some() && scanner.at == json.len();
    Scan { is_json, depth: scanner.deepest, found: scanner.found }
}

impl Scan<'_> {
    /// `None` where `lookup` was not asked for.
    pub fn get(&self, lookup: Lookup<'_>) -> Option<Option<&str>> {
        let (_, found) = self.found.iter().find(|(asked, _)| *asked == lookup)?;
        match found {
            Found::Text(text) if self.is_json => Some(Some(text)),
            _ => Some(None),
        }
    }
}

impl<'q> Lookup<'q> {
    fn target(self, of: usize) -> Target<'q> {
        match self {
            Lookup::Pointer(pointer) => Target { of, rest: Rest::Pointer(pointer) },
            Lookup::Beside(name) => Target { of, rest: Rest::Beside(name) },
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
    rest: Rest<'q>,
}

#[derive(Clone, Copy)]
enum Rest<'q> {
    /// The rest of the pointer; empty for the value itself.
    Pointer(&'q str),
    Beside(&'q str),
}

impl<'q> Target<'q> {
    /// The first segment of the rest of the pointer, and the target within the member or item of that name.
    fn split(self) -> Option<(Cow<'q, str>, Target<'q>)> {
        let Rest::Pointer(pointer) = self.rest else { return None };
        let pointer = pointer.strip_prefix('/')?;
        let (segment, rest) = pointer.split_at(pointer.find('/').unwrap_or(pointer.len()));
        Some((unescaped(segment), Target { rest: Rest::Pointer(rest), ..self }))
    }
}

fn unescaped(segment: &str) -> Cow<'_, str> {
    if segment.contains('~') { segment.replace("~1", "/").replace("~0", "~").into() } else { segment.into() }
}

/// Every step is `None` where the text is not JSON. The smallest ones are always inlined: the program is optimised for size,
/// and calls would double the time.
struct Scanner<'j, 'q> {
    json: &'j [u8],
    at: usize,
    depth: usize,
    deepest: usize,
    found: Vec<(Lookup<'q>, Found)>,
}

impl<'j, 'q> Scanner<'j, 'q> {
    fn value(&mut self, targets: &[Target<'q>]) -> Option<()> {
        if targets.is_empty() || self.depth == MAX_DEPTH {
            return self.skip_value();
        }
        match self.peek_token()? {
            b'{' => self.object(targets),
            b'[' => self.array(targets),
            _ => self.scalar(targets),
        }
    }

    fn scalar(&mut self, targets: &[Target<'q>]) -> Option<()> {
        let start = self.at;
        self.skip_scalar()?;
        for target in targets.iter().filter(|target| matches!(target.rest, Rest::Pointer(""))) {
            self.set(target.of, Found::of(&self.json[start..self.at]));
        }
        Some(())
    }

    fn object(&mut self, targets: &[Target<'q>]) -> Option<()> {
        let mut is_open = self.open(b'}')?;
        while is_open {
            let inner = self.member(targets)?;
            self.value(&inner)?;
            is_open = self.go_on(b'}')?;
        }
        Some(())
    }

    /// Reads the name of a member, and returns the targets within it.
    fn member(&mut self, targets: &[Target<'q>]) -> Option<Vec<Target<'q>>> {
        let quoted = self.name()?;
        let Some(name) = string(quoted) else {
            targets.iter().for_each(|target| self.set(target.of, Found::Unreadable));
            return Some(Vec::new());
        };
        let mut inner = Vec::new();
        for target in targets {
            match (target.rest, target.split()) {
                (_, Some((segment, within))) if segment == name => {
                    self.set(target.of, Found::Nothing);
                    inner.push(within);
                }
                (Rest::Beside(known), _) if known != name && self.found[target.of].1 == Found::Nothing => {
                    self.set(target.of, Found::Text(name.to_string()));
                }
                _ => {}
            }
        }
        Some(inner)
    }

    fn array(&mut self, targets: &[Target<'q>]) -> Option<()> {
        let mut items: Vec<(usize, Target<'q>)> = Vec::new();
        for (segment, within) in targets.iter().filter_map(|target| target.split()) {
            // `01` is no index.
            items.extend(
                segment.parse().ok().filter(|index: &usize| index.to_string() == segment).map(|index| (index, within)),
            );
        }
        let (mut is_open, mut index) = (self.open(b']')?, 0);
        while is_open {
            let inner: Vec<_> =
                items.iter().filter(|(wanted, _)| *wanted == index).map(|(_, within)| *within).collect();
            self.value(&inner)?;
            is_open = self.go_on(b']')?;
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

    /// Passes an opening bracket. False if the closing one follows at once.
    fn open(&mut self, close: u8) -> Option<bool> {
        self.at += 1;
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
        let is_empty = self.peek_token()? == close;
        if is_empty {
            self.close();
        }
        Some(!is_empty)
    }

    /// After a member or an item: true if another one follows, false if the bracket closes.
    fn go_on(&mut self, close: u8) -> Option<bool> {
        match self.peek_token()? {
            b',' => {
                self.at += 1;
                Some(true)
            }
            byte if byte == close => {
                self.close();
                Some(false)
            }
            _ => None,
        }
    }

    fn close(&mut self) {
        self.at += 1;
        self.depth -= 1;
    }

    /// Passes one value, however deep, without recursion.
    fn skip_value(&mut self) -> Option<()> {
        let mut brackets: Vec<u8> = Vec::new();
        loop {
            match self.peek_token()? {
                bracket @ (b'{' | b'[') => {
                    if self.open(closing(bracket))? {
                        brackets.push(bracket);
                        self.skip_name_in(bracket)?;
                        continue;
                    }
                }
                _ => self.skip_scalar()?,
            }
            loop {
                let Some(bracket) = brackets.last().copied() else { return Some(()) };
                if self.go_on(closing(bracket))? {
                    self.skip_name_in(bracket)?;
                    break;
                }
                brackets.pop();
            }
        }
    }

    fn skip_name_in(&mut self, bracket: u8) -> Option<()> {
        if bracket == b'{' {
            self.name()?;
        }
        Some(())
    }

    /// The name of a member with its quotes, of which the colon is passed too.
    fn name(&mut self) -> Option<&'j [u8]> {
        if self.peek_token()? != b'"' {
            return None;
        }
        let start = self.at;
        self.skip_string()?;
        let name = &self.json[start..self.at];
        if self.peek_token()? != b':' {
            return None;
        }
        self.at += 1;
        Some(name)
    }

    fn skip_scalar(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.skip_string(),
            b'-' | b'0'..=b'9' => self.skip_number(),
            b't' => self.skip_word(b"true"),
            b'f' => self.skip_word(b"false"),
            b'n' => self.skip_word(b"null"),
            _ => None,
        }
    }

    fn skip_word(&mut self, word: &[u8]) -> Option<()> {
        self.json[self.at..].starts_with(word).then(|| self.at += word.len())
    }

    fn skip_number(&mut self) -> Option<()> {
        self.skip_if(|byte| byte == b'-');
        if !self.skip_if(|byte| byte == b'0') {
            self.skip_digits()?;
        }
        if self.skip_if(|byte| byte == b'.') {
            self.skip_digits()?;
        }
        if self.skip_if(|byte| matches!(byte, b'e' | b'E')) {
            self.skip_if(|byte| matches!(byte, b'+' | b'-'));
            self.skip_digits()?;
        }
        Some(())
    }

    /// One digit at least.
    fn skip_digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.skip_if(|byte| byte.is_ascii_digit()) {}
        (self.at > start).then_some(())
    }

    #[inline(always)]
    fn skip_string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            self.skip_plain();
            match self.next()? {
                b'"' => return Some(()),
                b'\\' => self.skip_escape()?,
                // A control character.
                _ => return None,
            }
        }
    }

    fn skip_escape(&mut self) -> Option<()> {
        match self.next()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => (0..4).all(|_| self.skip_if(|byte| byte.is_ascii_hexdigit())).then_some(()),
            _ => None,
        }
    }

    /// Passes the characters of a string up to a quote, a backslash or a control character, eight at a time.
    #[inline(always)]
    fn skip_plain(&mut self) {
        while let Some(bytes) = self.json[self.at..].first_chunk() {
            let special = special_bytes(u64::from_le_bytes(*bytes));
            if special != 0 {
                self.at += special.trailing_zeros() as usize / 8;
                return;
            }
            self.at += size_of::<u64>();
        }
        while self.skip_if(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {}
    }

    #[inline(always)]
    fn peek_token(&mut self) -> Option<u8> {
        self.skip_whitespace();
        self.peek()
    }

    #[inline(always)]
    fn skip_whitespace(&mut self) {
        while self.skip_if(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t')) {}
    }

    #[inline(always)]
    fn skip_if(&mut self, is_it: impl Fn(u8) -> bool) -> bool {
        let is_there = self.peek().is_some_and(is_it);
        self.at += usize::from(is_there);
        is_there
    }

    #[inline(always)]
    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    #[inline(always)]
    fn peek(&self) -> Option<u8> {
        self.json.get(self.at).copied()
    }
}

fn closing(bracket: u8) -> u8 {
    if bracket == b'{' { b'}' } else { b']' }
}

/// The text of a string with its quotes. `None` if it is no text: half of a UTF-16 pair, or not UTF-8.
fn string(quoted: &[u8]) -> Option<Cow<'_, str>> {
    if quoted.contains(&b'\\') {
        return serde_json::from_slice(quoted).ok().map(Cow::Owned);
    }
    std::str::from_utf8(&quoted[1..quoted.len() - 1]).ok().map(Cow::Borrowed)
}

/// The highest bit of each byte that is a quote, a backslash or a control character. Above the first of them it may be set
/// by mistake. <https://graphics.stanford.edu/~seander/bithacks.html#HasLessInWord>
#[inline(always)]
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    let less_than = |word: u64, least: u8| word.wrapping_sub(ONES * u64::from(least)) & !word;
    let equal_to = |byte: u8| less_than(word ^ (ONES * u64::from(byte)), 1);
    (less_than(word, b' ') | equal_to(b'"') | equal_to(b'\\')) & (ONES << 7)
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
    fn no_depth_exhausts_the_stack() {
        for open in ["[", "{\"a\":"] {
            let json = open.repeat(1_000_000);
            let pointer = "/a".repeat(1_000);
            let scan = scan(json.as_bytes(), [Lookup::Pointer(&pointer)]);
            assert_eq!((scan.is_json, scan.depth), (false, 1_000_000));
        }
    }
}
