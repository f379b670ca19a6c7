//! What an attempt has got back, as a condition on it sees it.

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::value::Object;
use minijinja::{Error, ErrorKind, Value};

use super::fields::Fields;
use super::{BYTE_ORDER_MARK, budget, payload};

/// The text of it, and the indexes of what is used of it.
const COPIES: usize = 4;

/// The answer of a server, or the end of a command.
#[derive(Debug)]
pub enum Answer {
    Http { status: u16, headers: BTreeMap<String, String>, body: AnswerText },
    Command { exit_code: i32, output: AnswerText },
}

/// A body or an output. What is wanting may be what decides, so a condition on a part of it cannot be evaluated.
#[derive(Debug)]
pub enum AnswerText {
    Whole(Arc<str>),
    /// Why it is not whole.
    Partial(String),
}

impl Answer {
    /// What a condition can name, by the kind of action.
    pub const OF_HTTP: [&str; 4] = ["status", "headers", "body", "json"];
    pub const OF_COMMAND: [&str; 2] = ["exit_code", "output"];
}

impl Object for Answer {
    fn get_value(self: &Arc<Self>, name: &Value) -> Option<Value> {
        match (&**self, name.as_str()?) {
            (Answer::Http { status, .. }, "status") => Some(Value::from(*status)),
            (Answer::Http { headers, .. }, "headers") => Some(Fields::value(headers.clone())),
            (Answer::Http { body, .. }, "body") => Some(body.value()),
            (Answer::Http { body, .. }, "json") => Some(body.json()),
            (Answer::Command { exit_code, .. }, "exit_code") => Some(Value::from(*exit_code)),
            (Answer::Command { output, .. }, "output") => Some(output.value()),
            _ => None,
        }
    }
}

impl AnswerText {
    fn value(&self) -> Value {
        match self {
            AnswerText::Whole(text) => Value::from(text),
            AnswerText::Partial(why) => refused(why.clone()),
        }
    }

    /// A text that is not JSON, such as a page of a proxy in place of the server's answer, fails every condition on it: a
    /// value without members would let `not answer.json.error` hold.
    fn json(&self) -> Value {
        let AnswerText::Whole(text) = self else { return self.value() };
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        if text.trim().is_empty() {
            return Value::UNDEFINED;
        }
        if let Some(why) = payload::unreadable(text) {
            return refused(format!("the body as JSON: {why}"));
        }
        match budget::charge(COPIES * text.len()) {
            Ok(()) => payload::value(Arc::from(text)),
            Err(error) => Value::from(error),
        }
    }
}

/// A value that cannot be used.
fn refused(why: String) -> Value {
    Value::from(Error::new(ErrorKind::InvalidOperation, why))
}
