//! The grammar of JSON (RFC 8259), passed over in place and without recursion.

use std::borrow::Cow;

use memchr::memchr;

use super::{ESCAPED_UNIT_BYTES, MAX_DEPTH, escaped_unit};

/// A position in a text, and how deep it is nested there.
///
/// Every step is `None` where the text is not JSON. The smallest ones are always inlined: the program is optimised for size,
/// and calls would double the time.
pub struct Cursor<'j> {
    json: &'j [u8],
    at: usize,
    pub(super) depth: usize,
    pub(super) deepest: usize,
}

impl<'j> Cursor<'j> {
    pub fn new(json: &'j [u8]) -> Cursor<'j> {
        Cursor { json, at: 0, depth: 0, deepest: 0 }
    }

    pub fn position(&self) -> usize {
        self.at
    }

    /// Passes a bracket or a comma.
    pub fn pass_bracket(&mut self) {
        self.at += 1;
    }

    /// Passes an opening bracket. False if the closing one follows at once. `None` also where the text is nested too deep.
    pub fn open(&mut self, close: u8) -> Option<bool> {
        self.at += 1;
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
        if self.depth > MAX_DEPTH {
            return None;
        }
        let is_empty = self.peek_token()? == close;
        if is_empty {
            self.close();
        }
        Some(!is_empty)
    }

    /// After a member or an item: true if another one follows, false if the bracket closes.
    #[inline(always)]
    pub fn go_on(&mut self, close: u8) -> Option<bool> {
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

    /// Calls `member` with the name of each member of an object. It must pass the value.
    pub fn each_member(&mut self, mut member: impl FnMut(&mut Cursor<'j>, Name<'j>) -> Option<()>) -> Option<()> {
        let mut is_open = self.begin(b'{')?;
        while is_open {
            let name = self.name()?;
            member(self, name)?;
            is_open = self.go_on(b'}')?;
        }
        Some(())
    }

    /// The values of these members of an object, as they are written. `None` also where one of them is there twice: another
    /// parser may read the other.
    pub fn members<const N: usize>(&mut self, names: [&str; N]) -> Option<[Option<&'j [u8]>; N]> {
        let mut found = [None; N];
        self.each_member(|cursor, name| {
            let value = cursor.value()?;
            let Some(at) = names.iter().position(|wanted| name.is(wanted)) else { return Some(()) };
            found[at].replace(value).is_none().then_some(())
        })?;
        Some(found)
    }

    /// Passes one value, and returns its text.
    fn value(&mut self) -> Option<&'j [u8]> {
        self.peek_token()?;
        let start = self.at;
        self.skip_value()?;
        Some(&self.json[start..self.at])
    }

    /// Calls `item` for each item of an array. It must pass the value.
    pub fn each_item(&mut self, mut item: impl FnMut(&mut Cursor<'j>) -> Option<()>) -> Option<()> {
        let mut is_open = self.begin(b'[')?;
        while is_open {
            item(self)?;
            is_open = self.go_on(b']')?;
        }
        Some(())
    }

    /// Passes this bracket, as [`Cursor::open`] does.
    fn begin(&mut self, bracket: u8) -> Option<bool> {
        if self.peek_token()? == bracket { self.open(closing(bracket)) } else { None }
    }

    /// Passes one value without recursion.
    pub fn skip_value(&mut self) -> Option<()> {
        let outer = self.depth;
        // A bit for each level, the innermost last: whether it is an object.
        let mut objects: u128 = 0;
        const { assert!(MAX_DEPTH <= u128::BITS as usize) };
        loop {
            match self.peek_token()? {
                bracket @ (b'{' | b'[') => {
                    if self.open(closing(bracket))? {
                        objects = objects << 1 | u128::from(bracket == b'{');
                        self.skip_name_in(bracket)?;
                        continue;
                    }
                }
                _ => self.skip_scalar()?,
            }
            while self.depth > outer {
                let bracket = if objects & 1 == 1 { b'{' } else { b'[' };
                if self.go_on(closing(bracket))? {
                    self.skip_name_in(bracket)?;
                    break;
                }
                objects >>= 1;
            }
            if self.depth == outer {
                return Some(());
            }
        }
    }

    fn skip_name_in(&mut self, bracket: u8) -> Option<()> {
        if bracket == b'{' {
            self.name()?;
        }
        Some(())
    }

    /// The name of a member. The colon is passed too.
    pub fn name(&mut self) -> Option<Name<'j>> {
        if self.peek_token()? != b'"' {
            return None;
        }
        let start = self.at;
        self.skip_string()?;
        let name = Name(&self.json[start..self.at]);
        if self.peek_token()? != b':' {
            return None;
        }
        self.at += 1;
        Some(name)
    }

    /// Passes a string, a number, a boolean or `null`, and returns its text.
    pub fn scalar(&mut self) -> Option<&'j [u8]> {
        let start = self.at;
        self.skip_scalar()?;
        Some(&self.json[start..self.at])
    }

    #[inline(always)]
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

    #[inline(always)]
    fn skip_number(&mut self) -> Option<()> {
        self.skip_if(|byte| byte == b'-');
        if !self.skip_if(|byte| byte == b'0') {
            self.skip_digits()?;
        }
        if matches!(self.peek(), Some(b'.' | b'e' | b'E')) { self.skip_fraction() } else { Some(()) }
    }

    fn skip_fraction(&mut self) -> Option<()> {
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

    /// The next byte that is not white space; `None` at the end of the text.
    #[inline(always)]
    pub fn peek_token(&mut self) -> Option<u8> {
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

/// The name of a member, with its quotes.
#[derive(Clone, Copy)]
pub struct Name<'j>(&'j [u8]);

impl<'j> Name<'j> {
    /// Whether it is this text, however it is written. Names that a sender has made up are not decoded.
    pub fn is(self, text: &str) -> bool {
        let (mut written, mut rest) = (self.between_quotes(), text.as_bytes());
        while let Some(at) = memchr(b'\\', written) {
            let escaped = escaped_char(written, at);
            let after = rest.strip_prefix(&written[..at]).zip(escaped).and_then(|(rest, (c, written_bytes))| {
                Some((rest.strip_prefix(c.encode_utf8(&mut [0; 4]).as_bytes())?, written_bytes))
            });
            let Some((after, written_bytes)) = after else { return false };
            (written, rest) = (written.get(at + written_bytes..).unwrap_or_default(), after);
        }
        written == rest
    }

    /// `None` if it is no text: half of a UTF-16 pair, or not UTF-8.
    pub fn text(self) -> Option<Cow<'j, str>> {
        if self.0.contains(&b'\\') {
            return serde_json::from_slice(self.0).ok().map(Cow::Owned);
        }
        std::str::from_utf8(self.between_quotes()).ok().map(Cow::Borrowed)
    }

    /// As it is written, with its quotes.
    pub fn written(self) -> &'j [u8] {
        self.0
    }

    fn between_quotes(self) -> &'j [u8] {
        &self.0[1..self.0.len() - 1]
    }
}

/// The character that is written as an escape at `at`, and how many bytes that takes. `None` for half of a UTF-16 pair.
fn escaped_char(written: &[u8], at: usize) -> Option<(char, usize)> {
    let plain = match written.get(at + 1)? {
        b'u' => {
            let unit = escaped_unit(written, at)?;
            let next = escaped_unit(written, at + ESCAPED_UNIT_BYTES).filter(|_| (0xD800..0xDC00).contains(&unit));
            let units = [unit, next.unwrap_or_default()];
            let count = 1 + usize::from(next.is_some());
            let c = char::decode_utf16(units.into_iter().take(count)).next()?.ok()?;
            return Some((c, count * ESCAPED_UNIT_BYTES));
        }
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        other => char::from(*other),
    };
    Some((plain, 2))
}

fn closing(bracket: u8) -> u8 {
    if bracket == b'{' { b'}' } else { b']' }
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

    #[test]
    fn a_name_is_recognised_however_it_is_written() {
        for (written, text) in [
            ("\"ab\"", "ab"),
            (r#""\u0061b""#, "ab"),
            (r#""a\u0062""#, "ab"),
            (r#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t"),
            (r#""\ud83d\ude00\u00E9é""#, "😀éé"),
            ("\"\"", ""),
        ] {
            let name = Name(written.as_bytes());
            assert!(name.is(text) && name.text().as_deref() == Some(text), "{written}");
            for other in ["x", "a", "abc", "ab\u{0}", "😀"] {
                assert!(!name.is(other), "{written} {other}");
            }
        }
        for written in [r#""\ud83d""#, r#""\ude00a""#, r#""\ud83d\u0061""#] {
            let name = Name(written.as_bytes());
            assert!(name.text().is_none() && !name.is("\u{fffd}") && !name.is(""), "{written}");
        }
    }
}
