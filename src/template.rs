//! minijinja, set up once: templates that render an event, and expressions that decide on it.
//!
//! Variables are `id`, `source`, `event`, `delivery_id`, `received_at`, `headers`, `payload`, `body`;
//! in an attempt also `attempt` and `idempotency_key`, and in a condition on its result `answer`. Undefined values chain:
//! `payload.pull_request.merged` is false on a push. So does `null`, which is printed as nothing.
//!
//! An evaluation is limited in its steps (fuel), and in the memory of what it makes ([`budget`]).

mod answer;
mod attributes;
mod bounds;
mod budget;
mod checks;
mod compile;
mod fields;
mod filters;
mod number;
mod operators;
mod payload;
mod regex;
mod to_json;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt::{self, Write};
use std::str::FromStr;
use std::sync::{Arc, LazyLock, OnceLock};

use minijinja::machinery::{Instructions, eval, make_string_output};
use minijinja::value::{Object, Serde, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, HtmlEscape, Output, State, UndefinedBehavior, Value};

use crate::event::{Event, headers};
use crate::suggest::hint;
pub use answer::{Answer, AnswerText};
use fields::Fields;
use payload::{Reading, reading};
use to_json::Style;

/// The output of values is escaped for Slack in templates with this name.
const MRKDWN: &str = "mrkdwn";

/// Some programs begin JSON with it.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The steps of a template: a second of work, half a minute on a small machine. Printing a payload of 25 MiB as JSON takes
/// a million. Without a limit, nested loops over a payload could occupy a thread forever.
const TEMPLATE_FUEL: u64 = 30_000_000;

/// The steps of an expression. The router, and every event after this one, waits for it.
const EXPRESSION_FUEL: u64 = 1_000_000;

/// The method of a delivery with which none is stored.
const USUAL_METHOD: &str = "POST";

/// All variables; templates can also name functions and what they set themselves.
const VARIABLES: [&str; 12] = [
    "id",
    "source",
    "event",
    "delivery_id",
    "received_at",
    "method",
    "query",
    "headers",
    "payload",
    "body",
    "attempt",
    "idempotency_key",
];

/// A further variable of a condition on the result of an attempt.
const ANSWER: &str = "answer";

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| environment(TEMPLATE_FUEL));

static EXPRESSIONS: LazyLock<Environment<'static>> = LazyLock::new(|| environment(EXPRESSION_FUEL));

fn environment(fuel: u64) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(fuel));
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment.set_auto_escape_callback(|name| match name {
        MRKDWN => AutoEscape::Custom(MRKDWN.into()),
        _ => AutoEscape::None,
    });
    environment.set_formatter(format_value);
    filters::add_to(&mut environment);
    checks::add_to(&mut environment);
    operators::add_to(&mut environment);
    environment.add_test("matching", regex::matching);
    environment
}

/// A template whose syntax has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    source: String,
    name: &'static str,
}

/// An expression whose syntax has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression(String);

/// Why a template or an expression cannot be read, or cannot be evaluated for an event.
#[derive(Debug)]
pub struct TemplateError(String);

/// The variables of one event. The payload is read when a template first uses it: an action that forwards the body does not
/// need it. The body is text when a template uses it: not every body is.
#[derive(Clone, Debug)]
pub struct Scope {
    variables: BTreeMap<&'static str, Value>,
    payload_json: Arc<str>,
    /// `None`: `payload_json` is the exact body.
    body: Option<Arc<[u8]>>,
    payload: Arc<OnceLock<Value>>,
}

impl Scope {
    pub fn of(event: &Event) -> Scope {
        let headers: BTreeMap<String, serde_json::Value> =
            serde_json::from_str(&event.headers_json).unwrap_or_default();
        let mut fields: BTreeMap<String, Value> =
            headers.into_iter().map(|(name, value)| (name.to_lowercase(), Value::from(Serde(value)))).collect();
        let mut beside = |name: &str| fields.remove(name).map(|text| text.to_string());
        let method = beside(headers::METHOD).unwrap_or_else(|| USUAL_METHOD.to_owned());
        let query = beside(headers::QUERY).unwrap_or_default();
        let parameters = form_urlencoded::parse(query.as_bytes()).collect::<BTreeMap<_, _>>();
        let variables = BTreeMap::from([
            ("id", Value::from(event.id.0)),
            ("source", Value::from(event.source.as_str())),
            ("event", Value::from(event.event_type.as_str())),
            ("delivery_id", Value::from(event.delivery_id.as_str())),
            ("received_at", Value::from(event.received_at.as_str())),
            ("method", Value::from(method)),
            ("query", Value::from_pairs(parameters.iter().map(|(name, value)| (&**name, &**value)))),
            ("headers", Fields::value(fields)),
        ]);
        Scope {
            variables,
            payload_json: Arc::clone(&event.payload_json),
            body: event.body.clone(),
            payload: Arc::default(),
        }
    }

    /// Adds a variable.
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Scope {
        self.variables.insert(name, value.into());
        self
    }

    /// The same with what an attempt has got back.
    pub fn with_answer(&self, answer: Answer) -> Scope {
        self.clone().with(ANSWER, Value::from_object(answer))
    }

    /// Without an event, to check the templates of the configuration.
    pub fn empty() -> Scope {
        Scope { variables: BTreeMap::new(), payload_json: "{}".into(), body: None, payload: Arc::default() }
    }

    fn context(&self) -> Value {
        Value::from_object(self.clone())
    }

    fn payload(&self) -> Value {
        if let Some(payload) = self.payload.get() {
            return payload.clone();
        }
        let payload = read_payload(&self.payload_json);
        // Without a budget it cannot be read, and other evaluations will use it.
        if !budget::is_exceeded() {
            let _ = self.payload.set(payload.clone());
        }
        payload
    }

    fn body(&self) -> Value {
        let Some(body) = &self.body else { return Value::from(&self.payload_json) };
        let text = std::str::from_utf8(body).map_err(|error| {
            let at = error.valid_up_to() + 1;
            Error::new(ErrorKind::BadSerialization, format!("body: it is not UTF-8 (byte {at}), and so not a text"))
        });
        match text.and_then(|text| budget::charge(text.len()).map(|()| text)) {
            Ok(text) => Value::from(text),
            Err(error) => Value::from(error),
        }
    }
}

impl Object for Scope {
    fn get_value(self: &Arc<Self>, name: &Value) -> Option<Value> {
        match name.as_str()? {
            "payload" => Some(self.payload()),
            "body" => Some(self.body()),
            name => self.variables.get(name).cloned(),
        }
    }
}

/// A payload that is not JSON, which another program may have stored, is an error in the template that uses it.
fn read_payload(json: &Arc<str>) -> Value {
    match payload::unreadable(json) {
        Some(reason) => Value::from(Error::new(ErrorKind::BadSerialization, format!("payload: {reason}"))),
        None => payload::value(Arc::clone(json)),
    }
}

/// Evaluates what has been compiled: the text that it prints, and the value of an expression.
fn evaluate(
    environment: &Environment<'_>,
    compiled: Result<Instructions<'_>, Error>,
    escape: AutoEscape,
    scope: &Scope,
) -> Result<(String, Option<Value>), Error> {
    let compiled = compiled?;
    let mut text = String::new();
    let mut output = make_string_output(&mut text);
    let no_blocks = BTreeMap::new();
    let mut evaluate = || eval(environment, &compiled, scope.context(), &no_blocks, &mut output, escape.clone());
    let (value, _) = budget::within(|| reading(Reading::AsSent, &mut evaluate))?;
    Ok((text, value))
}

impl Template {
    /// A template for Slack: `&`, `<` and `>` are escaped in values.
    /// Source: <https://docs.slack.dev/messaging/formatting-message-text/#escaping>
    pub fn mrkdwn(source: &str) -> Result<Template, TemplateError> {
        Template::checked(source, MRKDWN)
    }

    fn checked(source: &str, name: &'static str) -> Result<Template, TemplateError> {
        let compiled = TEMPLATES.template_from_named_str(name, source).map_err(TemplateError::of)?;
        refuse_unknown_variables(source, compiled.undeclared_variables(false), &VARIABLES)?;
        let template = Template { source: source.to_owned(), name };
        refuse_mistakes(template.evaluate(&Scope::empty()).map(drop))?;
        Ok(template)
    }

    fn evaluate(&self, scope: &Scope) -> Result<String, Error> {
        let escape = if self.name == MRKDWN { AutoEscape::Custom(MRKDWN.into()) } else { AutoEscape::None };
        Ok(evaluate(&TEMPLATES, compile::template(self.name, &self.source), escape, scope)?.0)
    }

    pub fn render(&self, scope: &Scope) -> Result<String, TemplateError> {
        self.evaluate(scope).map_err(TemplateError::of)
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it renders the same for every event.
    pub fn is_plain(&self) -> bool {
        !["{{", "{%", "{#"].iter().any(|mark| self.source.contains(mark))
    }
}

impl Expression {
    /// A condition on the result of an attempt: `answer` has these members.
    pub fn on_answer(source: &str, members: &[&str]) -> Result<Expression, TemplateError> {
        let expression = Expression::checked(source, &[&VARIABLES[..], &[ANSWER]].concat())?;
        let known = |path: &String| path.split('.').nth(1).is_none_or(|member| members.contains(&member));
        match expression.paths(ANSWER).iter().find(|path| !known(path)) {
            Some(path) => {
                let member = path.split('.').nth(1).unwrap_or_default();
                Err(TemplateError(format!("the answer has no {member:?}; {}", hint(member, members))))
            }
            None => Ok(expression),
        }
    }

    fn checked(source: &str, variables: &[&str]) -> Result<Expression, TemplateError> {
        let compiled = EXPRESSIONS.compile_expression(source).map_err(TemplateError::of)?;
        refuse_unknown_variables(source, compiled.undeclared_variables(false), variables)?;
        let expression = Expression(source.to_owned());
        refuse_mistakes(expression.evaluate(&Scope::empty()).map(drop))?;
        Ok(expression)
    }

    /// Whether it names this member of `answer`.
    pub fn names_of_answer(&self, member: &str) -> bool {
        self.paths(ANSWER).iter().any(|path| path.split('.').nth(1) == Some(member))
    }

    /// What it names in a variable: `answer.json.routed`.
    fn paths(&self, variable: &str) -> Vec<String> {
        let compiled = EXPRESSIONS.compile_expression(&self.0);
        let mut paths: Vec<String> = compiled.into_iter().flat_map(|it| it.undeclared_variables(true)).collect();
        paths.retain(|path| path.split('.').next() == Some(variable));
        paths.sort();
        paths
    }

    /// Whether the expression is true. Undefined, empty and zero are false.
    pub fn holds(&self, scope: &Scope) -> Result<bool, TemplateError> {
        self.evaluate(scope).map_err(TemplateError::of)
    }

    fn evaluate(&self, scope: &Scope) -> Result<bool, Error> {
        let (_, value) = evaluate(&EXPRESSIONS, compile::expression(&self.0), AutoEscape::None, scope)?;
        Ok(value.is_some_and(|value| value.is_true()))
    }
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(source: &str) -> Result<Template, TemplateError> {
        Template::checked(source, "text")
    }
}

impl FromStr for Expression {
    type Err = TemplateError;

    fn from_str(source: &str) -> Result<Expression, TemplateError> {
        Expression::checked(source, &VARIABLES)
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TemplateError {
    fn of(error: Error) -> TemplateError {
        let line = error.line().filter(|line| *line > 1).map(|line| format!(" in line {line}")).unwrap_or_default();
        let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
        TemplateError(match error.kind() {
            ErrorKind::OutOfFuel => format!("too much work for one event{line}{detail}"),
            kind => format!("{kind}{line}{detail}"),
        })
    }
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A misspelt name would be undefined, which is empty and false, so that the action would never run.
fn refuse_unknown_variables(source: &str, named: HashSet<String>, known: &[&str]) -> Result<(), TemplateError> {
    let functions: Vec<&str> = TEMPLATES.globals().map(|(name, _)| name).collect();
    let is_known = |name: &str| known.contains(&name) || functions.contains(&name) || sets(source, name);
    let Some(unknown) = named.iter().filter(|name| !is_known(name)).min() else { return Ok(()) };
    Err(TemplateError(format!("no variable {unknown:?}; {}", hint(unknown, known))))
}

/// Whether a template may set this variable: for minijinja, a variable set within an `if` is undeclared after it.
fn sets(source: &str, variable: &str) -> bool {
    let targets = source.split("set").skip(1).filter_map(|rest| rest.split(['=', '%']).next());
    targets.into_iter().any(|target| target.contains(variable))
}

/// Unknown filters, tests and functions are errors only when they are used. Most other errors may be due to the empty scope.
fn refuse_mistakes(tried: Result<(), Error>) -> Result<(), TemplateError> {
    let is_mistake = |kind| {
        use ErrorKind::{SyntaxError, UnknownFilter, UnknownFunction, UnknownTest};
        matches!(kind, SyntaxError | UnknownFilter | UnknownTest | UnknownFunction)
    };
    match tried {
        Err(error) if is_mistake(error.kind()) => Err(TemplateError::of(error)),
        _ => Ok(()),
    }
}

/// Prints a value, also into a variable (`{% set %}...{% endset %}`) or from a macro.
fn format_value(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    let mut out = Printed(out);
    match (value.kind(), value.is_safe(), state.auto_escape()) {
        (ValueKind::Undefined | ValueKind::None, ..) => Ok(()),
        (_, false, AutoEscape::Custom(_)) => Ok(out.write_str(&escape_mrkdwn(&text(value)?))?),
        (_, false, AutoEscape::Html) => Ok(write!(out, "{}", HtmlEscape(&text(value)?))?),
        (_, false, AutoEscape::Json) => Ok(out.write_str(&to_json::to_json(value, Style::Compact, false)?)?),
        _ => Ok(write!(out, "{value}")?),
    }
}

/// A value as text, to be escaped.
fn text(value: &Value) -> Result<Cow<'_, str>, Error> {
    match value.as_str() {
        Some(text) => Ok(text.into()),
        None => Ok(budget::text_of(format_args!("{value}"))?.into()),
    }
}

/// Output that is counted.
struct Printed<'o, 'w>(&'o mut Output<'w>);

impl fmt::Write for Printed<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        budget::charge_text(text.len()).map_err(|_| fmt::Error)?;
        self.0.write_str(text)
    }
}

/// Escapes the three control characters of Slack's formatting.
fn escape_mrkdwn(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests;
