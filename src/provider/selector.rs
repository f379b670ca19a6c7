//! Selectors name the place of a value in a request: `header:NAME`, `json:/POINTER`, `form:NAME`, `query:NAME`,
//! `beside:NAME`, and, in a signature header that is a list, `item:PREFIX`. The value is an integer or a string that is not
//! empty.

use std::fmt;
use std::str::FromStr;

use crate::json::Lookup;

pub use crate::http::form::FORM;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    Header(String),
    /// A JSON pointer (RFC 6901) into the body, or into the field `payload` of a form.
    Json(String),
    Form(String),
    Query(String),
    /// The name of the first member of the JSON object that is not named this: it says what kind of thing the object holds.
    Beside(String),
    /// The rest of an item of the signature header after the prefix.
    Item(String),
    /// The first of these that has a value.
    Any(Vec<Selector>),
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Selector, String> {
        // A name may contain the separator: it separates only where there is a selector on both sides.
        if let Ok(any) = text.split('|').map(one).collect::<Result<Vec<_>, _>>()
            && any.len() > 1
        {
            return Ok(Selector::Any(any));
        }
        one(text)
    }
}

fn one(text: &str) -> Result<Selector, String> {
    let wrong =
        || format!("{text:?} is no selector; write header:NAME, json:/POINTER, form:NAME, query:NAME or beside:NAME");
    let (kind, name) = text.split_once(':').filter(|(_, name)| !name.is_empty()).ok_or_else(wrong)?;
    let name = name.to_owned();
    match kind {
        "header" => Ok(Selector::Header(name)),
        "json" if name.starts_with('/') => Ok(Selector::Json(name)),
        "form" => Ok(Selector::Form(name)),
        "query" => Ok(Selector::Query(name)),
        "beside" => Ok(Selector::Beside(name)),
        "item" => Ok(Selector::Item(name)),
        _ => Err(wrong()),
    }
}

impl Selector {
    /// The value of the JSON that it is, if it is one.
    pub fn lookup(&self) -> Option<Lookup<'_>> {
        match self {
            Selector::Json(pointer) => Some(Lookup::Pointer(pointer)),
            Selector::Beside(name) => Some(Lookup::Beside(name)),
            _ => None,
        }
    }

    /// Whether its value is in the body. An item is a part of the signature.
    pub fn is_in_body(&self) -> bool {
        matches!(self, Selector::Json(_) | Selector::Beside(_) | Selector::Form(_))
    }

    /// The first of several places, which is the usual one.
    pub fn main(&self) -> &Selector {
        self.places().first().unwrap_or(self)
    }

    /// All of the places.
    pub fn places(&self) -> &[Selector] {
        match self {
            Selector::Any(any) => any,
            one => std::slice::from_ref(one),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selector::Header(name) => write!(f, "header:{name}"),
            Selector::Json(pointer) => write!(f, "json:{pointer}"),
            Selector::Form(name) => write!(f, "form:{name}"),
            Selector::Query(name) => write!(f, "query:{name}"),
            Selector::Beside(name) => write!(f, "beside:{name}"),
            Selector::Item(prefix) => write!(f, "item:{prefix}"),
            Selector::Any(any) => f.write_str(&any.iter().map(Selector::to_string).collect::<Vec<_>>().join("|")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_selector_is_refused() {
        for text in ["", "header", "header:", "json:a", "cookie:a", "X-Hub-Signature"] {
            assert!(text.parse::<Selector>().is_err(), "{text}");
        }
    }
}
