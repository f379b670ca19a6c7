//! The most bytes that the result of a filter takes, from its arguments.

use std::borrow::Cow;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, Value};

use super::budget::{MAX_VALUE_BYTES, NESTED_BYTES, SLOT_BYTES, length_of, text_of};

/// A number or a date that a format prints without a width: the largest float has 309 digits.
const FORMATTED_BYTES: usize = 400;

/// `&quot;` and other escapes.
const ESCAPE_BYTES: usize = 6;

/// A character whose upper case is longest takes three times its bytes.
const RECASED: usize = 3;

pub type Bound = fn(&[Value]) -> Result<usize, Error>;

pub fn nothing(_: &[Value]) -> Result<usize, Error> {
    Ok(0)
}

/// As long as the text.
pub fn same(arguments: &[Value]) -> Result<usize, Error> {
    length(&arguments[0])
}

pub fn recased(arguments: &[Value]) -> Result<usize, Error> {
    let is_ascii = arguments[0].as_str().is_some_and(str::is_ascii);
    Ok(length(&arguments[0])?.saturating_mul(if is_ascii { 1 } else { RECASED }))
}

/// `<`, `>`, `&`, quotes and slashes may be escaped.
pub fn escaped(arguments: &[Value]) -> Result<usize, Error> {
    let Some(text) = arguments[0].as_str() else { return Ok(length(&arguments[0])?.saturating_mul(ESCAPE_BYTES)) };
    Ok(text.len() + ESCAPE_BYTES * text.matches(['<', '>', '&', '"', '\'', '/']).count())
}

pub fn percent_encoded(arguments: &[Value]) -> Result<usize, Error> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/.-_".contains(byte);
    match arguments[0].as_str() {
        Some(text) => Ok(text.len() + 2 * text.bytes().filter(|byte| !is_plain(byte)).count()),
        None => Ok(length(&arguments[0])?.saturating_mul(3)),
    }
}

pub fn pretty(arguments: &[Value]) -> Result<usize, Error> {
    length_of(format_args!("{:#?}", arguments[0]))
}

pub fn replaced(arguments: &[Value]) -> Result<usize, Error> {
    let [text, from, to, ..] = arguments else { return Ok(0) };
    let (text, from, to_bytes) = (string(text)?, string(from)?, length(to)?);
    let most = number_at(arguments, 3, "count").unwrap_or(usize::MAX);
    let count = text.matches(&*from).take(most).count();
    // Each of the strings may be escaped before.
    Ok((text.len() + count.saturating_mul(to_bytes)).saturating_mul(if arguments.iter().any(Value::is_safe) {
        ESCAPE_BYTES
    } else {
        1
    }))
}

/// A text in pieces.
pub fn pieces(arguments: &[Value]) -> Result<usize, Error> {
    let text = string(&arguments[0])?;
    let pieces = match arguments.get(1).and_then(Value::as_str) {
        Some(separator) => text.matches(separator).count(),
        None => text.split_whitespace().count() + text.matches('\n').count(),
    };
    Ok(text.len().saturating_add(2 * SLOT_BYTES * (pieces + 1)))
}

pub fn indented(arguments: &[Value]) -> Result<usize, Error> {
    let text = string(&arguments[0])?;
    let width = number_at(arguments, 1, "width").unwrap_or(4);
    let lines = text.matches('\n').count() + 2;
    Ok(text.len().saturating_add(lines.saturating_mul(width)))
}

/// A format with widths, which may be arguments.
pub fn formatted(arguments: &[Value]) -> Result<usize, Error> {
    let format = string(&arguments[0])?;
    let widths = format.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    let widths = widths.map(|digits| digits.parse().unwrap_or(usize::MAX)).fold(0, usize::saturating_add);
    let mut bytes = format.len().saturating_add(widths).saturating_add(FORMATTED_BYTES * format.matches('%').count());
    for argument in &arguments[1..] {
        let width = argument.as_i64().map_or(0, i64::unsigned_abs);
        bytes = bytes
            .saturating_add(usize::try_from(width).unwrap_or(usize::MAX))
            .saturating_add(length(argument)?.saturating_mul(ESCAPE_BYTES));
    }
    Ok(bytes)
}

/// A list of the items, and its like in between.
pub fn items(arguments: &[Value]) -> Result<usize, Error> {
    Ok(count_items(&arguments[0]).saturating_mul(2 * SLOT_BYTES))
}

/// Lists of the items.
pub fn groups(arguments: &[Value]) -> Result<usize, Error> {
    Ok(items(arguments)?.saturating_add(NESTED_BYTES))
}

/// Items, or a text.
pub fn items_or_text(arguments: &[Value]) -> Result<usize, Error> {
    if arguments[0].as_object().is_none() { same(arguments) } else { items(arguments) }
}

/// Lists of the items, whose number or length is an argument.
pub fn lists(arguments: &[Value]) -> Result<usize, Error> {
    let count = arguments.get(1).and_then(Value::as_usize).unwrap_or(0);
    Ok(groups(arguments)?.saturating_add(count.saturating_mul(3 * SLOT_BYTES)))
}

/// Texts and lists are copied with each one that is added.
pub fn sum(arguments: &[Value]) -> Result<usize, Error> {
    match argument_at(arguments, 2, "start").filter(|start| !start.is_number()) {
        Some(_) => Ok(length(&arguments[0])?.saturating_mul(count_items(&arguments[0])) / 2),
        None => Ok(0),
    }
}

/// The length as text.
pub fn length(value: &Value) -> Result<usize, Error> {
    match value.as_str() {
        Some(text) => Ok(text.len()),
        None => length_of(format_args!("{value}")),
    }
}

fn string(value: &Value) -> Result<Cow<'_, str>, Error> {
    Ok(match value.as_str() {
        Some(text) => text.into(),
        None => text_of(format_args!("{value}"))?.into(),
    })
}

fn count_items(value: &Value) -> usize {
    match value.kind() {
        ValueKind::Undefined | ValueKind::None | ValueKind::Bool | ValueKind::Number => 0,
        // More than the budget has room for is too much anyway.
        _ => value
            .len()
            .unwrap_or_else(|| value.try_iter().map_or(0, |items| items.take(MAX_VALUE_BYTES / SLOT_BYTES).count())),
    }
}

/// A number that may also be given by name. A negative one has no bound.
fn number_at(arguments: &[Value], position: usize, name: &str) -> Option<usize> {
    argument_at(arguments, position, name).map(|value| value.as_usize().unwrap_or(usize::MAX))
}

fn argument_at(arguments: &[Value], position: usize, name: &str) -> Option<Value> {
    let options = arguments.last().filter(|last| last.is_kwargs()).and_then(|last| Kwargs::try_from(last.clone()).ok());
    let named = options.and_then(|options| options.peek::<Option<Value>>(name).ok().flatten());
    let positional = arguments.get(position).filter(|argument| !argument.is_kwargs()).cloned();
    named.or(positional).filter(|value| !value.is_none())
}
