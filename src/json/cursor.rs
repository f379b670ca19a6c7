//! The grammar of JSON (RFC 8259), passed over in place and without recursion.

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

    /// Passes an opening bracket. False if the closing one follows at once.
    pub fn open(&mut self, close: u8) -> Option<bool> {
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

    /// Passes one value, however deep, without recursion.
    pub fn skip_value(&mut self) -> Option<()> {
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
    pub fn name(&mut self) -> Option<&'j [u8]> {
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

    /// Passes a string, a number, a boolean or `null`, and returns its text.
    pub fn scalar(&mut self) -> Option<&'j [u8]> {
        let start = self.at;
        self.skip_scalar()?;
        Some(&self.json[start..self.at])
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
