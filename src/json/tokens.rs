//! A value as a sequence of tokens, read once and without recursion, in text that is known to be JSON.

use super::cursor::Cursor;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'j> {
    /// `{` or `[`
    Open(char),
    /// The name of a member, with its quotes. Its value follows.
    Name(&'j str),
    /// A string with its quotes, a number, a boolean or `null`.
    Scalar(&'j str),
    /// `}` or `]`
    Close(char),
}

pub struct Tokens<'j> {
    json: &'j str,
    cursor: Cursor<'j>,
    /// The brackets that are to be closed.
    close: Vec<u8>,
    next: Next,
}

#[derive(Clone, Copy)]
enum Next {
    Value,
    Member,
    /// What follows a value.
    After,
    Nothing,
}

/// The tokens of the value that the text begins with.
pub fn tokens(json: &str) -> Tokens<'_> {
    Tokens { json, cursor: Cursor::new(json.as_bytes()), close: Vec::new(), next: Next::Value }
}

impl<'j> Iterator for Tokens<'j> {
    type Item = Token<'j>;

    fn next(&mut self) -> Option<Token<'j>> {
        match self.next {
            Next::Value => self.value(),
            Next::Member => self.name(),
            Next::After => self.after(),
            Next::Nothing => None,
        }
    }
}

impl<'j> Tokens<'j> {
    fn value(&mut self) -> Option<Token<'j>> {
        let (open, close) = match self.cursor.peek_token()? {
            b'{' => ('{', b'}'),
            b'[' => ('[', b']'),
            _ => {
                let start = self.cursor.position();
                self.cursor.scalar()?;
                self.next = if self.close.is_empty() { Next::Nothing } else { Next::After };
                return Some(Token::Scalar(&self.json[start..self.cursor.position()]));
            }
        };
        self.cursor.pass_bracket();
        self.close.push(close);
        self.next = match self.cursor.peek_token()? {
            byte if byte == close => Next::After,
            _ if close == b'}' => Next::Member,
            _ => Next::Value,
        };
        Some(Token::Open(open))
    }

    fn name(&mut self) -> Option<Token<'j>> {
        self.cursor.peek_token()?;
        self.cursor.peek_token()?;
        let start = self.cursor.position();
        let written_bytes = self.cursor.name()?.written().len();
        self.next = Next::Value;
        Some(Token::Name(&self.json[start..start + written_bytes]))
    }

    fn after(&mut self) -> Option<Token<'j>> {
        let close = *self.close.last()?;
        let byte = self.cursor.peek_token()?;
        self.cursor.pass_bracket();
        if byte == close {
            self.close.pop();
            self.next = if self.close.is_empty() { Next::Nothing } else { Next::After };
            return Some(Token::Close(char::from(close)));
        }
        if close == b'}' { self.name() } else { self.value() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_token_by_token() {
        use Token::{Close, Name, Open, Scalar};
        let found: Vec<_> = tokens(r#" { "a" : [ 1 , [ ] , "x,]" ] , "b":{}, "c":null } 7"#).collect();
        let expected = [
            Open('{'),
            Name("\"a\""),
            Open('['),
            Scalar("1"),
            Open('['),
            Close(']'),
            Scalar("\"x,]\""),
            Close(']'),
            Name("\"b\""),
            Open('{'),
            Close('}'),
            Name("\"c\""),
            Scalar("null"),
            Close('}'),
        ];
        assert_eq!(found, expected);
        assert_eq!(tokens(" 12 ").collect::<Vec<_>>(), [Scalar("12")]);
        assert_eq!(tokens("[1").collect::<Vec<_>>(), [Open('['), Scalar("1")]);
    }
}
