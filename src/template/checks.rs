//! Tests, as Jinja calls `is string` and the like. minijinja's are called under names of our own, with arguments that they
//! can work with.

use minijinja::value::{Rest, ValueOrKwargs};
use minijinja::{Environment, Error, State, Value};

use super::bounds;
use super::budget;
use super::number::native;
use super::operators::{self, is_missing, text_of_number};
use super::payload::{Reading, reading};

struct Check {
    name: &'static str,
    /// The name that no template can write, under which it is called.
    counted: &'static str,
    of: Of,
}

enum Of {
    /// Of a part of a text. It is false of what is missing.
    Text,
    /// Of values in their order. It is false of what is missing.
    Order,
    Values,
}

macro_rules! checks {
    ($($name:literal $of:ident,)*) => {
        [$(Check { name: $name, counted: concat!("counted.", $name), of: Of::$of }),*]
    };
}

const CHECKS: [Check; 25] = checks! {
    "startingwith" Text,
    "endingwith" Text,
    "number" Values,
    "integer" Values,
    "int" Values,
    "float" Values,
    "odd" Values,
    "even" Values,
    "divisibleby" Values,
    "eq" Values,
    "equalto" Values,
    "==" Values,
    "ne" Values,
    "!=" Values,
    "lt" Order,
    "lessthan" Order,
    "<" Order,
    "le" Order,
    "<=" Order,
    "gt" Order,
    "greaterthan" Order,
    ">" Order,
    "ge" Order,
    ">=" Order,
    "sameas" Values,
};

const IN: &str = "counted.in";

/// The name to call one of minijinja's tests by.
pub fn counted_check(name: &str) -> Option<&'static str> {
    let check = CHECKS.iter().find(|check| check.name == name).map(|check| check.counted);
    check.or((name == "in").then_some(IN))
}

pub fn add_to(environment: &mut Environment<'_>) {
    for check in &CHECKS {
        environment.add_test(check.counted, move |state: &mut State<'_, '_>, arguments: Rest<ValueOrKwargs>| {
            let arguments = arguments.into_values();
            if !matches!(check.of, Of::Values) && arguments.iter().any(is_missing) {
                return Ok(false);
            }
            let arguments = arguments.iter().map(|value| check.argument(value)).collect::<Result<Vec<_>, _>>()?;
            reading(Reading::Comparable, || state.perform_test(check.name, &arguments))
        });
    }
    environment.add_test(IN, operators::contains);
}

impl Check {
    fn argument(&self, value: &Value) -> Result<Value, Error> {
        match self.of {
            Of::Values | Of::Order => Ok(native(value)),
            Of::Text => {
                budget::charge(bounds::length(value)?)?;
                Ok(text_of_number(value).unwrap_or_else(|| value.clone()))
            }
        }
    }
}
