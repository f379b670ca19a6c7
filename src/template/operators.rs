//! What operators see in place of their operands, and what stands in place of some operators: `null` is as good as missing,
//! numbers of a payload can be calculated with, and memory is counted.

use minijinja::machinery::Instruction;
use minijinja::value::{Tuple, ValueKind};
use minijinja::{Environment, Error, State, Value};

use super::budget::{self, ENTRY_BYTES, NESTED_BYTES, OBJECT_BYTES, SLOT_BYTES};
use super::number::{Number, native};
use super::payload::{Node, Reading, reading};

// Filters with names that no template can write.
pub const CONCAT: &str = "operator.~";
pub const ADD: &str = "operator.+";
pub const MULTIPLY: &str = "operator.*";
pub const NUMBERS: &str = "operator.numbers";
pub const NUMBER: &str = "operator.number";
pub const CHAINED: &str = "operator.chained";
pub const SLICE: &str = "operator.slice";
pub const COUNT: &str = "operator.count";
pub const FEW: &str = "operator.few";
pub const CLOSURE: &str = "operator.closure";
const IN: &str = "operator.in";

const COMPARISONS: [&str; 6] = ["operator.==", "operator.!=", "operator.<", "operator.<=", "operator.>", "operator.>="];

/// The variables that a macro sees, in the trees of a declaration.
const CLOSURE_BYTES: usize = 1024;

/// The filter in place of a comparison.
pub fn comparison(instruction: &Instruction<'_>) -> &'static str {
    let at = match instruction {
        Instruction::Eq => 0,
        Instruction::Ne => 1,
        Instruction::Lt => 2,
        Instruction::Lte => 3,
        Instruction::Gt => 4,
        Instruction::Gte => 5,
        _ => return IN,
    };
    COMPARISONS[at]
}

pub fn add_to(environment: &mut Environment<'_>) {
    environment.add_filter(CONCAT, |left: &Value, right: &Value| pair(part_of_text(left)?, part_of_text(right)?));
    environment.add_filter(ADD, |left: &Value, right: &Value| add(&native(left), &native(right)));
    environment.add_filter(MULTIPLY, |left: &Value, right: &Value| multiply(native(left), native(right)));
    environment.add_filter(NUMBERS, |left: &Value, right: &Value| pair(native(left), native(right)));
    environment.add_filter(NUMBER, native);
    environment.add_filter(CHAINED, chained);
    environment.add_filter(SLICE, slice);
    environment.add_filter(COUNT, |value: Value| count(&value).map(|()| value));
    environment.add_filter(FEW, few);
    environment.add_filter(CLOSURE, |_: Value| budget::charge(CLOSURE_BYTES));
    environment.add_filter(IN, contains);
    for name in COMPARISONS {
        environment.add_filter(name, move |state: &State<'_, '_>, left: &Value, right: &Value| {
            let (left, right) = (native(left), native(right));
            count_steps(state, &left)?;
            Ok::<bool, Error>(reading(Reading::Comparable, || holds(name, &left, &right)))
        });
    }
}

fn holds(comparison: &str, left: &Value, right: &Value) -> bool {
    match comparison {
        "operator.==" => left == right,
        "operator.!=" => left != right,
        _ if is_missing(left) || is_missing(right) => false,
        "operator.<" => left < right,
        "operator.<=" => left <= right,
        "operator.>" => left > right,
        _ => left >= right,
    }
}

/// The operands as an operator is to see them.
fn pair(left: Value, right: Value) -> Result<Value, Error> {
    Ok(Value::from(Tuple::from([right, left])))
}

/// Counts the text of one side of `~`, and that of the result.
fn part_of_text(value: &Value) -> Result<Value, Error> {
    match value.as_str() {
        Some(text) => budget::charge(text.len())?,
        None if value.is_none() => return Ok(Value::UNDEFINED),
        None if value.as_object().is_none() => {}
        None => return Ok(Value::from(budget::text_of(format_args!("{value}"))?)),
    }
    Ok(value.clone())
}

fn add(left: &Value, right: &Value) -> Result<Value, Error> {
    match (left.as_str(), right.as_str()) {
        (Some(left), Some(right)) => budget::charge(left.len() + right.len())?,
        _ => {
            // The sum of two lists reads both when it is used. Its parts are at most as many as were counted, since a list
            // that is doubled counts as much as it grows. Numbers too: a loop with a condition counts its items so, and
            // keeps them.
            let items = items_in(left).min(items_in(right));
            budget::charge(SLOT_BYTES * (1 + items))?;
        }
    }
    // Sums of empty lists would have ever more parts.
    let part = |value: &Value| if is_empty_list(value) { Value::from(Vec::<Value>::new()) } else { value.clone() };
    pair(part(left), part(right))
}

fn is_empty_list(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) && !value.is_tuple() && value.len() == Some(0)
}

fn items_in(value: &Value) -> usize {
    if value.as_object().is_some() { value.len().unwrap_or(0) } else { 0 }
}

fn multiply(left: Value, right: Value) -> Result<Value, Error> {
    for (value, times) in [(&left, &right), (&right, &left)] {
        let bytes = match value.as_str() {
            Some(text) => text.len(),
            // Most lists are repeated when they are used, which also takes its time.
            None => SLOT_BYTES * items_in(value),
        };
        budget::charge(bytes.saturating_mul(times.as_usize().unwrap_or(0)) + nested(value))?;
    }
    pair(left, right)
}

/// What `value[start:stop:step]` works on. A part of what is missing is an empty text.
fn slice(value: Value, start: &Value, stop: &Value, step: &Value) -> Result<Value, Error> {
    let [start, stop, step] = [start, stop, step].map(native);
    let missing = value.is_none() || value.is_undefined();
    let value = if missing { Value::from("") } else { text_of_number(&value).unwrap_or(value) };
    budget::charge(match value.as_str() {
        // With another step the characters are taken apart.
        Some(text) if step.is_none() || step.as_i64() == Some(1) => text.len(),
        Some(text) => text.len().saturating_mul(1 + size_of::<char>()),
        // Of other lists there is a view.
        None if value.is_tuple() => SLOT_BYTES * items_in(&value),
        None => OBJECT_BYTES + nested(&value),
    })?;
    Ok(Value::from(Tuple::from([step, stop, start, value])))
}

/// The operands of `a < b < c` but for the last operator, which may be `in`.
fn chained(left: &Value, right: &Value) -> Result<Value, Error> {
    let left = native(left);
    let left = if right.as_str().is_some() && left.as_object().is_some() { part_of_text(&left)? } else { left };
    pair(left, if right.is_none() { Value::UNDEFINED } else { native(right) })
}

pub fn contains(state: &State<'_, '_>, value: &Value, container: &Value) -> Result<bool, Error> {
    if let Some(text) = container.as_str() {
        if is_missing(value) {
            return Ok(false);
        }
        let part = part_of_text(value)?;
        return Ok(text.contains(part.to_string().as_str()));
    }
    let value = native(value);
    match container.kind() {
        ValueKind::Undefined | ValueKind::None => Ok(false),
        ValueKind::Map => Ok(container.as_object().is_some_and(|map| map.get_value(&value).is_some())),
        _ => {
            count_steps(state, container)?;
            reading(Reading::Comparable, || Ok(container.try_iter()?.any(|item| native(&item) == value)))
        }
    }
}

/// A comparison takes a step for each item.
fn count_steps(state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    state.consume_fuel(items_in(value) as u64)
}

/// Counts a list or map that an instruction has made.
fn count(value: &Value) -> Result<(), Error> {
    let (slot, inner) = match value.as_object() {
        Some(map) if value.kind() == ValueKind::Map => {
            (ENTRY_BYTES, map.try_iter_pairs().into_iter().flatten().map(|(_, value)| nested(&value)).max())
        }
        _ => (SLOT_BYTES, value.try_iter()?.map(|item| nested(&item)).max()),
    };
    budget::charge(OBJECT_BYTES + slot * items_in(value) + inner.unwrap_or(0))
}

/// What it costs to hold this in another value: more where it is a list or map that holds values itself.
pub fn nested(value: &Value) -> usize {
    let holds_values = value.as_object().is_some() && value.downcast_object_ref::<Node>().is_none();
    if holds_values && value.downcast_object_ref::<Number>().is_none() { NESTED_BYTES } else { 0 }
}

/// The items that are unpacked into `count` variables, and one more where there are too many. minijinja takes all of them.
fn few(value: &Value, count: usize) -> Value {
    match value.as_object().and_then(|list| list.try_iter()) {
        Some(items) => items.take(count + 1).collect(),
        None => value.clone(),
    }
}

/// Whether this is `null`, or not there.
pub fn is_missing(value: &Value) -> bool {
    value.is_none() || value.is_undefined()
}

/// As text, if it is a number of a payload.
pub fn text_of_number(value: &Value) -> Option<Value> {
    value.downcast_object_ref::<Number>().map(|number| Value::from(number.token()))
}
