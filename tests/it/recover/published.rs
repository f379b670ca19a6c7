//! Holds what was asked and answered to the description (OpenAPI) that a provider has published.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// Holds each exchange to the description of its operation, which is read from a file.
const VALIDATOR: &str = r##"
import json, sys, jsonschema
from urllib.parse import unquote
file = open(sys.argv[1])
if sys.argv[1].endswith('.json'):
    document = json.load(file)
else:
    import yaml
    document = yaml.load(file, getattr(yaml, 'CSafeLoader', yaml.SafeLoader))
def plain(schema):
    if isinstance(schema, list):
        return [plain(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: plain(value) for key, value in schema.items()}
    if made.get('nullable') is True and 'type' in made:
        made['type'] = [made['type'], 'null']
    return made
components = {'schemas': plain(document.get('components', {}).get('schemas', {}))}
def validator(schema):
    return jsonschema.Draft7Validator({'allOf': [plain(schema)], 'components': components})
def read(value, inner, schema):
    if inner:
        return [value] if inner == ']' else {inner[:-1]: int(value)}
    return int(value) if schema.get('type') == 'integer' else value
validators = {}
for exchange in json.load(sys.stdin):
    operation = document['paths'][exchange['path']][exchange['method']]
    known = {p['name']: p['schema'] for p in operation.get('parameters', []) if p['in'] == 'query'}
    for name, value in exchange['query']:
        name, _, inner = unquote(name).partition('[')
        schema = known[name]
        validator(schema).validate(read(unquote(value), inner, schema))
    if exchange['status'] in (304, 401, 403, 429):
        continue
    answer = operation['responses'][str(exchange['status'])]
    if 'content' not in answer:
        continue
    key = (exchange['path'], exchange['method'], exchange['status'])
    if key not in validators:
        validators[key] = validator(answer['content']['application/json']['schema'])
    validators[key].validate(exchange['body'])
"##;

/// A request and its answer; `path` is the template of the description.
pub fn exchange(path: &str, method: &str, target: &str, status: u16, body: &[u8]) -> Value {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let query: Vec<(&str, &str)> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    json!({ "path": path, "method": method.to_lowercase(), "status": status, "query": query, "body": body })
}

/// `variable` names the file with the description; nothing is compared where it is not set.
#[track_caller]
pub fn assert_as_published(variable: &str, exchanges: &[Value]) {
    let Some(description) = std::env::var_os(variable) else {
        println!("answers are not compared with a description of the API: {variable} names none");
        return;
    };
    let mut python = Command::new("python3");
    python.args(["-c", VALIDATOR]).arg(description).stdin(Stdio::piped());
    let mut child = python.spawn().unwrap();
    child.stdin.take().unwrap().write_all(Value::from(exchanges).to_string().as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "not as published");
}
