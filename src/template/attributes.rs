//! Filters that look into the items of a list, where minijinja's fail for an item that lacks a part of the path.

use minijinja::value::Kwargs;
use minijinja::{Error, ErrorKind, State, Value};

use super::budget::{self, SLOT_BYTES};
use super::number::native;
use super::operators::is_missing;

/// `map(attribute='a.b', default=...)`
pub fn map(state: &State<'_, '_>, list: &Value, options: &Kwargs) -> Result<Value, Error> {
    let attribute: Value = options.get("attribute")?;
    let default = options.get::<Option<Value>>("default")?;
    options.assert_all_used()?;
    let mut found = Vec::new();
    for item in list.try_iter()? {
        count_item(state)?;
        let value = look_into(&item, &attribute)?;
        found.push(match &default {
            Some(default) if is_missing(&value) => default.clone(),
            _ => value,
        });
    }
    Ok(found.into())
}

/// `selectattr('a.b', 'test', argument)` and `rejectattr`: the items whose attribute passes the test, or does not.
pub fn select(state: &mut State<'_, '_>, list: &Value, arguments: &[Value], is_selected: bool) -> Result<Value, Error> {
    let [attribute, test @ ..] = arguments else { return Err(Error::from(ErrorKind::MissingArgument)) };
    let mut selected = Vec::new();
    for item in list.try_iter()? {
        count_item(state)?;
        let value = look_into(&item, attribute)?;
        let passes = match test {
            [] => value.is_true(),
            [test, arguments @ ..] => {
                let name = test.as_str().ok_or_else(|| Error::from(ErrorKind::UnknownTest))?;
                state.perform_test(name, &[&[value], arguments].concat())?
            }
        };
        if passes == is_selected {
            selected.push(item);
        }
    }
    Ok(selected.into())
}

fn count_item(state: &State<'_, '_>) -> Result<(), Error> {
    state.consume_fuel(1)?;
    budget::charge(SLOT_BYTES)
}

/// What a path leads to. Within `null` and what is missing there is nothing.
fn look_into(item: &Value, path: &Value) -> Result<Value, Error> {
    let Some(path) = path.as_str() else { return part(item, &native(path)) };
    path.split('.').try_fold(item.clone(), |value, name| match name.parse::<usize>() {
        Ok(index) => part(&value, &Value::from(index)),
        Err(_) => part(&value, &Value::from(name)),
    })
}

fn part(value: &Value, key: &Value) -> Result<Value, Error> {
    if is_missing(value) { Ok(Value::UNDEFINED) } else { value.get_item(key) }
}
