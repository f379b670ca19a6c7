//! The filter `tojson`. minijinja's writes without a limit, and numbers not as they came.

use std::fmt::Write;

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind};

use super::budget::{self, Counted};
use super::number::{Number, native};
use super::payload::{Node, members};
use crate::json::{self, Token};

/// Where white space stands.
#[derive(Clone, Copy)]
pub enum Style {
    Compact,
    /// After commas and colons.
    Spaced,
    /// Each member and item is on a line of its own, indented by this much.
    Lines(usize),
}

pub fn filter(value: &Value, indent: Option<Value>, options: Kwargs) -> Result<Value, Error> {
    let indent = match indent {
        Some(indent) => Some(indent),
        None => options.get::<Option<Value>>("indent")?,
    };
    options.assert_all_used()?;
    let style = match indent.filter(|indent| !indent.is_none() && !indent.is_undefined()) {
        None => Style::Spaced,
        Some(indent) if indent.kind() == ValueKind::Bool && indent.is_true() => Style::Lines(2),
        Some(indent) if indent.kind() == ValueKind::Bool => Style::Spaced,
        Some(indent) => Style::Lines(usize::try_from(native(&indent))?),
    };
    Ok(Value::from_safe_string(to_json(value, style, true)?))
}

/// With `is_html_safe`, characters that mean something in HTML are escaped in strings, as Jinja does.
pub fn to_json(value: &Value, style: Style, is_html_safe: bool) -> Result<String, Error> {
    let mut writer = Writer { out: Counted::default(), style, is_html_safe, depth: 0 };
    writer.value(value)?;
    Ok(writer.out.0)
}

struct Writer {
    out: Counted,
    style: Style,
    is_html_safe: bool,
    depth: usize,
}

impl Writer {
    fn value(&mut self, value: &Value) -> Result<(), Error> {
        if let Some(node) = value.downcast_object_ref::<Node>() {
            return if node.names_are_unique() { self.once_through(node.json()) } else { self.json(node.json()) };
        }
        if let Some(number) = value.downcast_object_ref::<Number>() {
            return self.write(number.token());
        }
        match (value.kind(), value.as_str()) {
            (_, Some(text)) => self.string(text),
            (ValueKind::Undefined | ValueKind::None, _) => self.write("null"),
            (ValueKind::Bool, _) => self.write(if value.is_true() { "true" } else { "false" }),
            (ValueKind::Number, _) if value.is_integer() => Ok(write!(self.out, "{value}")?),
            (ValueKind::Number, _) => {
                let number = f64::try_from(value.clone())?;
                self.write(&serde_json::Value::from(number).to_string())
            }
            (ValueKind::Seq | ValueKind::Iterable, _) => self.list(value),
            (ValueKind::Map, _) => self.map(value),
            (kind @ ValueKind::Invalid, _) => Err(Error::new(ErrorKind::InvalidOperation, kind.to_string())),
            _ => self.string(&budget::text_of(format_args!("{value}"))?),
        }
    }

    fn list(&mut self, value: &Value) -> Result<(), Error> {
        self.container("[", "]", value.try_iter()?, |writer, item| writer.value(&item))
    }

    fn map(&mut self, value: &Value) -> Result<(), Error> {
        let pairs = value.as_object().and_then(|map| map.try_iter_pairs()).into_iter().flatten();
        self.container("{", "}", pairs, |writer, (name, value)| {
            writer.string(&budget::text_of(format_args!("{name}"))?)?;
            writer.colon()?;
            writer.value(&value)
        })
    }

    /// A part of a payload.
    fn once_through(&mut self, json: &str) -> Result<(), Error> {
        let (mut is_first, mut has_separator) = (true, true);
        for token in json::tokens(json) {
            if !has_separator && !matches!(token, Token::Close(_)) {
                self.before_part(is_first)?;
            }
            match token {
                Token::Name(name) => {
                    self.quoted(name)?;
                    self.colon()?;
                }
                Token::Scalar(string) if string.starts_with('"') => self.quoted(string)?,
                Token::Scalar(other) => self.write(other)?,
                Token::Open(bracket) => {
                    self.depth += 1;
                    self.out.write_char(bracket)?;
                }
                Token::Close(bracket) => {
                    self.depth -= 1;
                    if !is_first {
                        self.line_break()?;
                    }
                    self.out.write_char(bracket)?;
                }
            }
            is_first = matches!(token, Token::Open(_));
            has_separator = matches!(token, Token::Name(_));
        }
        Ok(())
    }

    /// The same where a name may stand twice in an object.
    fn json(&mut self, json: &str) -> Result<(), Error> {
        match json.as_bytes().first() {
            Some(b'{') => self.container("{", "}", members(json), |writer, (name, value)| {
                writer.json(name)?;
                writer.colon()?;
                writer.json(value)
            }),
            Some(b'[') => self.container("[", "]", json::items(json), |writer, item| writer.json(&json[item])),
            Some(b'"') => self.quoted(json),
            _ => self.write(json),
        }
    }

    fn container<T>(
        &mut self,
        open: &str,
        close: &str,
        parts: impl Iterator<Item = T>,
        mut part: impl FnMut(&mut Writer, T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.write(open)?;
        self.depth += 1;
        let mut is_empty = true;
        for it in parts {
            self.before_part(is_empty)?;
            is_empty = false;
            part(self, it)?;
        }
        self.depth -= 1;
        if !is_empty {
            self.line_break()?;
        }
        self.write(close)
    }

    fn before_part(&mut self, is_first: bool) -> Result<(), Error> {
        match self.style {
            _ if is_first => {}
            Style::Spaced => self.write(", ")?,
            _ => self.write(",")?,
        }
        self.line_break()
    }

    fn line_break(&mut self) -> Result<(), Error> {
        let Style::Lines(indent) = self.style else { return Ok(()) };
        let width = indent.saturating_mul(self.depth);
        budget::charge(width)?;
        self.write("\n")?;
        self.out.0.extend(std::iter::repeat_n(' ', width));
        Ok(())
    }

    fn colon(&mut self) -> Result<(), Error> {
        self.write(if matches!(self.style, Style::Compact) { ":" } else { ": " })
    }

    /// A string of a payload.
    fn quoted(&mut self, quoted: &str) -> Result<(), Error> {
        let is_plain = |byte: u8| byte != b'\\' && !(self.is_html_safe && matches!(byte, b'<' | b'>' | b'&' | b'\''));
        if quoted.bytes().all(is_plain) { self.write(quoted) } else { self.string(&json::unquoted(quoted)) }
    }

    fn string(&mut self, text: &str) -> Result<(), Error> {
        self.write("\"")?;
        let mut rest = text;
        while let Some(at) = rest.find(|character| self.is_escaped(character)) {
            self.write(&rest[..at])?;
            self.escape(rest.as_bytes()[at])?;
            rest = &rest[at + 1..];
        }
        self.write(rest)?;
        self.write("\"")
    }

    fn is_escaped(&self, character: char) -> bool {
        character < ' '
            || matches!(character, '"' | '\\')
            || (self.is_html_safe && matches!(character, '<' | '>' | '&' | '\''))
    }

    fn escape(&mut self, character: u8) -> Result<(), Error> {
        match character {
            b'"' => self.write("\\\""),
            b'\\' => self.write("\\\\"),
            b'\n' => self.write("\\n"),
            b'\r' => self.write("\\r"),
            b'\t' => self.write("\\t"),
            8 => self.write("\\b"),
            12 => self.write("\\f"),
            other => Ok(write!(self.out, "\\u{other:04x}")?),
        }
    }

    fn write(&mut self, text: &str) -> Result<(), Error> {
        Ok(self.out.write_str(text)?)
    }
}
