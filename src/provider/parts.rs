//! A request as selectors read it. The values in its body are found by one pass over it, whatever number of them is asked
//! for: an unverified body is up to `max_body` large.

use std::borrow::Cow;
use std::cell::OnceCell;

use super::selector::Selector;
use crate::charset::Charset;
use crate::http::Headers;
use crate::http::form::{self, Field, Form, FormError, PAYLOAD};
use crate::json::{self, Scan};

#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    pub method: &'a str,
    /// The request target, with its query.
    pub target: &'a str,
    pub headers: &'a Headers,
    pub body: &'a [u8],
    pub forms: Forms,
    /// Keeps what the first selector in the body finds for the next ones. `None`: each reads the body on its own.
    pub reading: Option<&'a Reading<'a>>,
}

/// How a body that says that it is a form is read. Providers do not sign the `Content-Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forms {
    /// The provider sends none: the type must not turn JSON into a form whose fields are named by a text within that JSON.
    Never,
    /// The document is an object of the fields.
    Fields,
    /// The document is the field `payload` if that holds JSON, else an object of the fields.
    Payload,
    /// The same; only the field `payload` is signed, and nothing may be beside it.
    PayloadAlone,
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

/// One pass over the body, made when the first value in it is asked for.
#[derive(Debug)]
pub struct Reading<'a> {
    wanted: Vec<&'a Selector>,
    values: OnceCell<Values>,
}

/// What one pass has found.
#[derive(Clone, Debug)]
pub struct Values {
    found: Vec<(Selector, Vec<String>)>,
    /// The field `payload` of a form.
    payload: Option<String>,
    is_payload_document: bool,
    is_json: bool,
    is_too_deep: bool,
    error: Option<FormError>,
}

impl<'a> Reading<'a> {
    /// The pass that will find all of these; `known` is what an earlier one over the same body has found.
    pub fn new(wanted: impl Iterator<Item = &'a Selector>, known: Option<Values>) -> Reading<'a> {
        let wanted = wanted.flat_map(Selector::places).filter(|place| place.is_in_body()).collect();
        Reading { wanted, values: known.map_or_else(OnceCell::new, OnceCell::from) }
    }

    pub fn values(&self, parts: &Parts<'_>) -> &Values {
        self.values.get_or_init(|| Values::read(parts, &self.wanted))
    }

    /// What was found, if anything was asked for.
    pub fn into_values(self) -> Option<Values> {
        self.values.into_inner()
    }
}

impl Values {
    fn read(parts: &Parts<'_>, places: &[&Selector]) -> Values {
        let form = parts.form();
        let fields = form.map_or(Ok(Vec::new()), Form::fields);
        let (fields, error) = fields.map_or_else(|error| (Vec::new(), Some(error)), |fields| (fields, None));
        let payload = form::payload(&fields).map(Cow::into_owned);
        let may_be_document = |payload: &&str| parts.forms != Forms::Fields && is_document(payload.as_bytes(), &fields);
        let candidate = payload.as_deref().filter(may_be_document);
        let json = match form {
            Some(_) => candidate.unwrap_or_default().as_bytes(),
            None => parts.body,
        };
        let scan = json::scan(json::without_bom(json), places.iter().filter_map(|place| place.lookup()));
        let is_found = |place: &&&Selector| payload.is_none() || !is_payload(place);
        let found = places.iter().filter(is_found).map(|place| ((*place).clone(), values_of(place, &fields, &scan)));
        Values {
            found: found.collect(),
            is_payload_document: candidate.is_some() && (scan.is_json || scan.is_too_deep()),
            payload,
            is_json: scan.is_json,
            is_too_deep: scan.is_too_deep(),
            error,
        }
    }

    /// `None` where the place was not asked for.
    fn get(&self, place: &Selector) -> Option<&[String]> {
        if let Some(payload) = self.payload.as_ref().filter(|_| is_payload(place)) {
            return Some(std::slice::from_ref(payload)); // it may be large, and is not kept twice
        }
        self.found.iter().find(|(known, _)| known == place).map(|(_, values)| values.as_slice())
    }

    /// Why the body is not read.
    pub fn error(&self) -> Option<FormError> {
        self.error
    }

    /// The field `payload` of a form, if that is the document.
    pub fn document(&self) -> Option<&str> {
        self.payload.as_deref().filter(|_| self.is_payload_document)
    }

    /// Whether the document can be stored as JSON. `Err` is for the sender.
    pub fn check_json(&self) -> Result<(), &'static str> {
        match self {
            Values { is_too_deep: true, .. } => Err("the JSON is nested too deep"),
            Values { is_json: false, .. } => Err("the body is not JSON"),
            _ => Ok(()),
        }
    }
}

/// An array beside other fields may be one value of several; an object is how JSON is sent as a form.
fn is_document(payload: &[u8], fields: &[Field<'_>]) -> bool {
    json::begins_object(payload) || json::begins_object_or_array(payload) && fields.len() == 1
}

fn is_payload(place: &Selector) -> bool {
    matches!(place, Selector::Form(name) if name == PAYLOAD)
}

fn values_of(place: &Selector, fields: &[Field<'_>], scan: &Scan<'_>) -> Vec<String> {
    match place {
        Selector::Form(name) => {
            let named = fields.iter().filter(|field| field.is_named(name));
            named.filter_map(Field::text).map(Cow::into_owned).collect()
        }
        place => place.lookup().and_then(|lookup| scan.get(lookup).flatten()).map(str::to_owned).into_iter().collect(),
    }
}

/// The string or integer at a pointer into the JSON.
pub fn scalar(json: &[u8], pointer: &str) -> Option<String> {
    let lookup = json::Lookup::Pointer(pointer);
    json::scan(json, [lookup]).get(lookup).flatten().map(str::to_owned)
}

impl<'a> Parts<'a> {
    /// The only value that the selector finds.
    pub fn only(&self, selector: &Selector) -> Result<Cow<'a, str>, Absent> {
        let mut values = self.all(selector).into_iter();
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
        match self.chosen(selector) {
            Selector::Header(name) => self.headers.charset(name),
            _ => Charset::Utf8,
        }
    }

    /// The first value that the selector finds, where verification does not depend on it.
    pub fn first(&self, selector: &Selector) -> Option<Cow<'a, str>> {
        self.all(selector).into_iter().next().filter(|value| !value.is_empty())
    }

    /// The place that has a value, of several; if none has, the first.
    pub fn chosen<'s>(&self, selector: &'s Selector) -> &'s Selector {
        let has_value = |place: &&Selector| self.only(place) != Err(Absent::Missing);
        match selector.places() {
            [one] => one,
            any => any.iter().find(has_value).unwrap_or(selector.main()),
        }
    }

    fn all(&self, selector: &Selector) -> Vec<Cow<'a, str>> {
        match self.chosen(selector) {
            Selector::Header(name) => self.headers.all(name).map(Cow::Borrowed).collect(),
            Selector::Query(name) => {
                let parameters = form_urlencoded::parse(self.query().as_bytes());
                parameters.filter(|(parameter, _)| parameter == name).map(|(_, value)| value).collect()
            }
            place => self.in_body(place),
        }
    }

    fn in_body(&self, place: &Selector) -> Vec<Cow<'a, str>> {
        match self.reading.and_then(|reading| reading.values(self).get(place)) {
            Some(values) => values.iter().map(|value| Cow::Borrowed(value.as_str())).collect(),
            None => Values::read(self, &[place]).get(place).into_iter().flatten().cloned().map(Cow::Owned).collect(),
        }
    }

    pub fn query(&self) -> &'a str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// The body as a form, if it is one and the provider sends forms.
    pub fn form(&self) -> Option<Form<'a>> {
        if self.forms == Forms::Never { None } else { Form::find(self.headers, self.body) }
    }

    /// Whether nothing is beside the field `payload` of a form, where only that is signed.
    pub fn check_alone(&self) -> Result<(), &'static str> {
        let has_more = self.forms == Forms::PayloadAlone && self.form().is_some_and(|form| !form.is_payload_alone());
        if has_more { Err("only the field payload is signed, and the form has more") } else { Ok(()) }
    }

    /// Whether the body is a form without files.
    pub fn is_form(&self) -> bool {
        matches!(self.form(), Some(Form::UrlEncoded(_)))
    }

    /// The body, or the field `payload` if the body is a form with that.
    pub fn payload(&self) -> Cow<'a, [u8]> {
        if self.form().is_none() {
            return Cow::Borrowed(self.body);
        }
        let payload = match self.reading {
            Some(reading) => reading.values(self).payload.as_deref().map(|text| Cow::Borrowed(text.as_bytes())),
            None => Values::read(self, &[]).payload.map(|text| Cow::Owned(text.into_bytes())),
        };
        payload.unwrap_or(Cow::Borrowed(self.body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find_in(
        forms: Forms,
        headers: &[(&str, &str)],
        target: &str,
        body: &str,
        selector: &str,
    ) -> Result<String, Absent> {
        let headers = Headers::new(headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect());
        let parts = Parts { method: "POST", target, headers: &headers, body: body.as_bytes(), forms, reading: None };
        let selector: Selector = selector.parse().unwrap();
        let alone = parts.only(&selector).map(Cow::into_owned);
        let others: Vec<Selector> = ["form:b", "json:/a/0/b"].map(|text| text.parse().unwrap()).into();
        let reading = Reading::new(others.iter().chain([&selector]), None);
        let together = Parts { reading: Some(&reading), ..parts }.only(&selector).map(Cow::into_owned);
        assert_eq!(together, alone, "one pass for all finds the same");
        alone
    }

    fn find(headers: &[(&str, &str)], target: &str, body: &str, selector: &str) -> Result<String, Absent> {
        find_in(Forms::Payload, headers, target, body, selector)
    }

    const FORM: [(&str, &str); 1] = [("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")];

    #[test]
    fn each_kind_finds_its_value() {
        assert_eq!(find(&[("x-a", "1")], "/", "", "header:X-A"), Ok("1".into()));
        assert_eq!(find(&[], "/", r#"{"a":[{"b":7}]}"#, "json:/a/0/b"), Ok("7".into()));
        assert_eq!(find(&FORM, "/", "a=1&b=%2B+x", "form:b"), Ok("+ x".into()));
        assert_eq!(find(&FORM, "/", "payload=%7B%22a%22%3A1%7D", "json:/a"), Ok("1".into()));
        assert_eq!(find(&[], "/p?hub.mode=x%20y", "", "query:hub.mode"), Ok("x y".into()));
        assert_eq!(find(&[], "/", r#"{"n":1,"message":{"n":2}}"#, "beside:n"), Ok("message".into()));
        assert_eq!(find(&[], "/", "\u{feff}{\"a\":1}", "json:/a"), Ok("1".into()));
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
        assert_eq!(find(&[], "/", r#"{"b":1}"#, "json:/a|json:/b"), Ok("1".into()));
    }

    #[test]
    fn nothing_but_a_form_has_fields() {
        let issue = r#"{"id":1,"title":"&payload={\"id\":2}&command=x&"}"#;
        assert_eq!(find(&FORM, "/", issue, "json:/id"), Ok("1".into()), "the type alone makes no form of JSON");
        assert_eq!(find(&FORM, "/", issue, "form:command"), Err(Absent::Missing));
        assert_eq!(find(&[], "/", "a=1", "form:a"), Err(Absent::Missing));
        let body = "payload=%7B%22id%22%3A2%7D";
        assert_eq!(
            find_in(Forms::Never, &FORM, "/", body, "json:/id"),
            Err(Absent::Missing),
            "its provider sends none"
        );
    }

    #[test]
    fn the_field_payload_is_the_document_wherever_it_stands() {
        let object = "%7B%22id%22%3A2%7D";
        for form in
            [format!("payload={object}"), format!("a=1&payload={object}&b=2"), format!("payload=%EF%BB%BF{object}")]
        {
            assert_eq!(find(&FORM, "/", &form, "json:/id"), Ok("2".into()), "{form}");
            assert_eq!(find_in(Forms::PayloadAlone, &FORM, "/", &form, "json:/id"), Ok("2".into()), "{form}");
            assert_eq!(find_in(Forms::Fields, &FORM, "/", &form, "json:/id"), Err(Absent::Missing), "{form}");
        }
        assert_eq!(find(&FORM, "/", &format!("payload=%7B%7D&payload={object}"), "json:/id"), Err(Absent::Missing));
        assert_eq!(find(&FORM, "/", "payload=%5B7%5D", "json:/0"), Ok("7".into()));
        assert_eq!(find(&FORM, "/", "payload=%5B7%5D&a=1", "json:/0"), Err(Absent::Missing), "one value of several");
    }

    #[test]
    fn a_form_with_files_has_its_texts_as_fields() {
        let kind = [("Content-Type", "multipart/form-data; boundary=\"x y\"")];
        let body = "--x y\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\n1\r\n2\r\n--x y--\r\n";
        assert_eq!(find(&kind, "/", body, "form:token"), Ok("1\r\n2".into()));
        assert_eq!(find(&[], "/", body, "form:token"), Err(Absent::Missing));
        for file in ["", "; filename=\"blob\""] {
            let body = format!(
                "--x y\r\nContent-Disposition: form-data; name=\"thumb\"; filename=t\r\n\r\n\u{1}\r\n--x y\r\n\
                 Content-Disposition: form-data; name=\"payload\"{file}\r\n\r\n{{\"a\":1}}\r\n--x y--\r\n"
            );
            assert_eq!(find(&kind, "/", &body, "json:/a"), Ok("1".into()), "{file}");
        }
    }

    #[test]
    fn empty_and_repeated_values_are_none() {
        let twice = [("A", "1"), ("a", "1")];
        assert_eq!(find(&twice, "/", "", "header:a"), Err(Absent::Repeated));
        assert_eq!(find(&[("a", "")], "/", "", "header:a"), Err(Absent::Missing));
        assert_eq!(find(&[], "/?a=1&a=1", "", "query:a"), Err(Absent::Repeated));
        assert_eq!(find(&FORM, "/", "a=1&%61=1", "form:a"), Err(Absent::Repeated));
        for body in [r#"{"a":""}"#, r#"{"a":null}"#, r#"{"a":1.5}"#, r#"{"a":true}"#, r#"{"a":{}}"#, "{", ""] {
            assert_eq!(find(&[], "/", body, "json:/a"), Err(Absent::Missing), "{body}");
        }
    }
}
