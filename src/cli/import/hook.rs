//! The file of adnanh/webhook: <https://github.com/adnanh/webhook/blob/master/docs/Hook-Definition.md>.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Hook {
    #[serde(deserialize_with = "text")]
    pub id: String,
    #[serde(deserialize_with = "text")]
    pub execute_command: String,
    #[serde(deserialize_with = "text")]
    pub command_working_directory: String,
    #[serde(deserialize_with = "text")]
    pub response_message: String,
    pub response_headers: Option<Vec<Header>>,
    pub include_command_output_in_response: bool,
    pub include_command_output_in_response_on_error: bool,
    pub pass_arguments_to_command: Option<Vec<Argument>>,
    pub pass_environment_to_command: Option<Vec<Argument>>,
    pub pass_file_to_command: Option<Vec<Argument>>,
    pub parse_parameters_as_json: Option<Vec<Argument>>,
    pub trigger_rule: Option<Rule>,
    pub trigger_rule_mismatch_http_response_code: Option<u16>,
    pub trigger_signature_soft_failures: bool,
    #[serde(deserialize_with = "text")]
    pub incoming_payload_content_type: String,
    pub success_http_response_code: Option<u16>,
    pub http_methods: Option<Vec<String>>,
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Header {
    #[serde(deserialize_with = "text")]
    pub name: String,
    #[serde(deserialize_with = "text")]
    pub value: String,
}

/// A reference to a value of the request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Argument {
    #[serde(deserialize_with = "text")]
    pub source: String,
    #[serde(deserialize_with = "text")]
    pub name: String,
    #[serde(deserialize_with = "text")]
    pub envname: String,
    pub base64decode: bool,
}

/// The first of these that is there counts.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Rule {
    pub and: Option<Vec<Rule>>,
    pub or: Option<Vec<Rule>>,
    pub not: Option<Box<Rule>>,
    #[serde(rename = "match")]
    pub matches: Option<Match>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Match {
    #[serde(rename = "type", deserialize_with = "text")]
    pub kind: String,
    #[serde(deserialize_with = "text")]
    pub regex: String,
    #[serde(deserialize_with = "text")]
    pub secret: String,
    #[serde(deserialize_with = "text")]
    pub value: String,
    pub parameter: Argument,
    #[serde(deserialize_with = "text")]
    pub ip_range: String,
}

/// A text, or a number or boolean that is meant as one, as a reader of YAML takes it.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) => Ok(text),
        Value::Null => Ok(String::new()),
        value @ (Value::Number(_) | Value::Bool(_)) => Ok(value.to_string()),
        _ => Err(serde::de::Error::custom("expected a text")),
    }
}
