//! minijinja, set up once: templates that render an event, and expressions that decide on it.
//!
//! Variables are `id`, `source`, `event`, `delivery_id`, `received_at`, `headers` (names in lower case), `payload`; in an
//! attempt also `attempt` and `idempotency_key`, and in one about a dead job `dead_action` and `error`. Undefined values
//! chain: `payload.pull_request.merged` is false on a push.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;
use std::sync::{Arc, LazyLock, OnceLock};

use minijinja::value::{Object, Serde};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value, escape_formatter};
use serde::Deserialize;

use crate::event::Event;
use crate::json;
use crate::suggest::hint;

/// The output of values is escaped for Slack in templates with this name.
const MRKDWN: &str = "mrkdwn";

/// The steps of a template: a second of work, half a minute on a small machine. Printing a payload of 25 MiB as JSON takes
/// 7 million, or more with many escapes. Without a limit, nested loops over a payload could occupy a thread forever.
const TEMPLATE_FUEL: u64 = 30_000_000;

/// The longest output of a template: the largest payload, with room for escapes.
const MAX_TEXT_BYTES: usize = 64 << 20;

/// The steps of an expression. The router, and every event after this one, waits for it.
const EXPRESSION_FUEL: u64 = 1_000_000;

/// All variables; templates can also name functions and what they set themselves.
const VARIABLES: [&str; 11] = [
    "id",
    "source",
    "event",
    "delivery_id",
    "received_at",
    "headers",
    "payload",
    "attempt",
    "idempotency_key",
    "dead_action",
    "error",
];

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
    // For `blocks`, which are JSON and not escaped automatically.
    environment.add_filter("mrkdwn", |text: String| Value::from_safe_string(escape_mrkdwn(&text)));
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

/// The variables of one event. The payload is parsed when a template first uses it: that is most of the work on an event,
/// and an action that forwards the body does not need it.
#[derive(Clone, Debug)]
pub struct Scope {
    variables: BTreeMap<&'static str, Value>,
    payload_json: Arc<str>,
    payload: Arc<OnceLock<Value>>,
}

impl Scope {
    pub fn of(event: &Event) -> Scope {
        let headers: BTreeMap<String, serde_json::Value> =
            serde_json::from_str(&event.headers_json).unwrap_or_default();
        let headers: BTreeMap<String, Value> =
            headers.into_iter().map(|(name, value)| (name.to_lowercase(), Value::from(Serde(value)))).collect();
        let variables = BTreeMap::from([
            ("id", Value::from(event.id.0)),
            ("source", Value::from(event.source.as_str())),
            ("event", Value::from(event.event_type.as_str())),
            ("delivery_id", Value::from(event.delivery_id.as_str())),
            ("received_at", Value::from(event.received_at.as_str())),
            ("headers", Value::from_pairs(headers)),
        ]);
        Scope { variables, payload_json: Arc::clone(&event.payload_json), payload: Arc::default() }
    }

    /// Adds a variable.
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Scope {
        self.variables.insert(name, value.into());
        self
    }

    /// Without an event, to check the templates of the configuration.
    pub fn empty() -> Scope {
        Scope { variables: BTreeMap::new(), payload_json: "{}".into(), payload: Arc::default() }
    }

    fn context(&self) -> Value {
        Value::from_object(self.clone())
    }
}

impl Object for Scope {
    fn get_value(self: &Arc<Self>, name: &Value) -> Option<Value> {
        match name.as_str()? {
            "payload" => Some(self.payload.get_or_init(|| read_payload(&self.payload_json)).clone()),
            name => self.variables.get(name).cloned(),
        }
    }
}

/// A payload that is not JSON, which another program may have stored, is an error in the template that uses it.
fn read_payload(json: &str) -> Value {
    let unreadable =
        |reason: String| Value::from(Error::new(ErrorKind::BadSerialization, format!("payload: {reason}")));
    if json::scan(json.as_bytes(), []).depth > json::MAX_DEPTH {
        return unreadable(format!("it is nested deeper than {} levels", json::MAX_DEPTH));
    }
    let json = json::replace_lone_surrogates(json);
    let mut deserializer = serde_json::Deserializer::from_str(&json);
    // The limit is checked above; that of serde_json is one level lower.
    deserializer.disable_recursion_limit();
    let value = Value::deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    value.unwrap_or_else(|error| unreadable(error.to_string()))
}

impl Template {
    /// A template for Slack: `&`, `<` and `>` are escaped in values.
    /// Source: <https://docs.slack.dev/messaging/formatting-message-text/#escaping>
    pub fn mrkdwn(source: &str) -> Result<Template, TemplateError> {
        Template::checked(source, MRKDWN)
    }

    fn checked(source: &str, name: &'static str) -> Result<Template, TemplateError> {
        let compiled = TEMPLATES.template_from_named_str(name, source).map_err(TemplateError::of)?;
        refuse_unknown_variables(source, compiled.undeclared_variables(false))?;
        refuse_unknown_names(compiled.render(Scope::empty().context()).map(drop))?;
        Ok(Template { source: source.to_owned(), name })
    }

    pub fn render(&self, scope: &Scope) -> Result<String, TemplateError> {
        let compiled = TEMPLATES.template_from_named_str(self.name, &self.source).map_err(TemplateError::of)?;
        let mut text = Bounded(Vec::new());
        compiled.render_captured_to(scope.context(), &mut text).map_err(TemplateError::of)?;
        String::from_utf8(text.0).map_err(|error| TemplateError(error.to_string()))
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it uses this variable.
    pub fn uses(&self, variable: &str) -> bool {
        let compiled = TEMPLATES.template_from_named_str(self.name, &self.source);
        compiled.is_ok_and(|template| template.undeclared_variables(false).contains(variable))
    }
}

/// Output of at most [`MAX_TEXT_BYTES`].
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_TEXT_BYTES {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Expression {
    /// Whether the expression is true. Undefined, empty and zero are false.
    pub fn holds(&self, scope: &Scope) -> Result<bool, TemplateError> {
        let expression = EXPRESSIONS.compile_expression(&self.0).map_err(TemplateError::of)?;
        Ok(expression.eval(scope.context()).map_err(TemplateError::of)?.is_true())
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
        let compiled = EXPRESSIONS.compile_expression(source).map_err(TemplateError::of)?;
        refuse_unknown_variables(source, compiled.undeclared_variables(false))?;
        refuse_unknown_names(compiled.eval(Scope::empty().context()).map(drop))?;
        Ok(Expression(source.to_owned()))
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
        TemplateError(match error.kind() {
            ErrorKind::OutOfFuel => format!("too much work for one event{line}"),
            ErrorKind::WriteFailure => format!("more than {} MiB of text{line}", MAX_TEXT_BYTES >> 20),
            kind => {
                let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
                format!("{kind}{line}{detail}")
            }
        })
    }
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A misspelt name would be undefined, which is empty and false, so that the action would never run.
fn refuse_unknown_variables(source: &str, named: HashSet<String>) -> Result<(), TemplateError> {
    let functions: Vec<&str> = TEMPLATES.globals().map(|(name, _)| name).collect();
    let is_known = |name: &str| VARIABLES.contains(&name) || functions.contains(&name) || sets(source, name);
    let Some(unknown) = named.iter().filter(|name| !is_known(name)).min() else { return Ok(()) };
    Err(TemplateError(format!("no variable {unknown:?}; {}", hint(unknown, &VARIABLES))))
}

/// Whether a template may set this variable: for minijinja, a variable set within an `if` is undeclared after it.
fn sets(source: &str, variable: &str) -> bool {
    let targets = source.split("set").skip(1).filter_map(|rest| rest.split(['=', '%']).next());
    targets.into_iter().any(|target| target.contains(variable))
}

/// Unknown filters, tests and functions are errors only when they are used. Any other error may be due to the empty scope.
fn refuse_unknown_names(tried: Result<(), Error>) -> Result<(), TemplateError> {
    let is_name = |kind| matches!(kind, ErrorKind::UnknownFilter | ErrorKind::UnknownTest | ErrorKind::UnknownFunction);
    match tried {
        Err(error) if is_name(error.kind()) => Err(TemplateError::of(error)),
        _ => Ok(()),
    }
}

fn format_value(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if !matches!(state.auto_escape(), AutoEscape::Custom(_)) {
        return escape_formatter(out, state, value);
    }
    let text = value.to_string();
    Ok(out.write_str(&if value.is_safe() { text } else { escape_mrkdwn(&text) })?)
}

/// Escapes the three control characters of Slack's formatting.
fn escape_mrkdwn(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventId;

    fn scope() -> Scope {
        Scope::of(&Event {
            id: EventId(7),
            source: "github".to_owned(),
            event_type: "push".to_owned(),
            delivery_id: "d".to_owned(),
            received_at: "2025-01-31T12:00:00+00:00".to_owned(),
            headers_json: r#"{"X-GitHub-Event":"push"}"#.to_owned(),
            payload_json: r#"{"ref":"refs/heads/main","title":"a < b & c","n":3,"commits":[{"id":"1"}]}"#.into(),
            body: None,
        })
    }

    fn render(source: &str) -> String {
        source.parse::<Template>().unwrap().render(&scope()).unwrap()
    }

    fn holds(source: &str) -> Result<bool, TemplateError> {
        source.parse::<Expression>().unwrap().holds(&scope())
    }

    #[test]
    fn every_variable_has_its_value() {
        let all =
            "{{ id }} {{ source }} {{ event }} {{ delivery_id }} {{ received_at }} {{ headers['x-github-event'] }}";
        assert_eq!(render(all), "7 github push d 2025-01-31T12:00:00+00:00 push");
        assert_eq!(
            render("{{ payload.ref }} {{ payload.commits[0].id }} {{ payload.commits | length }}"),
            "refs/heads/main 1 1"
        );
        assert_eq!(
            render("{{ payload.title | tojson }} {{ payload.ref | urlencode }}"),
            "\"a \\u003c b \\u0026 c\" refs/heads/main"
        );
    }

    #[test]
    fn undefined_values_chain_and_are_false() {
        assert_eq!(render("[{{ payload.pull_request.head.ref }}]"), "[]");
        assert!(!holds("payload.pull_request.merged").unwrap());
        assert!(holds("payload.pull_request is undefined and payload.n > 2").unwrap());
        assert!(holds("payload.ref == 'refs/heads/main' and 'main' in payload.ref").unwrap());
    }

    #[test]
    fn wrong_types_and_wrong_syntax_are_errors() {
        assert!(holds("payload.n + payload.title").is_err());
        for broken in ["{{ payload.", "{% if id %}", "{{ 1 + }}"] {
            assert!(broken.parse::<Template>().is_err(), "{broken}");
        }
        assert!("payload ==".parse::<Expression>().is_err());
    }

    #[test]
    fn an_unknown_name_is_refused() {
        let refused = |source: &str| source.parse::<Template>().unwrap_err().to_string();
        assert_eq!(refused("{{ paylod.ref }}"), "no variable \"paylod\"; did you mean \"payload\"?");
        assert!(refused("{% for x in payload.x %}{{ y }}{% endfor %}").starts_with("no variable \"y\"; known: id, "));
        assert!(refused("{{ payload.ref | uper }}").starts_with("unknown filter: "));
        assert!(refused("{{ payload.ref is uper }}").starts_with("unknown test: "));
        assert!("payload.ref == refs".parse::<Expression>().is_err());
        assert!("payload.ref | uper".parse::<Expression>().is_err());
    }

    #[test]
    fn a_name_that_a_template_sets_is_known() {
        for source in [
            "{% if payload.n %}{% set x, y = 1, 2 %}{% endif %}{{ x }}{{ y }}",
            "{% set all = namespace(n=0) %}{% for x in range(3) %}{% set all.n = loop.index %}{% endfor %}{{ all.n }}",
            "{% macro bold(x) %}*{{ x }}*{% endmacro %}{{ bold(dict(a=1).a) }}",
            "{% with x = dead_action %}{{ x }}{{ error }}{% endwith %}",
        ] {
            assert!(source.parse::<Template>().is_ok(), "{source}");
        }
    }

    #[test]
    fn slack_text_is_escaped_and_its_template_is_not() {
        let text =
            Template::mrkdwn("<{{ payload.title }}|{{ payload.title | safe }}> & {{ payload.nothing }}").unwrap();
        assert_eq!(text.render(&scope()).unwrap(), "<a &lt; b &amp; c|a < b & c> & ");
    }
}
