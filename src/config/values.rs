//! Parsers for the values of keys.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use toml::{Table, Value};

use crate::units::{duration_text, parse_duration, parse_size, size_text};

/// A parsed value, or what is wrong with it, for the operator.
pub type Parsed<T> = Result<T, String>;

pub fn text(value: &Value) -> Parsed<&str> {
    value.as_str().ok_or_else(|| expected("a string", value))
}

pub fn owned_text(value: &Value) -> Parsed<String> {
    text(value).map(str::to_owned)
}

/// A string in the form that `T` parses.
pub fn parsed<T: FromStr<Err: Display>>(value: &Value) -> Parsed<T> {
    text(value)?.parse().map_err(|error: T::Err| error.to_string())
}

pub fn table(value: &Value) -> Parsed<Table> {
    value.as_table().cloned().ok_or_else(|| expected("a table", value))
}

pub fn path(value: &Value) -> Parsed<PathBuf> {
    match text(value)? {
        "" => Err(expected("a path", value)),
        path => Ok(PathBuf::from(path)),
    }
}

pub fn size(value: &Value, bounds: &RangeInclusive<u64>) -> Parsed<u64> {
    let bytes = match value {
        Value::Integer(bytes) => u64::try_from(*bytes).map_err(|_| "a size is not negative".to_owned())?,
        Value::String(text) => parse_size(text)?,
        other => return Err(expected("a size such as \"25MiB\"", other)),
    };
    within(bytes, bounds, |bytes| size_text(*bytes))
}

pub fn boolean(value: &Value) -> Parsed<bool> {
    value.as_bool().ok_or_else(|| expected("true or false", value))
}

pub fn duration(value: &Value, bounds: &RangeInclusive<Duration>) -> Parsed<Duration> {
    let Value::String(text) = value else {
        return Err(expected("a duration with its unit, such as \"30s\"", value));
    };
    within(parse_duration(text)?, bounds, |duration| duration_text(*duration))
}

pub fn count(value: &Value, bounds: &RangeInclusive<u32>) -> Parsed<u32> {
    let Value::Integer(number) = value else {
        return Err(expected("a whole number", value));
    };
    let bounds = i64::from(*bounds.start())..=i64::from(*bounds.end());
    let number = within(*number, &bounds, i64::to_string)?;
    u32::try_from(number).map_err(|error| error.to_string())
}

fn within<T: PartialOrd>(value: T, bounds: &RangeInclusive<T>, text: impl Fn(&T) -> String) -> Parsed<T> {
    if bounds.contains(&value) {
        return Ok(value);
    }
    let [value, least, most] = [&value, bounds.start(), bounds.end()].map(text);
    Err(format!("{value} is out of bounds; write something from {least} to {most}"))
}

/// The error for a value of the wrong type. The value is not shown, because it may be a secret.
pub fn expected(wanted: &str, found: &Value) -> String {
    let found = found.type_str();
    let article = if found.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("expected {wanted}, found {article} {found}")
}
