//! A request in the making: values are put where selectors find them.

use std::fmt;

use serde_json::{Map, Value};

use super::parts::{Forms, Parts};
use super::selector::Selector;
use crate::http::Headers;

#[derive(Clone, Debug)]
pub struct RequestBuilder {
    pub headers: Headers,
    pub body: Vec<u8>,
    /// To be appended to the query of the URL.
    pub query: Vec<(String, String)>,
    pub forms: Forms,
    pub public_url: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum SignError {
    /// Only the provider has the key.
    PrivateKey,
    /// The body cannot hold a value that the provider puts into it; holds its selector.
    NoPlace(String),
}

impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SignError::PrivateKey => f.write_str(
                "this provider signs with a private key that only it has; use the test button in its settings instead",
            ),
            SignError::NoPlace(place) => {
                write!(f, "the body has no place for {place}, which belongs to this provider's deliveries")
            }
        }
    }
}

impl RequestBuilder {
    pub fn parts(&self) -> Parts<'_> {
        let RequestBuilder { headers, body, forms, .. } = self;
        Parts { method: "POST", target: "", headers, body, forms: *forms, reading: None }
    }

    pub fn set_header(&mut self, name: &str, value: &str) {
        let others = self.headers.iter().filter(|(other, _)| !other.eq_ignore_ascii_case(name));
        let others = others.map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.headers = Headers::new(others.chain([(name.to_owned(), value.to_owned())]).collect());
    }

    /// Changes the body, if it is JSON.
    pub fn edit_json(&mut self, edit: impl FnOnce(&mut Value)) {
        if let Ok(mut json) = serde_json::from_slice(&self.body) {
            edit(&mut json);
            self.body = json.to_string().into_bytes();
        }
    }

    /// Sets a member of the body, if that is a JSON object.
    pub fn set_member(&mut self, name: &str, value: Value) {
        self.edit_json(|json| {
            if let Some(fields) = json.as_object_mut() {
                fields.insert(name.to_owned(), value);
            }
        });
    }

    /// Puts the text where the selector finds it.
    pub fn put(&mut self, selector: &Selector, text: &str) -> Result<(), SignError> {
        let no_place = || SignError::NoPlace(selector.to_string());
        match selector.main() {
            Selector::Header(name) => self.set_header(name, text),
            Selector::Query(name) => self.query.push((name.clone(), text.to_owned())),
            Selector::Form(name) => self.set_field(name, text),
            Selector::Json(pointer) => {
                let mut json = serde_json::from_slice(&self.body).map_err(|_| no_place())?;
                // Providers send timestamps as numbers.
                let value = text.parse::<i64>().map_or_else(|_| Value::from(text), Value::from);
                *make_path(&mut json, pointer).ok_or_else(no_place)? = value;
                self.body = json.to_string().into_bytes();
            }
            Selector::Beside(_) => self.set_member(text, Value::Object(Map::new())),
            Selector::Item(_) | Selector::Any(_) => return Err(no_place()),
        }
        Ok(())
    }

    fn set_field(&mut self, name: &str, text: &str) {
        let body = std::mem::take(&mut self.body);
        let others = form_urlencoded::parse(&body).filter(|(other, _)| other != name);
        let mut form = form_urlencoded::Serializer::new(String::new());
        self.body = form.extend_pairs(others).append_pair(name, text).finish().into_bytes();
    }
}

/// The value at the JSON pointer, created with its parents if it is missing.
fn make_path<'a>(json: &'a mut Value, pointer: &str) -> Option<&'a mut Value> {
    pointer.split('/').skip(1).try_fold(json, |node, segment| {
        let index = segment.parse::<usize>();
        if node.is_null() {
            *node = if index.is_ok() { Value::Array(Vec::new()) } else { Value::Object(Map::new()) };
        }
        match node {
            Value::Object(fields) => {
                Some(fields.entry(segment.replace("~1", "/").replace("~0", "~")).or_insert(Value::Null))
            }
            Value::Array(items) => {
                let index = index.ok()?;
                if index == items.len() {
                    items.push(Value::Null);
                }
                items.get_mut(index)
            }
            _ => None,
        }
    })
}
