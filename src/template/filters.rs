//! Filters and functions. minijinja's are called under names of our own, after their memory has been counted and their
//! arguments are what they can work with; a few are replaced, and some added.

use std::sync::Arc;

use minijinja::value::{Kwargs, Rest, Tuple, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, Value, functions};

use super::bounds::{self, Bound};
use super::budget::{self, ENTRY_BYTES, NESTED_BYTES, OBJECT_BYTES, SLOT_BYTES};
use super::checks::counted_check;
use super::number::native;
use super::operators::{is_missing, text_of_number};
use super::payload::{self, Reading, reading};
use super::{BYTE_ORDER_MARK, attributes, escape_mrkdwn, to_json};

/// One of minijinja's filters.
struct Filter {
    name: &'static str,
    /// The name that no template can write, under which it is called.
    counted: &'static str,
    input: Input,
    bound: Bound,
}

/// What a filter works on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Input {
    /// A text: `null` and what is missing are an empty one, and numbers are as they came.
    Text,
    /// Numbers, or what is compared.
    Values(Reading),
}

const AS_SENT: Input = Input::Values(Reading::AsSent);
const CALCULABLE: Input = Input::Values(Reading::Calculable);

macro_rules! filters {
    ($($name:literal $input:ident $bound:ident,)*) => {
        [$(Filter { name: $name, counted: concat!("counted.", $name), input: $input, bound: bounds::$bound }),*]
    };
}

const TEXT: Input = Input::Text;

/// Not among them: `attr`, which returns what is there, and those that are replaced.
const FILTERS: [Filter; 42] = filters! {
    "safe" TEXT same,
    "escape" TEXT escaped,
    "e" TEXT escaped,
    "lower" TEXT recased,
    "upper" TEXT recased,
    "title" TEXT recased,
    "capitalize" TEXT recased,
    "replace" TEXT replaced,
    "trim" TEXT same,
    "string" TEXT same,
    "split" TEXT pieces,
    "lines" TEXT pieces,
    "indent" TEXT indented,
    "urlencode" AS_SENT percent_encoded,
    "format" TEXT formatted,
    "pprint" AS_SENT pretty,
    "reverse" AS_SENT items_or_text,
    "last" AS_SENT items_or_text,
    "list" AS_SENT items,
    "batch" AS_SENT lists,
    "slice" AS_SENT lists,
    "map" AS_SENT items,
    "select" AS_SENT items,
    "reject" AS_SENT items,
    "selectattr" AS_SENT items,
    "rejectattr" AS_SENT items,
    "dictsort" CALCULABLE groups,
    "sort" CALCULABLE items,
    "groupby" CALCULABLE groups,
    "unique" CALCULABLE items,
    "min" CALCULABLE nothing,
    "max" CALCULABLE nothing,
    "sum" CALCULABLE sum,
    "round" CALCULABLE nothing,
    "abs" CALCULABLE nothing,
    "int" CALCULABLE nothing,
    "float" CALCULABLE nothing,
    "bool" CALCULABLE nothing,
    "length" AS_SENT nothing,
    "count" AS_SENT nothing,
    "first" AS_SENT nothing,
    "items" AS_SENT nothing,
};

/// Ours, which calls minijinja's.
const JOIN: &str = "counted.join";

/// The name to call one of minijinja's filters by.
pub fn counted_filter(name: &str) -> Option<&'static str> {
    let filter = FILTERS.iter().find(|filter| filter.name == name).map(|filter| filter.counted);
    filter.or((name == "join").then_some(JOIN))
}

pub fn add_to(environment: &mut Environment<'_>) {
    for filter in &FILTERS {
        environment.add_filter(filter.counted, move |state: &mut State<'_, '_>, arguments: Rest<ValueOrKwargs>| {
            filter.apply(state, arguments.into_values())
        });
    }
    environment.add_filter("tojson", to_json::filter);
    environment.add_filter("fromjson", from_json);
    environment.add_filter("text", text);
    environment.add_filter("chain", chain);
    environment.add_filter("zip", zip);
    environment.add_filter(JOIN, join);
    environment.add_filter("default", default);
    environment.add_filter("d", default);
    // For `blocks`, which are JSON and not escaped automatically.
    environment.add_filter("mrkdwn", mrkdwn);
    // For a header field of a mail, which a line break would end.
    environment.add_filter("oneline", one_line);
    environment.add_function("range", range);
    environment.add_function("dict", dict);
    environment.add_function("namespace", namespace);
    environment.remove_global("debug");
}

impl Filter {
    fn apply(&self, state: &mut State<'_, '_>, arguments: Vec<Value>) -> Result<Value, Error> {
        if let Some(nothing) = arguments.first().filter(|value| is_missing(value)).and_then(|_| self.of_nothing()) {
            return Ok(nothing);
        }
        let arguments = arguments.iter().enumerate().map(|(position, argument)| self.argument(position, argument));
        let mut arguments: Vec<Value> = arguments.collect();
        budget::charge((self.bound)(&arguments)?)?;
        self.name_counted(&mut arguments);
        match (self.name, &arguments[..]) {
            ("map", [list, options]) if options.is_kwargs() => {
                return attributes::map(state, list, &Kwargs::try_from(options.clone())?);
            }
            ("selectattr" | "rejectattr", [list, rest @ ..]) => {
                // minijinja's knows which arguments are wrong.
                let none = [&[Value::from(Vec::<Value>::new())], rest].concat();
                state.apply_filter(self.name, &none)?;
                return attributes::select(state, list, rest, self.name == "selectattr");
            }
            _ => {}
        }
        let how = if let Input::Values(how) = self.input { how } else { Reading::AsSent };
        reading(how, || state.apply_filter(self.name, &arguments))
    }

    /// What a filter makes of nothing, if minijinja's cannot.
    fn of_nothing(&self) -> Option<Value> {
        match self.name {
            "split" | "lines" | "dictsort" => Some(Value::from(Vec::<Value>::new())),
            "abs" | "round" => Some(Value::UNDEFINED),
            _ => None,
        }
    }

    fn argument(&self, position: usize, value: &Value) -> Value {
        match (self.input, position) {
            (Input::Text, 0) if is_missing(value) => Value::from(""),
            (Input::Text, 0) => text_of_number(value).unwrap_or_else(|| value.clone()),
            (Input::Values(_), 0) | (Input::Text, _) if value.is_none() => Value::UNDEFINED,
            (Input::Text, _) if value.is_kwargs() && self.name == "format" => texts_by_name(value),
            (AS_SENT, 0) => value.clone(),
            _ => native(value),
        }
    }

    /// Filters and tests that are named in an argument count too.
    fn name_counted(&self, arguments: &mut [Value]) {
        let (position, counted): (usize, fn(&str) -> Option<&'static str>) = match self.name {
            "map" => (1, counted_filter),
            "select" | "reject" => (1, counted_check),
            "selectattr" | "rejectattr" => (2, counted_check),
            _ => return,
        };
        if let Some(argument) = arguments.get_mut(position)
            && let Some(name) = argument.as_str().and_then(counted)
        {
            *argument = Value::from(name);
        }
    }
}

/// Named arguments of `format`, which fails for one that is undefined.
fn texts_by_name(options: &Value) -> Value {
    let Ok(options) = Kwargs::try_from(options.clone()) else { return options.clone() };
    let or_empty = |value: Value| if is_missing(&value) { Value::from("") } else { native(&value) };
    let text = |name: &str| options.peek::<Value>(name).map_or(Value::UNDEFINED, or_empty);
    Kwargs::from_iter(options.args().map(|name| (name.to_owned(), text(name)))).into()
}

fn default(value: &Value, other: Option<Value>, also_if_false: Option<Value>) -> Value {
    let is_replaced = is_missing(value) || (also_if_false.is_some_and(|yes| yes.is_true()) && !value.is_true());
    if is_replaced { other.unwrap_or_else(|| Value::from("")) } else { value.clone() }
}

/// Text is often sent within JSON, as a string of JSON.
fn from_json(value: &Value) -> Result<Value, Error> {
    /// The text, and the indexes of what is used of it.
    const COPIES: usize = 4;
    let wrong = |reason: &str| Error::new(ErrorKind::InvalidOperation, format!("fromjson: {reason}"));
    if is_missing(value) {
        return Ok(Value::from(()));
    }
    let text = value.as_str().ok_or_else(|| wrong(&format!("{} is not a text", value.kind())))?;
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    if text.trim().is_empty() {
        return Ok(Value::from(()));
    }
    if let Some(reason) = payload::unreadable(text) {
        return Err(wrong(&reason));
    }
    budget::charge(COPIES * text.len())?;
    Ok(payload::value(Arc::from(text)))
}

/// A text as it is, nothing for nothing, and everything else as JSON: `true`, `1.10`, `["a"]`.
fn text(value: &Value) -> Result<Value, Error> {
    match value.as_str() {
        Some(_) => Ok(value.clone()),
        None if is_missing(value) => Ok(Value::from("")),
        None => to_json::to_json(value, to_json::Style::Compact, false).map(Value::from),
    }
}

fn join(state: &mut State<'_, '_>, list: &Value, rest: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let rest = rest.into_values();
    let options = rest.last().filter(|last| last.is_kwargs()).cloned();
    let options: Option<Kwargs> = options.map(Kwargs::try_from).transpose()?;
    let argument = |position: usize, name: &str| match rest.get(position).filter(|argument| !argument.is_kwargs()) {
        Some(argument) => Ok(Some(argument.clone())),
        None => options.as_ref().map_or(Ok(None), |options| options.get::<Option<Value>>(name)),
    };
    let joiner = argument(0, "d")?.filter(|joiner| !is_missing(joiner)).unwrap_or_else(|| Value::from(""));
    let attribute = argument(1, "attribute")?;
    options.as_ref().map_or(Ok(()), Kwargs::assert_all_used)?;
    let joiner_bytes = bounds::length(&joiner)?;
    let list = match attribute {
        Some(attribute) => {
            let attribute = Kwargs::from_iter([("attribute", attribute)]);
            state.apply_filter("counted.map", &[list.clone(), attribute.into()])?
        }
        None => list.clone(),
    };
    let mut items = Vec::new();
    for item in list.try_iter()? {
        let item = if is_missing(&item) { Value::from("") } else { item };
        state.consume_fuel(1)?;
        budget::charge(SLOT_BYTES + joiner_bytes + bounds::length(&item)?)?;
        items.push(item);
    }
    state.apply_filter("join", &[items.into(), joiner])
}

/// minijinja's reads the lists when it is used. A list that is chained with itself again and again would be endless.
fn chain(values: Rest<Value>) -> Result<Value, Error> {
    if values.iter().all(|value| value.kind() == ValueKind::Map) {
        let maps = values.iter().filter_map(|value| value.as_object()).filter_map(|map| map.try_iter_pairs());
        let pairs = maps.flatten().map(|pair| budget::charge(ENTRY_BYTES).map(|()| pair));
        return Ok(Value::from_pairs(pairs.collect::<Result<Vec<_>, _>>()?));
    }
    let mut items = Vec::new();
    for value in values.iter() {
        for item in value.try_iter()? {
            budget::charge(SLOT_BYTES)?;
            items.push(item);
        }
    }
    Ok(items.into())
}

/// Like `chain`.
fn zip(values: Rest<Value>) -> Result<Value, Error> {
    let mut lists = values.iter().map(Value::try_iter).collect::<Result<Vec<_>, _>>()?;
    let mut rows = Vec::new();
    budget::charge(NESTED_BYTES)?;
    while let Some(row) = lists.iter_mut().map(Iterator::next).collect::<Option<Vec<Value>>>() {
        budget::charge(OBJECT_BYTES + SLOT_BYTES * (1 + row.len()))?;
        rows.push(Value::from(Tuple::from(row)));
    }
    Ok(rows.into())
}

fn mrkdwn(value: &Value) -> Result<Value, Error> {
    let text = if is_missing(value) { String::new() } else { budget::text_of(format_args!("{value}"))? };
    budget::charge(bounds::escaped(&[Value::from(text.as_str())])?)?;
    Ok(Value::from_safe_string(escape_mrkdwn(&text)))
}

fn one_line(value: &Value) -> Result<Value, Error> {
    let text = if is_missing(value) { String::new() } else { budget::text_of(format_args!("{value}"))? };
    budget::charge(text.len())?;
    Ok(Value::from(text.replace(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'), " ")))
}

/// Of `null` and of what is missing there are no numbers.
fn range(bounds: Rest<Value>) -> Result<Value, Error> {
    if bounds.iter().any(is_missing) {
        return Ok(Value::from(Vec::<Value>::new()));
    }
    let numbers = bounds.iter().map(|bound| isize::try_from(native(bound))).collect::<Result<Vec<_>, _>>()?;
    match numbers[..] {
        [] => Err(Error::from(ErrorKind::MissingArgument)),
        [upper] => functions::range(upper, None, None),
        [lower, upper] => functions::range(lower, Some(upper), None),
        [lower, upper, step] => functions::range(lower, Some(upper), Some(step)),
        _ => Err(Error::from(ErrorKind::TooManyArguments)),
    }
}

fn dict(value: Option<Value>, more: Kwargs) -> Result<Value, Error> {
    let value = value.filter(|value| !value.is_none());
    budget::charge(NESTED_BYTES + ENTRY_BYTES * value.as_ref().and_then(Value::len).unwrap_or(0))?;
    functions::dict(value, more)
}

fn namespace(defaults: Option<ValueOrKwargs>) -> Result<Value, Error> {
    let count = defaults.as_ref().and_then(|defaults| defaults.len()).unwrap_or(0);
    budget::charge(NESTED_BYTES + ENTRY_BYTES * (1 + count))?;
    functions::namespace(defaults)
}
