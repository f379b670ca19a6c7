//! Formats: how a provider composes what it signs, an id, or the answer to a handshake. `{ts}.{body}` is the timestamp, a
//! full stop and the body; `{?json:/id}` is empty, and must be there; `{{` and `}}` are braces.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::keyword::{Keyword, keywords};
use super::parts::{Absent, Parts};
use super::selector::Selector;
use crate::digest;
use crate::http::form::Form;

/// What a format can name besides variables.
const SELECTORS: &str = "{form:NAME} {json:/POINTER} {header:NAME} {query:NAME} {hmac_hex:SELECTOR} {?SELECTOR}";

/// The characters whose escapes HubSpot decodes in a URL before it signs it.
/// <https://developers.hubspot.com/docs/apps/legacy-apps/authentication/validating-requests>
const DECODED_CHARS: &str = ":/?@!$'()*,;";

/// Providers that sign the sorted fields of a form send a few kilobytes. Sorting is expensive and happens before anything
/// is verified.
const MAX_SORTED_BYTES: usize = 1 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Variable(Variable),
    /// The HMAC-SHA256 of a value with the secret, in hexadecimal.
    HmacHex(Selector),
    Value(Selector),
    /// Empty. The format has no value where this place has none.
    Present(Selector),
}

keywords! {
    pub enum Variable {
        Body = "body",
        /// The JSON: the body, or the field `payload` of a form.
        Payload = "payload",
        Ts = "ts",
        Id = "id",
        Method = "method",
        Url = "url",
        UrlDecoded = "url_decoded",
        Secret = "secret",
        /// The names and values of a form, sorted, each pair once, without separators.
        FormSorted = "form_sorted",
    }
}

/// The values of the variables.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    pub parts: Parts<'a>,
    pub ts: Option<&'a str>,
    pub id: Option<&'a [u8]>,
    pub url: Option<&'a str>,
    pub secret: Option<&'a [u8]>,
}

impl<'a> Inputs<'a> {
    pub fn of(parts: Parts<'a>) -> Inputs<'a> {
        Inputs { parts, ts: None, id: None, url: None, secret: None }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Format, String> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix("{{").or_else(|| rest.strip_prefix("}}")) {
                literal.push_str(&rest[..1]);
                rest = after;
                continue;
            }
            let inside = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
            let (name, after) = inside.ok_or_else(|| format!("{text:?} has a single brace; write {{{{ or }}}}"))?;
            push_text(&mut pieces, &mut literal);
            pieces.push(parse_piece(name)?);
            rest = after;
        }
        literal.push_str(rest);
        push_text(&mut pieces, &mut literal);
        Ok(Format(pieces))
    }
}

fn push_text(pieces: &mut Vec<Piece>, literal: &mut String) {
    if !literal.is_empty() {
        pieces.push(Piece::Text(std::mem::take(literal)));
    }
}

fn parse_piece(name: &str) -> Result<Piece, String> {
    if let Some(variable) = Variable::find(name) {
        return Ok(Piece::Variable(variable));
    }
    let piece = match (name.strip_prefix("hmac_hex:"), name.strip_prefix('?')) {
        (Some(selector), _) => selector.parse().map(Piece::HmacHex),
        (None, Some(selector)) => selector.parse().map(Piece::Present),
        (None, None) => name.parse().map(Piece::Value),
    };
    piece.map_err(|_| {
        let variables: String = Variable::ALL.iter().map(|(_, name)| format!("{{{name}}} ")).collect();
        format!("{{{name}}} is unknown; there are: {variables}{SELECTORS}")
    })
}

impl Format {
    /// The format of an id or an event type: a lone selector, or text with selectors in braces.
    pub fn parse_value(text: &str) -> Result<Format, String> {
        if text.contains('{') {
            text.parse()
        } else {
            text.parse().map(|selector| Format(vec![Piece::Value(selector)]))
        }
    }

    pub fn has(&self, variable: Variable) -> bool {
        self.0.contains(&Piece::Variable(variable))
    }

    pub fn has_url(&self) -> bool {
        self.has(Variable::Url) || self.has(Variable::UrlDecoded)
    }

    pub fn has_secret(&self) -> bool {
        self.has(Variable::Secret) || self.0.iter().any(|piece| matches!(piece, Piece::HmacHex(_)))
    }

    pub fn is_constant(&self) -> bool {
        self.0.iter().all(|piece| matches!(piece, Piece::Text(_)))
    }

    /// Whether fixed text separates the timestamp from its neighbours.
    pub fn is_ts_delimited(&self) -> bool {
        let is_ts = |piece: &Piece| *piece == Piece::Variable(Variable::Ts);
        let is_fixed = |piece: &Piece| matches!(piece, Piece::Text(_));
        self.0.windows(2).all(|pair| !pair.iter().any(is_ts) || pair.iter().any(is_fixed))
    }

    /// The same with `{url}` for `{url_decoded}`; `None` if that is not in it.
    pub fn with_raw_url(&self) -> Option<Format> {
        let raw = |piece: &Piece| match piece {
            Piece::Variable(Variable::UrlDecoded) => Piece::Variable(Variable::Url),
            other => other.clone(),
        };
        self.has(Variable::UrlDecoded).then(|| Format(self.0.iter().map(raw).collect()))
    }

    /// The selector, if the format is nothing else.
    pub fn selector(&self) -> Option<&Selector> {
        match &self.0[..] {
            [Piece::Value(selector)] => Some(selector),
            _ => None,
        }
    }

    pub fn selectors(&self) -> impl Iterator<Item = &Selector> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Value(selector) | Piece::HmacHex(selector) | Piece::Present(selector) => Some(selector),
            _ => None,
        })
    }

    /// The format for people: its places as `describe` names them.
    pub fn description(&self, describe: impl Fn(&Selector) -> String) -> String {
        let (mut text, mut values, mut conditions) = (String::new(), Vec::new(), Vec::new());
        for piece in &self.0 {
            match piece {
                Piece::Text(part) => text.push_str(part),
                Piece::Variable(_) => {}
                Piece::Value(selector) | Piece::HmacHex(selector) => values.push(describe(selector)),
                Piece::Present(selector) => conditions.push(describe(selector)),
            }
        }
        let text = if values.is_empty() { format!("{text:?}") } else { values.join(" with ") };
        if conditions.is_empty() { text } else { format!("{text} where there is {}", conditions.join(" and ")) }
    }

    /// The pieces as bytes, without a copy of the body. `Err` names the value that is missing.
    pub fn bytes<'a>(&'a self, inputs: &Inputs<'a>) -> Result<Vec<Cow<'a, [u8]>>, (String, Absent)> {
        self.0.iter().map(|piece| piece.bytes(inputs).map_err(|absent| (piece.to_string(), absent))).collect()
    }

    /// The text, each value passed through `escape`. `None` if a value is missing, is no text, or is refused by `escape`.
    pub fn text(&self, inputs: &Inputs<'_>, escape: impl Fn(&str) -> Option<String>) -> Option<String> {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => Some(text.clone()),
            Piece::Value(selector) => escape(&inputs.parts.only(selector).ok()?),
            piece => escape(std::str::from_utf8(&piece.bytes(inputs).ok()?).ok()?),
        };
        self.0.iter().map(piece).collect()
    }
}

impl Piece {
    fn bytes<'a>(&'a self, inputs: &Inputs<'a>) -> Result<Cow<'a, [u8]>, Absent> {
        match self {
            Piece::Text(text) => Ok(Cow::Borrowed(text.as_bytes())),
            Piece::Variable(variable) => variable.bytes(inputs),
            Piece::HmacHex(selector) => {
                let value = inputs.parts.only_bytes(selector)?;
                let tag = digest::hmac(digest::SHA256, inputs.secret.ok_or(Absent::Missing)?, &[value]);
                Ok(Cow::Owned(digest::hex(&tag).into_bytes()))
            }
            Piece::Value(selector) => inputs.parts.only_bytes(selector),
            Piece::Present(selector) => inputs.parts.only(selector).map(|_| Cow::Borrowed(&[][..])),
        }
    }
}

impl Variable {
    fn bytes<'a>(self, inputs: &Inputs<'a>) -> Result<Cow<'a, [u8]>, Absent> {
        let given = |text: Option<&'a str>| text.map(|text| Cow::Borrowed(text.as_bytes()));
        let value = match self {
            Variable::Body => Some(Cow::Borrowed(inputs.parts.body)),
            Variable::Payload => Some(inputs.parts.payload()),
            Variable::Ts => given(inputs.ts),
            Variable::Id => inputs.id.map(Cow::Borrowed),
            Variable::Method => given(Some(inputs.parts.method)),
            Variable::Url => given(inputs.url),
            Variable::UrlDecoded => inputs.url.map(|url| Cow::Owned(decode_escapes(url).into_bytes())),
            Variable::Secret => inputs.secret.map(Cow::Borrowed),
            Variable::FormSorted => return form_sorted(&inputs.parts).map(|text| Cow::Owned(text.into_bytes())),
        };
        value.ok_or(Absent::Missing)
    }
}

/// Only of a form: joined without separators, its fields may be the same text as another body.
pub(super) fn form_sorted(parts: &Parts<'_>) -> Result<String, Absent> {
    if parts.body.is_empty() {
        return Ok(String::new());
    }
    let Some(form @ Form::UrlEncoded(_)) = parts.form() else { return Err(Absent::Missing) };
    if parts.body.len() > MAX_SORTED_BYTES {
        return Err(Absent::TooLarge);
    }
    let fields = form.fields().map_err(|_| Absent::TooLarge)?;
    let pairs: BTreeSet<_> = fields.iter().map(|field| (field.name(), field.text().unwrap_or_default())).collect();
    Ok(pairs.into_iter().flat_map(|(name, value)| [name, value]).collect())
}

fn decode_escapes(url: &str) -> String {
    DECODED_CHARS.chars().fold(url.to_owned(), |url, char| {
        let escape = format!("%{:02X}", u32::from(char));
        let char = char.to_string();
        url.replace(&escape, &char).replace(&escape.to_lowercase(), &char)
    })
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| piece.fmt(f))
    }
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Piece::Text(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}")),
            Piece::Variable(variable) => write!(f, "{{{}}}", variable.as_str()),
            Piece::HmacHex(selector) => write!(f, "{{hmac_hex:{selector}}}"),
            Piece::Value(selector) => write!(f, "{{{selector}}}"),
            Piece::Present(selector) => write!(f, "{{?{selector}}}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parts::Forms;
    use super::*;
    use crate::http::Headers;
    use crate::http::form::{FORM, MAX_FIELDS};

    fn form() -> Headers {
        Headers::new(vec![("A".into(), "h".into()), ("Content-Type".into(), FORM.into())])
    }

    fn rendered(format: &str, headers: &Headers, body: &str) -> Result<String, (String, Absent)> {
        let format: Format = format.parse().unwrap();
        let (target, body, forms) = ("/x?q=1", body.as_bytes(), Forms::Payload);
        let parts = Parts { method: "POST", target, headers, body, forms, reading: None };
        let inputs =
            Inputs { ts: Some("17"), url: Some("https://h/%2Fx%20"), secret: Some(b"key"), ..Inputs::of(parts) };
        Ok(String::from_utf8(format.bytes(&inputs)?.concat()).unwrap())
    }

    #[test]
    fn variables_are_replaced_and_doubled_braces_kept() {
        let headers = Headers::new(vec![("A".into(), "h".into())]);
        let of = |format| rendered(format, &headers, "{\"a\":1}").unwrap();
        assert_eq!(of("v0:{ts}:{body}"), "v0:17:{\"a\":1}");
        assert_eq!(of("{{\"a\":\"{json:/a}\"}}"), "{\"a\":\"1\"}");
        assert_eq!(
            of("{method} {url} {url_decoded} {header:a} {query:q}"),
            "POST https://h/%2Fx%20 https://h//x%20 h 1"
        );
        assert_eq!(of("{hmac_hex:json:/a}").len(), 64);
        assert_eq!(rendered("{form_sorted}", &form(), "b=2&a=1&b=1&b=2").unwrap(), "a1b1b2");
    }

    #[test]
    fn a_timestamp_is_delimited_by_fixed_text_only() {
        let is_delimited = |text: &str| text.parse::<Format>().unwrap().is_ts_delimited();
        assert!(is_delimited("v0:{ts}:{body}") && is_delimited("{ts}") && is_delimited("{body}"));
        assert!(!is_delimited("{ts}{body}") && !is_delimited("{body}{ts}") && !is_delimited("v0:{ts}{json:/token}"));
    }

    #[test]
    fn a_large_form_is_not_sorted() {
        let of = |body: &str| rendered("{form_sorted}", &form(), body).map_err(|(_, absent)| absent);
        let pairs = |count| "a&".repeat(count - 1) + "a";
        assert_eq!(of(&pairs(MAX_FIELDS)), Ok("a".to_owned()));
        assert_eq!(of(&pairs(MAX_FIELDS + 1)), Err(Absent::TooLarge));
        assert!(of(&"a".repeat(MAX_SORTED_BYTES)).is_ok());
        assert_eq!(of(&"a".repeat(MAX_SORTED_BYTES + 1)), Err(Absent::TooLarge));
    }

    #[test]
    fn what_is_no_form_is_not_sorted() {
        let of = |headers: &Headers, body: &str| rendered("{form_sorted}", headers, body).map_err(|(_, absent)| absent);
        assert_eq!(of(&form(), "a=1&b=2"), Ok("a1b2".to_owned()));
        assert_eq!(of(&Headers::default(), "a1b2"), Err(Absent::Missing), "the same text, but not the same fields");
        assert_eq!(of(&form(), "{\"a\":1}"), Err(Absent::Missing));
        assert_eq!(of(&Headers::default(), ""), Ok(String::new()));
    }

    #[test]
    fn a_condition_is_empty_and_must_be_there() {
        let of = |body| rendered("{json:/id}{?json:/version}", &Headers::default(), body);
        assert_eq!(of(r#"{"id":7,"version":"1"}"#).as_deref(), Ok("7"));
        assert_eq!(of(r#"{"id":7}"#), Err(("{?json:/version}".to_owned(), Absent::Missing)));
    }

    #[test]
    fn a_missing_value_is_named() {
        let missing = rendered("{ts}{id}", &Headers::default(), "");
        assert_eq!(missing, Err(("{id}".to_owned(), Absent::Missing)));
    }

    #[test]
    fn a_format_is_displayed_as_it_was_written() {
        for text in ["{{{ts}.{body}}}", "{hmac_hex:json:/a}{form_sorted}{secret}", "plain", "a{?json:/b}{header:C}"] {
            assert_eq!(text.parse::<Format>().unwrap().to_string(), text);
        }
        for wrong in ["{bdy}", "{", "}", "{ts", "{json:a}", "{?}", "{?ts}"] {
            assert!(wrong.parse::<Format>().is_err(), "{wrong}");
        }
    }
}
