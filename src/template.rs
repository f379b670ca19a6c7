//! minijinja, set up once: templates that render an event, and expressions that decide on it.
//!
//! Variables are `id`, `source`, `event`, `delivery_id`, `received_at`, `headers` (names in lower case), `payload`, and in
//! an attempt `attempt` and `idempotency_key`, and `dead_action` and `error` where it tells of a death. What is undefined
//! chains: `payload.pull_request.merged` is false on a push.

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
use crate::suggest::closest;

/// Templates with this name have what they print escaped for Slack.
const MRKDWN: &str = "mrkdwn";

/// Steps that a template may take: a second's work, and on a small machine half a minute's; to print a payload of 25 MiB as
/// JSON takes 7 million, and some more where much is to be escaped. A loop within a loop over what somebody else has sent would
/// keep a thread for ever.
const TEMPLATE_FUEL: u64 = 30_000_000;

/// The longest text that a template may print: the largest payload, with room for its escaping.
const MAX_TEXT_BYTES: usize = 64 << 20;

/// The same for an expression, for which the router, and with it every event behind, waits.
const EXPRESSION_FUEL: u64 = 1_000_000;

/// Everything that may be named, beside functions and what a template sets itself.
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
    // For blocks, which are JSON and are not escaped by themselves.
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

/// The variables of one event. The payload is read when a template first asks for it: most of the work on an event is in
/// that, and what passes the body on as it came does not need it.
#[derive(Clone, Debug)]
pub struct Scope {
    facts: BTreeMap<&'static str, Value>,
    payload_json: Arc<str>,
    payload: Arc<OnceLock<Value>>,
}

impl Scope {
    pub fn of(event: &Event) -> Scope {
        let headers: BTreeMap<String, serde_json::Value> =
            serde_json::from_str(&event.headers_json).unwrap_or_default();
        let headers: BTreeMap<String, Value> =
            headers.into_iter().map(|(name, value)| (name.to_lowercase(), Value::from(Serde(value)))).collect();
        let facts = BTreeMap::from([
            ("id", Value::from(event.id.0)),
            ("source", Value::from(event.source.as_str())),
            ("event", Value::from(event.event_type.as_str())),
            ("delivery_id", Value::from(event.delivery_id.as_str())),
            ("received_at", Value::from(event.received_at.as_str())),
            ("headers", Value::from_pairs(headers)),
        ]);
        Scope { facts, payload_json: Arc::clone(&event.payload_json), payload: Arc::default() }
    }

    /// The same with one variable more.
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Scope {
        self.facts.insert(name, value.into());
        self
    }

    /// Of no event at all, to try out what is written in the configuration.
    pub fn empty() -> Scope {
        Scope { facts: BTreeMap::new(), payload_json: "{}".into(), payload: Arc::default() }
    }

    fn context(&self) -> Value {
        Value::from_object(self.clone())
    }
}

impl Object for Scope {
    fn get_value(self: &Arc<Self>, name: &Value) -> Option<Value> {
        match name.as_str()? {
            "payload" => Some(self.payload.get_or_init(|| read_payload(&self.payload_json)).clone()),
            name => self.facts.get(name).cloned(),
        }
    }
}

/// A payload that is not JSON, as another program may have stored it, is an error for whoever uses it.
fn read_payload(json: &str) -> Value {
    let unreadable =
        |reason: String| Value::from(Error::new(ErrorKind::BadSerialization, format!("payload: {reason}")));
    if json::depth(json.as_bytes()) > json::MAX_DEPTH {
        return unreadable(format!("it is nested deeper than {} levels", json::MAX_DEPTH));
    }
    let json = json::replace_lone_surrogates(json);
    let mut deserializer = serde_json::Deserializer::from_str(&json);
    // Its own limit is one level less than ours.
    deserializer.disable_recursion_limit();
    let value = Value::deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    value.unwrap_or_else(|error| unreadable(error.to_string()))
}

impl Template {
    /// A template for Slack: `&`, `<` and `>` of what it prints are escaped.
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

    /// Whether it asks for this variable.
    pub fn uses(&self, variable: &str) -> bool {
        let compiled = TEMPLATES.template_from_named_str(self.name, &self.source);
        compiled.is_ok_and(|template| template.undeclared_variables(false).contains(variable))
    }
}

/// A text that takes no more than [`MAX_TEXT_BYTES`].
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
    /// Whether the expression holds. What is undefined, empty or zero does not.
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

impl std::error::Error for TemplateError {}

/// A name that is misspelt is undefined, which is empty and false: the action would be silent for ever.
fn refuse_unknown_variables(source: &str, named: HashSet<String>) -> Result<(), TemplateError> {
    let functions: Vec<&str> = TEMPLATES.globals().map(|(name, _)| name).collect();
    let is_known = |name: &str| VARIABLES.contains(&name) || functions.contains(&name) || sets(source, name);
    let Some(unknown) = named.iter().filter(|name| !is_known(name)).min() else { return Ok(()) };
    let way_out = match closest(unknown, VARIABLES) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("known: {}", VARIABLES.join(", ")),
    };
    Err(TemplateError(format!("no variable {unknown:?}; {way_out}")))
}

/// Whether a template may set this variable: the engine, asked what is undeclared, forgets what was set within an `if`.
fn sets(source: &str, variable: &str) -> bool {
    let targets = source.split("set").skip(1).filter_map(|rest| rest.split(['=', '%']).next());
    targets.into_iter().any(|target| target.contains(variable))
}

/// Which filters, tests and functions there are shows when they are used. Every other error may be that of the event that
/// is missing.
fn refuse_unknown_names(tried: Result<(), Error>) -> Result<(), TemplateError> {
    match tried {
        Err(error) if is_about_a_name(&error) => Err(TemplateError::of(error)),
        _ => Ok(()),
    }
}

fn is_about_a_name(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::UnknownFilter | ErrorKind::UnknownTest | ErrorKind::UnknownFunction)
}

fn format_value(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if !matches!(state.auto_escape(), AutoEscape::Custom(_)) {
        return escape_formatter(out, state, value);
    }
    let text = value.to_string();
    Ok(out.write_str(&if value.is_safe() { text } else { escape_mrkdwn(&text) })?)
}

/// Takes the three characters their meaning that control Slack's formatting.
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
    fn every_variable_is_there() {
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
    fn what_is_undefined_chains_and_is_false() {
        assert_eq!(render("[{{ payload.pull_request.head.ref }}]"), "[]");
        assert!(!holds("payload.pull_request.merged").unwrap());
        assert!(holds("payload.pull_request is undefined and payload.n > 2").unwrap());
        assert!(holds("payload.ref == 'refs/heads/main' and 'main' in payload.ref").unwrap());
    }

    #[test]
    fn a_real_error_is_an_error() {
        assert!(holds("payload.n + payload.title").is_err());
        for broken in ["{{ payload.", "{% if id %}", "{{ 1 + }}"] {
            assert!(broken.parse::<Template>().is_err(), "{broken}");
        }
        assert!("payload ==".parse::<Expression>().is_err());
    }

    #[test]
    fn a_name_that_nobody_knows_is_refused() {
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
