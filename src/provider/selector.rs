//! Selectors name the place of a value in a request: `header:NAME`, `json:/POINTER`, `form:NAME`, `query:NAME`,
//! `beside:NAME`, and, in a signature header that is a list, `item:PREFIX`. The value is an integer or a string that is not
//! empty.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::charset::Charset;
use crate::http::Headers;
use crate::http::form::{Field, Form};
use crate::json::{self, Lookup, Scan};

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

/// Why a selector yields nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    Missing,
    /// It is there twice: an intermediary may have read the other one.
    Repeated,
    /// It is larger than any genuine value.
    TooLarge,
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
    /// The place that has a value, of several; if none has, the first.
    pub fn chosen(&self, parts: &Parts<'_>) -> &Selector {
        let has_value = |place: &&Selector| parts.only(place) != Err(Absent::Missing);
        match self.places() {
            [one] => one,
            any => any.iter().find(has_value).unwrap_or(self.main()),
        }
    }

    /// The values that it may need of the JSON.
    pub fn lookups(&self) -> impl Iterator<Item = Lookup<'_>> {
        self.places().iter().filter_map(|place| match place {
            Selector::Json(pointer) => Some(Lookup::Pointer(pointer)),
            Selector::Beside(name) => Some(Lookup::Beside(name)),
            _ => None,
        })
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

/// A request as selectors read it.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    pub method: &'a str,
    /// The request target, with its query.
    pub target: &'a str,
    pub headers: &'a Headers,
    pub body: &'a [u8],
    /// Whether the provider ever sends forms. Providers do not sign the `Content-Type`, so it must not turn JSON into a form
    /// whose fields are named by a text within that JSON.
    pub forms: bool,
    /// The pass over the JSON that has looked up the values of id and event type. Other values are looked up in a pass of
    /// their own.
    pub scan: Option<&'a Scan<'a>>,
}

/// The string or integer at a pointer into the JSON.
pub fn scalar(json: &[u8], pointer: &str) -> Option<String> {
    look_up(json, Lookup::Pointer(pointer))
}

/// The values of the fields of that name.
fn named<'s, 'a: 's>(
    fields: impl Iterator<Item = Field<'a>> + 's,
    name: &'s str,
) -> Box<dyn Iterator<Item = Cow<'a, str>> + 's> {
    Box::new(fields.filter(move |(field, _)| field == name).map(|(_, value)| value))
}

fn look_up(json: &[u8], lookup: Lookup<'_>) -> Option<String> {
    json::scan(json, [lookup]).get(lookup).flatten().map(str::to_owned)
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

    /// The bytes of the only value that the selector finds, as they came.
    pub fn only_bytes(&self, selector: &Selector) -> Result<Cow<'a, [u8]>, Absent> {
        let charset = self.charset(selector);
        self.only(selector).map(|value| charset.bytes(value))
    }

    /// How the bytes of that value became text.
    pub fn charset(&self, selector: &Selector) -> Charset {
        match selector.chosen(self) {
            Selector::Header(name) => self.headers.charset(name),
            _ => Charset::Utf8,
        }
    }

    /// The first value that the selector finds, where verification does not depend on it.
    pub fn first(&self, selector: &Selector) -> Option<Cow<'a, str>> {
        self.all(selector).next().filter(|value| !value.is_empty())
    }

    fn all<'s>(&'s self, selector: &'s Selector) -> Box<dyn Iterator<Item = Cow<'a, str>> + 's> {
        match selector.chosen(self) {
            Selector::Header(name) => Box::new(self.headers.all(name).map(Cow::Borrowed)),
            Selector::Form(name) => named(self.form().map(Form::fields).into_iter().flatten(), name),
            Selector::Query(name) => named(form_urlencoded::parse(self.query().as_bytes()), name),
            // For the other places only values in the JSON: an item is a part of the signature, and is read from it.
            place => Box::new(place.lookups().filter_map(|lookup| self.look_up(lookup)).map(Cow::Owned)),
        }
    }

    fn look_up(&self, lookup: Lookup<'_>) -> Option<String> {
        match self.scan.and_then(|scan| scan.get(lookup)) {
            Some(found) => found.map(str::to_owned),
            None => look_up(&self.json(), lookup),
        }
    }

    pub fn query(&self) -> &'a str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// The body as a form, if it is one and the provider sends forms.
    pub fn form(&self) -> Option<Form<'a>> {
        if self.forms { Form::find(self.headers, self.body) } else { None }
    }

    /// Whether the body is a form without files.
    pub fn is_form(&self) -> bool {
        matches!(self.form(), Some(Form::UrlEncoded(_)))
    }

    /// The body, or the JSON in the field `payload` if the body is a form with that.
    pub fn json(&self) -> Cow<'a, [u8]> {
        match self.form().and_then(Form::payload) {
            Some(payload) => Cow::Owned(payload.into_owned().into_bytes()),
            None => Cow::Borrowed(self.body),
        }
    }

    /// The name-value pairs of a body that is known to be a form without files.
    pub fn pairs(&self) -> impl Iterator<Item = Field<'a>> + use<'a> {
        form_urlencoded::parse(self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(headers: &[(&str, &str)], target: &str, body: &str, selector: &str) -> Result<String, Absent> {
        let headers = Headers::new(headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect());
        let parts = Parts { method: "POST", target, headers: &headers, body: body.as_bytes(), forms: true, scan: None };
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
        assert_eq!(find(&[], "/", r#"{"n":1,"message":{"n":2}}"#, "beside:n"), Ok("message".into()));
    }

    #[test]
    fn of_several_places_the_first_with_a_value_counts() {
        let either = "header:a|header:b|query:c";
        assert_eq!(find(&[("b", "2"), ("a", "1")], "/?c=3", "", either), Ok("1".into()));
        assert_eq!(find(&[("b", "2"), ("a", "")], "/?c=3", "", either), Ok("2".into()));
        assert_eq!(find(&[], "/?c=3", "", either), Ok("3".into()));
        assert_eq!(find(&[], "/", "", either), Err(Absent::Missing));
        assert_eq!(find(&[("a", "1"), ("a", "1"), ("b", "2")], "/", "", either), Err(Absent::Repeated));
        assert_eq!(find(&[], "/", r#"{"a|b":1}"#, "json:/a|b"), Ok("1".into()));
    }

    #[test]
    fn nothing_but_a_form_has_fields() {
        let form = [("Content-Type", "application/x-www-form-urlencoded")];
        let issue = r#"{"id":1,"title":"&payload={\"id\":2}&command=x&"}"#;
        assert_eq!(find(&form, "/", issue, "json:/id"), Ok("1".into()), "the type alone makes no form of JSON");
        assert_eq!(find(&form, "/", issue, "form:command"), Err(Absent::Missing));
        assert_eq!(find(&form, "/", "a=1&payload=%7B%22id%22%3A2%7D", "json:/id"), Err(Absent::Missing));
        assert_eq!(find(&form, "/", "payload=%7B%7D&payload=%7B%22id%22%3A2%7D", "json:/id"), Err(Absent::Missing));
        assert_eq!(find(&[], "/", "a=1", "form:a"), Err(Absent::Missing));
        let headers = Headers::new(vec![("Content-Type".into(), "application/x-www-form-urlencoded".into())]);
        let body = br#"payload=%7B%22id%22%3A2%7D"#;
        let never = Parts { method: "POST", target: "/", headers: &headers, body, forms: false, scan: None };
        assert_eq!(never.first(&"json:/id".parse().unwrap()), None, "its provider sends no forms");
    }

    #[test]
    fn a_form_with_files_has_its_texts_as_fields() {
        let kind = [("Content-Type", "multipart/form-data; boundary=\"x y\"")];
        let body = "--x y\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\n1\r\n2\r\n--x y--\r\n";
        assert_eq!(find(&kind, "/", body, "form:token"), Ok("1\r\n2".into()));
        assert_eq!(find(&[], "/", body, "form:token"), Err(Absent::Missing));
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
