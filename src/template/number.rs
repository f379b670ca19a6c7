//! Numbers of a payload, which print as they came.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use minijinja::Value;
use minijinja::value::{DynObject, Object, ObjectRepr};

/// A number that would not print as it came: `1.10`, `1e3`, `-0`, or one that is too large for every type.
#[derive(Debug)]
pub struct Number(Box<str>);

/// Digits that fit an `i64`, with a sign.
const SHORT: usize = 18;

/// A number of JSON as a value.
pub fn value(token: &str) -> Value {
    let native = native_of(token);
    let is_plain = (token.len() <= SHORT && native.is_integer() && token != "-0") || native.to_string() == token;
    if is_plain { native } else { Value::from_object(Number(token.into())) }
}

/// The number to calculate and compare with: the nearest one, where it is too large or too exact. Other values stay.
pub fn native(value: &Value) -> Value {
    match value.downcast_object_ref::<Number>() {
        Some(Number(token)) => native_of(token),
        None => value.clone(),
    }
}

fn native_of(token: &str) -> Value {
    if let Ok(number) = token.parse::<i64>() {
        return Value::from(number);
    }
    if let Ok(number) = token.parse::<i128>() {
        return Value::from(number);
    }
    // Infinite beyond the range of f64.
    Value::from(token.parse::<f64>().unwrap_or(f64::NAN))
}

impl Number {
    pub fn token(&self) -> &str {
        &self.0
    }
}

impl Object for Number {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn is_true(self: &Arc<Self>) -> bool {
        native_of(&self.0).is_true()
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<Ordering> {
        Some(native_of(&self.0).cmp(&native_of(other.downcast_ref::<Number>()?.token())))
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
