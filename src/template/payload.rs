//! A payload as a value: a view over its text. What a template does not touch is not read.
//!
//! An object or array that is used gets an index of where its members or items begin, and the index of a large one is kept
//! with the text. All indexes together stay under six times the text: an item takes two bytes of it and four of its index.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use minijinja::Value;
use minijinja::value::{Enumerator, Object, ObjectRepr};
use serde::de::IgnoredAny;

use super::budget::{self, OBJECT_BYTES};
use super::number;
use crate::json;

mod index;
mod shown;

use index::Index;
use shown::Shown;

/// From this length on, what has been found out about a part of a payload is kept: reading a shorter one again is cheap.
const LONG_BYTES: usize = 512;

/// How the values of payloads are read at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Numbers print as they came, and `null` is `none`.
    AsSent,
    /// Numbers can be compared with others.
    Comparable,
    /// Numbers can be compared and added, and `null` is skipped like a missing value.
    Calculable,
}

thread_local! {
    static READING: Cell<Reading> = const { Cell::new(Reading::AsSent) };
}

/// Does this with payloads read in this way.
pub fn reading<T>(how: Reading, work: impl FnOnce() -> T) -> T {
    let before = READING.replace(how);
    let result = work();
    READING.set(before);
    result
}

/// Why a text cannot be a payload.
pub fn unreadable(text: &str) -> Option<String> {
    let scan = json::scan(text.as_bytes(), []);
    if scan.depth > json::MAX_DEPTH {
        return Some(format!("it is nested deeper than {} levels", json::MAX_DEPTH));
    }
    if u32::try_from(text.len()).is_err() {
        return Some("it is longer than 4 GiB".to_owned());
    }
    if scan.is_json {
        return None;
    }
    let place = serde_json::from_str::<IgnoredAny>(text).err().map(|error| format!(": {error}"));
    Some(format!("it is not JSON{}", place.unwrap_or_default()))
}

/// The value of a text that is not [`unreadable`].
pub fn value(text: Arc<str>) -> Value {
    let at = text.len() - text.trim_start().len()..text.trim_end().len();
    value_at(&Arc::new(Document { text, names_are_unique: OnceLock::new(), long: Mutex::default() }), at)
}

/// A payload, and what has been found out about its long parts, by where they begin.
struct Document {
    text: Arc<str>,
    names_are_unique: OnceLock<bool>,
    long: Mutex<HashMap<usize, Known>>,
}

#[derive(Clone)]
enum Known {
    Index(Arc<Index>),
    Text(Value),
}

/// An object or array of a payload.
pub struct Node {
    document: Arc<Document>,
    start: u32,
    end: u32,
    index: OnceLock<Arc<Index>>,
}

impl Document {
    /// What is known about the long part at `start`.
    fn known(&self, start: usize, find_out: impl FnOnce() -> Known) -> Known {
        let known = self.long.lock().unwrap_or_else(PoisonError::into_inner).get(&start).cloned();
        known.unwrap_or_else(|| {
            let known = find_out();
            // What has been found out without a budget is not true: other evaluations will use this payload.
            if !budget::is_exceeded() {
                self.long.lock().unwrap_or_else(PoisonError::into_inner).insert(start, known.clone());
            }
            known
        })
    }
}

fn value_at(document: &Arc<Document>, at: Range<usize>) -> Value {
    let token = &document.text[at.clone()];
    match token.as_bytes().first() {
        Some(b'{' | b'[') => node(document, at),
        Some(b'"') if token.len() < LONG_BYTES => text(token),
        Some(b'"') => match document.known(at.start, || Known::Text(text(token))) {
            Known::Text(text) => text,
            Known::Index(_) => Value::UNDEFINED,
        },
        Some(b't') => Value::from(true),
        Some(b'f') => Value::from(false),
        Some(b'n') if READING.get() == Reading::Calculable => Value::UNDEFINED,
        Some(b'n') => Value::from(()),
        _ => number(token),
    }
}

fn number(token: &str) -> Value {
    let number = number::value(token);
    if number.is_number() {
        return number;
    }
    match (READING.get(), budget::charge(OBJECT_BYTES + token.len())) {
        (_, Err(error)) => Value::from(error),
        (Reading::AsSent, Ok(())) => number,
        (_, Ok(())) => number::native(&number),
    }
}

fn text(token: &str) -> Value {
    match budget::charge(token.len()) {
        Ok(()) => Value::from(json::unquoted(token)),
        Err(error) => Value::from(error),
    }
}

fn node(document: &Arc<Document>, at: Range<usize>) -> Value {
    let (Ok(start), Ok(end)) = (u32::try_from(at.start), u32::try_from(at.end)) else { return Value::UNDEFINED };
    match budget::charge(OBJECT_BYTES) {
        Ok(()) => Value::from_object(Node { document: Arc::clone(document), start, end, index: OnceLock::new() }),
        Err(error) => Value::from(error),
    }
}

impl Node {
    pub fn json(&self) -> &str {
        &self.document.text[self.start as usize..self.end as usize]
    }

    /// Whether each name stands once in each object.
    pub fn names_are_unique(&self) -> bool {
        *self.document.names_are_unique.get_or_init(|| shown::names_are_unique(&self.document.text))
    }

    fn is_object(&self) -> bool {
        self.json().starts_with('{')
    }

    fn index(&self) -> Arc<Index> {
        if let Some(index) = self.index.get() {
            return Arc::clone(index);
        }
        let index = match self.json() {
            short if short.len() < LONG_BYTES => Index::charged(short),
            long => match self.document.known(self.start as usize, || Known::Index(Index::kept(long))) {
                Known::Index(index) => index,
                Known::Text(_) => Arc::default(),
            },
        };
        if !budget::is_exceeded() {
            let _ = self.index.set(Arc::clone(&index));
        }
        index
    }

    fn value_at(&self, at: Range<usize>) -> Value {
        let start = self.start as usize;
        value_at(&self.document, start + at.start..start + at.end)
    }

    fn member(&self, name: &str) -> Option<Value> {
        self.index().member(self.json(), name).map(|at| self.value_at(at))
    }
}

impl Object for Node {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        if self.is_object() { ObjectRepr::Map } else { ObjectRepr::Seq }
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        if self.is_object() {
            return self.member(key.as_str()?);
        }
        self.index().item(self.json(), number::native(key).as_usize()?).map(|at| self.value_at(at))
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        self.member(key)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let count = self.index().len();
        if !self.is_object() {
            return Enumerator::Seq(count);
        }
        let node = Arc::clone(self);
        Enumerator::KeyValueIter(Box::new((0..count).map(move |at| {
            let (name, value) = node.index().entry(node.json(), at);
            (text(name), node.value_at(value))
        })))
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.index().len())
    }

    fn is_true(self: &Arc<Self>) -> bool {
        let json = self.json();
        if self.is_object() { json::members(json).next().is_some() } else { json::items(json).next().is_some() }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = Shown { json: self.json(), names_are_unique: self.names_are_unique() };
        fmt::Debug::fmt(&shown, f)
    }
}

pub use shown::members;
