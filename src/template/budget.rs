//! The memory that one evaluation may use. minijinja's fuel limits steps, and is too coarse for bytes: what one step makes
//! may be large, and what a filter is given may be written out as text on its way.
//!
//! The count is the thread's, because an evaluation stays on one thread and the values it reads do not see its state. What
//! has been made counts for as long as the evaluation takes: whether it is still in use is not known.
//!
//! Payloads are read in no steps either, and how much of them is counted too.

use std::cell::Cell;
use std::fmt;

use minijinja::{Error, ErrorKind};

/// The values that one evaluation makes: strings, lists, and what it reads of a payload. The largest payload, as JSON text,
/// fits twice. Unit tests, which are built to be debugged, have less.
pub const MAX_VALUE_BYTES: usize = if cfg!(test) { 4 << 20 } else { 64 << 20 };

/// The text that one evaluation prints, also into variables: the largest payload, with room for escapes.
pub const MAX_TEXT_BYTES: usize = if cfg!(test) { 4 << 20 } else { 64 << 20 };

/// The text of payloads that one evaluation passes over, to find where values begin and end: some seconds of work. What is
/// deeply nested is passed over once for each level that is used.
const MAX_READ_BYTES: usize = if cfg!(test) { 32 << 20 } else { 1 << 30 };

/// An object on the heap, with its two counts and the allocator's share.
pub const OBJECT_BYTES: usize = 64;

/// A value in a list, with room for the list's growth.
pub const SLOT_BYTES: usize = 32;

/// A member of a map: its two values, in a tree that may be half full.
pub const ENTRY_BYTES: usize = 128;

/// A list or map with others in it, beside its size: a value is dropped within the one that holds it, and the stack of a
/// thread has room for some ten thousand.
pub const NESTED_BYTES: usize = 16 << 10;

#[derive(Clone, Copy)]
struct Left {
    value_bytes: usize,
    text_bytes: usize,
    read_bytes: usize,
    exceeded: Option<Limit>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    Values,
    Text,
    Reading,
}

const FULL: Left =
    Left { value_bytes: MAX_VALUE_BYTES, text_bytes: MAX_TEXT_BYTES, read_bytes: MAX_READ_BYTES, exceeded: None };

const EMPTY: Left = Left { value_bytes: 0, text_bytes: 0, read_bytes: 0, exceeded: None };

thread_local! {
    static LEFT: Cell<Left> = const { Cell::new(FULL) };
}

/// Evaluates with a full budget. Where it was exceeded this is the error, whatever the evaluation made of it.
pub fn within<T>(evaluate: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    LEFT.set(FULL);
    let result = evaluate();
    match LEFT.get().exceeded {
        Some(limit) => Err(limit.error()),
        None => result,
    }
}

/// Counts values, before they are made where their size is known.
pub fn charge(bytes: usize) -> Result<(), Error> {
    spend(bytes, Limit::Values)
}

/// Counts printed text.
pub fn charge_text(bytes: usize) -> Result<(), Error> {
    spend(bytes, Limit::Text)
}

/// Counts text of a payload that is passed over.
pub fn charge_read(bytes: usize) -> Result<(), Error> {
    spend(bytes, Limit::Reading)
}

fn spend(bytes: usize, limit: Limit) -> Result<(), Error> {
    let mut left = LEFT.get();
    let of_it = match limit {
        Limit::Values => &mut left.value_bytes,
        Limit::Text => &mut left.text_bytes,
        Limit::Reading => &mut left.read_bytes,
    };
    *of_it = of_it.checked_sub(bytes).ok_or_else(|| exceed(limit))?;
    LEFT.set(left);
    Ok(())
}

pub fn is_exceeded() -> bool {
    LEFT.get().exceeded.is_some()
}

/// Nothing more may be made after this.
fn exceed(limit: Limit) -> Error {
    LEFT.set(Left { exceeded: Some(LEFT.get().exceeded.unwrap_or(limit)), ..EMPTY });
    limit.error()
}

impl Limit {
    fn error(self) -> Error {
        let (bytes, what) = match self {
            Limit::Values => (MAX_VALUE_BYTES, "values"),
            Limit::Text => (MAX_TEXT_BYTES, "text"),
            Limit::Reading => (MAX_READ_BYTES, "payload to read, each time that it is read"),
        };
        Error::new(ErrorKind::OutOfFuel, format!("more than {} MiB of {what}", bytes >> 20))
    }
}

/// A string that is counted as it grows.
#[derive(Default)]
pub struct Counted(pub String);

impl fmt::Write for Counted {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        charge(text.len()).map_err(|_| fmt::Error)?;
        self.0.push_str(text);
        Ok(())
    }
}

/// The length of a text that is not kept, up to what is left of the budget.
#[derive(Default)]
struct Length(usize);

impl fmt::Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        if self.0 > LEFT.get().value_bytes { Err(fmt::Error) } else { Ok(()) }
    }
}

/// How long this is as text. Where that is more than is left it is too much.
pub fn length_of(text: fmt::Arguments<'_>) -> Result<usize, Error> {
    let mut length = Length::default();
    fmt::write(&mut length, text).map_err(|_| exceed(Limit::Values))?;
    Ok(length.0)
}

/// This as a text that is counted.
pub fn text_of(text: fmt::Arguments<'_>) -> Result<String, Error> {
    let mut counted = Counted::default();
    fmt::write(&mut counted, text).map_err(|_| exceed(Limit::Values))?;
    Ok(counted.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_exceeds_the_budget_is_the_error_whatever_becomes_of_it() {
        let swallowed = within(|| {
            let _ = charge(MAX_VALUE_BYTES + 1);
            Ok(charge(1).is_err())
        });
        assert!(swallowed.is_err());
        assert!(within(|| charge(MAX_VALUE_BYTES)).is_ok());
        assert!(within(|| charge_text(MAX_TEXT_BYTES + 1)).unwrap_err().to_string().contains("MiB of text"));
    }

    #[test]
    fn a_text_is_measured_no_further_than_the_budget() {
        let part = "x".repeat(1 << 20);
        let endless = std::fmt::from_fn(|f| {
            loop {
                f.write_str(&part)?;
            }
        });
        assert!(within(|| length_of(format_args!("{endless}"))).is_err());
        assert!(within(|| text_of(format_args!("{endless}"))).is_err());
        assert_eq!(within(|| length_of(format_args!("{}", 12345))).unwrap(), 5);
    }
}
