//! References to values of a request become expressions over an event.

use super::hook::Argument;

/// Words that an expression does not take as the name of a member.
const KEYWORDS: [&str; 13] =
    ["and", "or", "not", "in", "is", "if", "else", "true", "false", "none", "True", "False", "None"];

/// The name by which a payload that is an array is referred to.
const ROOT: &str = "root";

/// The field of a form that hookbox itself takes for the payload, if it is JSON.
const PAYLOAD: &str = "payload";

/// A hook's references, some of which are texts that hold JSON.
pub struct References<'a> {
    pub json: &'a [Argument],
}

impl References<'_> {
    /// The expression, or why there is none.
    pub fn expression(&self, argument: &Argument) -> Result<String, String> {
        if argument.source == "string" {
            return Ok(quoted(&argument.name));
        }
        match self.within_json(argument) {
            Some(expression) => expression,
            None => simple(argument),
        }
    }

    /// The template that prints it.
    pub fn template(&self, argument: &Argument) -> Result<String, String> {
        if argument.source == "string" {
            return Ok(literal(&argument.name));
        }
        let expression = self.expression(argument)?;
        if argument.source == "payload" {
            return Ok(format!("{{{{ {expression} | text }}}}"));
        }
        Ok(format!("{{{{ {expression} }}}}"))
    }

    /// A part of a text that holds JSON.
    fn within_json(&self, argument: &Argument) -> Option<Result<String, String>> {
        self.json.iter().find_map(|text| {
            let rest = argument.name.strip_prefix(text.name.as_str())?;
            if !is_same_source(&text.source, &argument.source) || !(rest.is_empty() || rest.starts_with('.')) {
                return None;
            }
            let rest: Vec<&str> = rest.split('.').skip(1).collect();
            let is_document = text.source == "payload" && text.name == PAYLOAD;
            let base = if is_document {
                // Of a form hookbox has taken the field already; in JSON it may be a member.
                Ok("(payload.payload or payload)".to_owned())
            } else {
                simple(text).map(|text| format!("({text} | fromjson)"))
            };
            let print =
                |expression: String| if rest.is_empty() { format!("{expression} | tojson") } else { expression };
            Some(base.map(|base| print(path(base, &rest))))
        })
    }
}

fn is_same_source(one: &str, other: &str) -> bool {
    let alias = |source: &str| if source == "query" { "url".to_owned() } else { source.to_owned() };
    alias(one) == alias(other)
}

fn simple(Argument { source, name, .. }: &Argument) -> Result<String, String> {
    let segments: Vec<&str> = name.split('.').collect();
    match source.as_str() {
        "payload" if segments.iter().any(|segment| segment.starts_with(['-', '#'])) => Err(format!(
            "{name} is a part of XML, which hookbox does not read: let the command read the body (without the line \
             `stdin` it is the standard input), and write a condition about its text, such as when = \"body is \
             matching('<name>Jeff</name>')\""
        )),
        // webhook puts an array into an object with this one member; an object may have it too.
        "payload" if segments[0] == ROOT => {
            Ok(path("(payload.root if payload is mapping else payload)".to_owned(), &segments[1..]))
        }
        "payload" => Ok(path("payload".to_owned(), &segments)),
        "header" => Ok(path("headers".to_owned(), &[&name.to_lowercase()])),
        "url" | "query" => Ok(path("query".to_owned(), &[name])),
        "request" if name.eq_ignore_ascii_case("method") => Ok("method".to_owned()),
        "request" if name.eq_ignore_ascii_case("remote-addr") => {
            Err("the client's address is not stored: limit it with allow in the source; behind a proxy it is in \
             headers['x-forwarded-for']"
                .to_owned())
        }
        "request" => Err(format!("a request has method and remote-addr, and no {name:?}")),
        "context" => {
            Err("context is what a program has printed that is run before the answer; hookbox runs none: let \
                          the command itself run that program first"
                .to_owned())
        }
        "entire-payload" => Ok("payload | text".to_owned()),
        "raw-request-body" => Ok("body".to_owned()),
        "entire-headers" => Ok("headers | text".to_owned()),
        "entire-query" => Ok("query | text".to_owned()),
        _ => Err(format!("no source {source:?} is known, and webhook refuses it too")),
    }
}

/// `payload.commits[0].id`
fn path(base: String, segments: &[&str]) -> String {
    segments.iter().fold(base, |path, segment| {
        let is_index = !segment.is_empty() && segment.len() < 10 && segment.bytes().all(|byte| byte.is_ascii_digit());
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let is_name =
            segment.bytes().all(is_word) && segment.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        match () {
            () if is_index => format!("{path}[{segment}]"),
            () if is_name && !KEYWORDS.contains(segment) => format!("{path}.{segment}"),
            () => format!("{path}[{}]", quoted(segment)),
        }
    })
}

/// A text within an expression.
pub fn quoted(text: &str) -> String {
    let escaped = |char: char| match char {
        '\\' => "\\\\".to_owned(),
        '\'' => "\\'".to_owned(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        char if char.is_control() => format!("\\u{:04x}", u32::from(char)),
        char => char.to_string(),
    };
    format!("'{}'", text.chars().map(escaped).collect::<String>())
}

/// A text as a template that prints it.
pub fn literal(text: &str) -> String {
    if ["{{", "{%", "{#"].iter().any(|start| text.contains(start)) {
        return format!("{{{{ {} }}}}", quoted(text));
    }
    text.to_owned()
}
