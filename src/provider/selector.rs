//! Where a value is found in a request: `header:NAME`, `json:/POINTER`, `form:NAME`, `query:NAME`, and, of a signature
//! header that is a list, `item:PREFIX`. A selector yields a string that is not empty, or an integer; nothing else.

mod pointer;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::event::Headers;

pub use pointer::scalar;

const FORM: &str = "application/x-www-form-urlencoded";

/// The form field in which JSON is sent as a form.
const FORM_PAYLOAD: &str = "payload";

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    Header(String),
    /// A JSON pointer (RFC 6901) into the body, or into the field `payload` of a form.
    Json(String),
    Form(String),
    Query(String),
    /// What follows the prefix in an item of the signature header.
    Item(String),
}

/// Why a selector yields nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    Missing,
    /// It is there twice, and there is no telling which one an intermediary looked at.
    Repeated,
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Selector, String> {
        let wrong = || format!("{text:?} is no selector; write header:NAME, json:/POINTER, form:NAME or query:NAME");
        let (kind, name) = text.split_once(':').filter(|(_, name)| !name.is_empty()).ok_or_else(wrong)?;
        let name = name.to_owned();
        match kind {
            "header" => Ok(Selector::Header(name)),
            "json" if name.starts_with('/') => Ok(Selector::Json(name)),
            "form" => Ok(Selector::Form(name)),
            "query" => Ok(Selector::Query(name)),
            "item" => Ok(Selector::Item(name)),
            _ => Err(wrong()),
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
            Selector::Item(prefix) => write!(f, "item:{prefix}"),
        }
    }
}

/// The parts of a request in which selectors look.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    pub method: &'a str,
    /// The request target, with its query.
    pub target: &'a str,
    pub headers: &'a Headers,
    pub body: &'a [u8],
}

impl<'a> Parts<'a> {
    /// The only value that the selector finds.
    pub fn only(&self, selector: &Selector) -> Result<Cow<'a, str>, Absent> {
        let mut values = self.all(selector);
        let value = values.next().ok_or(Absent::Missing)?;
        match values.next() {
            Some(_) => Err(Absent::Repeated),
            None if value.is_empty() => Err(Absent::Missing),
            None => Ok(value),
        }
    }

    /// The first value that the selector finds, for what proves nothing.
    pub fn first(&self, selector: &Selector) -> Option<Cow<'a, str>> {
        self.all(selector).next().filter(|value| !value.is_empty())
    }

    fn all(&self, selector: &Selector) -> Box<dyn Iterator<Item = Cow<'a, str>> + 'a> {
        match selector {
            Selector::Header(name) => {
                let name = name.clone();
                let of_that_name = move |(field, _): &(&str, &str)| field.eq_ignore_ascii_case(&name);
                Box::new(self.headers.iter().filter(of_that_name).map(|(_, value)| Cow::Borrowed(value)))
            }
            Selector::Json(pointer) => Box::new(scalar(&self.json(), pointer).map(Cow::Owned).into_iter()),
            Selector::Form(name) => fields(self.body, name),
            Selector::Query(name) => fields(self.query().as_bytes(), name),
            // An item is a part of the signature, and is looked for there.
            Selector::Item(_) => Box::new(std::iter::empty()),
        }
    }

    pub fn query(&self) -> &'a str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    pub fn is_form(&self) -> bool {
        let media_type = self.headers.get("Content-Type").unwrap_or_default().split(';').next().unwrap_or_default();
        media_type.trim().eq_ignore_ascii_case(FORM)
    }

    /// The body; of a form that carries JSON in its only field `payload`, that.
    pub fn json(&self) -> Cow<'a, [u8]> {
        if !self.is_form() {
            return Cow::Borrowed(self.body);
        }
        match self.only(&Selector::Form(FORM_PAYLOAD.to_owned())) {
            Ok(payload) => Cow::Owned(payload.into_owned().into_bytes()),
            Err(_) => Cow::Borrowed(self.body),
        }
    }

    /// The name-value pairs of a form.
    pub fn pairs(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> {
        form_urlencoded::parse(self.body)
    }
}

fn fields<'a>(encoded: &'a [u8], name: &str) -> Box<dyn Iterator<Item = Cow<'a, str>> + 'a> {
    let name = name.to_owned();
    Box::new(form_urlencoded::parse(encoded).filter(move |(field, _)| *field == name).map(|(_, value)| value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(headers: &[(&str, &str)], target: &str, body: &str, selector: &str) -> Result<String, Absent> {
        let headers = Headers::new(headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect());
        let parts = Parts { method: "POST", target, headers: &headers, body: body.as_bytes() };
        parts.only(&selector.parse().unwrap()).map(Cow::into_owned)
    }

    #[test]
    fn each_kind_finds_its_value() {
        let form = [("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")];
        assert_eq!(find(&[("x-a", "1")], "/", "", "header:X-A"), Ok("1".into()));
        assert_eq!(find(&[], "/", r#"{"a":[{"b":7}]}"#, "json:/a/0/b"), Ok("7".into()));
        assert_eq!(find(&form, "/", "a=1&b=%2B+x", "form:b"), Ok("+ x".into()));
        assert_eq!(find(&form, "/", "payload=%7B%22a%22%3A1%7D", "json:/a"), Ok("1".into()));
        assert_eq!(find(&[], "/p?hub.mode=x%20y", "", "query:hub.mode"), Ok("x y".into()));
    }

    #[test]
    fn empty_and_repeated_values_are_none() {
        let twice = [("A", "1"), ("a", "1")];
        assert_eq!(find(&twice, "/", "", "header:a"), Err(Absent::Repeated));
        assert_eq!(find(&[("a", "")], "/", "", "header:a"), Err(Absent::Missing));
        assert_eq!(find(&[], "/?a=1&a=1", "", "query:a"), Err(Absent::Repeated));
        for body in [r#"{"a":""}"#, r#"{"a":null}"#, r#"{"a":1.5}"#, r#"{"a":true}"#, r#"{"a":{}}"#, "{", ""] {
            assert_eq!(find(&[], "/", body, "json:/a"), Err(Absent::Missing), "{body}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for text in ["", "header", "header:", "json:a", "cookie:a", "X-Hub-Signature"] {
            assert!(text.parse::<Selector>().is_err(), "{text}");
        }
    }
}
