//! Templates: how a provider puts together what it signs, an id, or the answer to a handshake. `{ts}.{body}` is the
//! timestamp, a full stop and the body; `{{` and `}}` are braces.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::selector::{Absent, Parts, Selector};
use crate::digest::{self, Hash};

/// What a template can name besides selectors.
const VARIABLES: &str = "{body} {payload} {ts} {id} {method} {url} {url_decoded} {secret} {form_sorted} {form:NAME} \
                         {json:/POINTER} {header:NAME} {query:NAME} {hmac_hex:SELECTOR}";

/// The escapes that HubSpot undoes in a URL before it signs it.
/// <https://developers.hubspot.com/docs/apps/legacy-apps/authentication/validating-requests>
const DECODED_ESCAPES: [(&str, &str); 12] = [
    ("%3A", ":"),
    ("%2F", "/"),
    ("%3F", "?"),
    ("%40", "@"),
    ("%21", "!"),
    ("%24", "$"),
    ("%27", "'"),
    ("%28", "("),
    ("%29", ")"),
    ("%2A", "*"),
    ("%2C", ","),
    ("%3B", ";"),
];

/// Who signs the sorted fields of a form sends a few kilobytes. To sort is dear, and comes before the proof.
const MAX_SORTED_BYTES: usize = 1 << 20;

/// As above: a form within [`MAX_SORTED_BYTES`] could have half a million fields. Twilio sends some thirty.
const MAX_SORTED_PAIRS: usize = 10_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Body,
    /// The JSON: the body, or the field `payload` of a form.
    Payload,
    Ts,
    Id,
    Method,
    Url,
    UrlDecoded,
    Secret,
    /// The names and values of a form, sorted, each pair once, without anything between them.
    FormSorted,
    /// The HMAC-SHA256 of a value with the secret, in hexadecimal.
    HmacHex(Selector),
    Value(Selector),
}

/// What the variables stand for.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    pub parts: Parts<'a>,
    pub ts: Option<&'a str>,
    pub id: Option<&'a str>,
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
            pieces.push(variable(name)?);
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

fn variable(name: &str) -> Result<Piece, String> {
    let unknown = |_| format!("{{{name}}} is unknown; there are: {VARIABLES}");
    match name {
        "body" => Ok(Piece::Body),
        "payload" => Ok(Piece::Payload),
        "ts" => Ok(Piece::Ts),
        "id" => Ok(Piece::Id),
        "method" => Ok(Piece::Method),
        "url" => Ok(Piece::Url),
        "url_decoded" => Ok(Piece::UrlDecoded),
        "secret" => Ok(Piece::Secret),
        "form_sorted" => Ok(Piece::FormSorted),
        _ => match name.strip_prefix("hmac_hex:") {
            Some(selector) => selector.parse().map(Piece::HmacHex).map_err(unknown),
            None => name.parse().map(Piece::Value).map_err(unknown),
        },
    }
}

impl Format {
    /// A template of one value.
    pub fn value(selector: Selector) -> Format {
        Format(vec![Piece::Value(selector)])
    }

    pub fn needs_url(&self) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Url | Piece::UrlDecoded))
    }

    /// The same with `{url}` for `{url_decoded}`; `None` where there is none.
    pub fn with_url_as_it_is(&self) -> Option<Format> {
        let piece = |piece: &Piece| if *piece == Piece::UrlDecoded { Piece::Url } else { piece.clone() };
        self.0.contains(&Piece::UrlDecoded).then(|| Format(self.0.iter().map(piece).collect()))
    }

    pub fn is_constant(&self) -> bool {
        self.0.iter().all(|piece| matches!(piece, Piece::Text(_)))
    }

    pub fn needs_ts(&self) -> bool {
        self.0.contains(&Piece::Ts)
    }

    /// Whether something fixed stands between the timestamp and its neighbours.
    pub fn sets_ts_apart(&self) -> bool {
        let is_fixed = |piece: &Piece| matches!(piece, Piece::Text(_));
        let is_apart = |pair: &[Piece]| !pair.contains(&Piece::Ts) || pair.iter().any(is_fixed);
        self.0.windows(2).all(is_apart)
    }

    pub fn needs_secret(&self) -> bool {
        self.0.contains(&Piece::Secret)
    }

    /// Whether it is another text for each secret.
    pub fn varies_by_secret(&self) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Secret | Piece::HmacHex(_)))
    }

    pub fn needs_id(&self) -> bool {
        self.0.contains(&Piece::Id)
    }

    /// The only selector, if the template is nothing else.
    pub fn selector(&self) -> Option<&Selector> {
        match &self.0[..] {
            [Piece::Value(selector)] => Some(selector),
            _ => None,
        }
    }

    /// The selectors in it, for a request to be put together.
    pub fn selectors(&self) -> impl Iterator<Item = &Selector> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Value(selector) | Piece::HmacHex(selector) => Some(selector),
            _ => None,
        })
    }

    /// The pieces as bytes, the body not copied. `Err` names the variable that is missing.
    pub fn bytes<'a>(&'a self, scope: &Inputs<'a>) -> Result<Vec<Cow<'a, [u8]>>, (String, Absent)> {
        self.0.iter().map(|piece| piece.bytes(scope).map_err(|absent| (piece.to_string(), absent))).collect()
    }

    /// The text with each value put through `escape`. `None` if a variable is missing, or what it yields no text.
    pub fn text(&self, scope: &Inputs<'_>, escape: impl Fn(&str) -> Option<String>) -> Option<String> {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => Some(text.clone()),
            piece => escape(std::str::from_utf8(&piece.bytes(scope).ok()?).ok()?),
        };
        self.0.iter().map(piece).collect()
    }
}

impl Piece {
    fn bytes<'a>(&'a self, scope: &Inputs<'a>) -> Result<Cow<'a, [u8]>, Absent> {
        let given = |value: Option<&'a str>| value.map(|text| Cow::Borrowed(text.as_bytes())).ok_or(Absent::Missing);
        match self {
            Piece::Text(text) => Ok(Cow::Borrowed(text.as_bytes())),
            Piece::Body => Ok(Cow::Borrowed(scope.parts.body)),
            Piece::Payload => Ok(scope.parts.json()),
            Piece::Ts => given(scope.ts),
            Piece::Id => given(scope.id),
            Piece::Method => given(Some(scope.parts.method)),
            Piece::Url => given(scope.url),
            Piece::UrlDecoded => scope.url.map(|url| Cow::Owned(decoded(url).into_bytes())).ok_or(Absent::Missing),
            Piece::Secret => scope.secret.map(Cow::Borrowed).ok_or(Absent::Missing),
            Piece::FormSorted => form_sorted(&scope.parts).map(|text| Cow::Owned(text.into_bytes())),
            Piece::HmacHex(selector) => {
                let value = scope.parts.only(selector)?;
                let tag = digest::hmac(Hash::Sha256, scope.secret.ok_or(Absent::Missing)?, &[value.as_bytes()]);
                Ok(Cow::Owned(digest::hex(&tag).into_bytes()))
            }
            Piece::Value(selector) => scope.parts.only(selector).map(into_bytes),
        }
    }
}

fn into_bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

pub(super) fn form_sorted(parts: &Parts<'_>) -> Result<String, Absent> {
    if parts.body.len() > MAX_SORTED_BYTES || parts.pairs().nth(MAX_SORTED_PAIRS).is_some() {
        return Err(Absent::TooLarge);
    }
    let pairs: BTreeSet<(Cow<'_, str>, Cow<'_, str>)> = parts.pairs().collect();
    Ok(pairs.into_iter().flat_map(|(name, value)| [name, value]).collect())
}

fn decoded(url: &str) -> String {
    DECODED_ESCAPES.iter().fold(url.to_owned(), |url, (escape, character)| {
        url.replace(escape, character).replace(&escape.to_lowercase(), character)
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
            Piece::Body => f.write_str("{body}"),
            Piece::Payload => f.write_str("{payload}"),
            Piece::Ts => f.write_str("{ts}"),
            Piece::Id => f.write_str("{id}"),
            Piece::Method => f.write_str("{method}"),
            Piece::Url => f.write_str("{url}"),
            Piece::UrlDecoded => f.write_str("{url_decoded}"),
            Piece::Secret => f.write_str("{secret}"),
            Piece::FormSorted => f.write_str("{form_sorted}"),
            Piece::HmacHex(selector) => write!(f, "{{hmac_hex:{selector}}}"),
            Piece::Value(selector) => write!(f, "{{{selector}}}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Headers;

    fn rendered(template: &str, headers: &Headers, body: &str) -> Result<String, (String, Absent)> {
        let template: Format = template.parse().unwrap();
        let parts = Parts { method: "POST", target: "/x?q=1", headers, body: body.as_bytes(), forms: true, scan: None };
        let scope =
            Inputs { ts: Some("17"), url: Some("https://h/%2Fx%20"), secret: Some(b"key"), ..Inputs::of(parts) };
        Ok(String::from_utf8(template.bytes(&scope)?.concat()).unwrap())
    }

    #[test]
    fn variables_are_replaced_and_braces_kept() {
        let headers = Headers::new(vec![("A".into(), "h".into())]);
        let of = |template| rendered(template, &headers, "{\"a\":1}").unwrap();
        assert_eq!(of("v0:{ts}:{body}"), "v0:17:{\"a\":1}");
        assert_eq!(of("{{\"a\":\"{json:/a}\"}}"), "{\"a\":\"1\"}");
        assert_eq!(
            of("{method} {url} {url_decoded} {header:a} {query:q}"),
            "POST https://h/%2Fx%20 https://h//x%20 h 1"
        );
        assert_eq!(of("{hmac_hex:json:/a}").len(), 64);
        assert_eq!(rendered("{form_sorted}", &headers, "b=2&a=1&b=1&b=2").unwrap(), "a1b1b2");
    }

    #[test]
    fn a_timestamp_may_touch_what_stands_beside_it() {
        let is_apart = |text: &str| text.parse::<Format>().unwrap().sets_ts_apart();
        assert!(is_apart("v0:{ts}:{body}") && is_apart("{ts}") && is_apart("{body}"));
        assert!(!is_apart("{ts}{body}") && !is_apart("{body}{ts}") && !is_apart("v0:{ts}{json:/token}"));
    }

    #[test]
    fn a_form_that_is_too_large_to_be_sorted_is_not() {
        let of = |body: &str| rendered("{form_sorted}", &Headers::default(), body).map_err(|(_, absent)| absent);
        let pairs = |count| "a&".repeat(count);
        assert_eq!(of(&pairs(MAX_SORTED_PAIRS)), Ok("a".to_owned()));
        assert_eq!(of(&pairs(MAX_SORTED_PAIRS + 1)), Err(Absent::TooLarge));
        assert!(of(&"a".repeat(MAX_SORTED_BYTES)).is_ok());
        assert_eq!(of(&"a".repeat(MAX_SORTED_BYTES + 1)), Err(Absent::TooLarge));
    }

    #[test]
    fn a_missing_variable_is_named() {
        let missing = rendered("{ts}{id}", &Headers::default(), "");
        assert_eq!(missing, Err(("{id}".to_owned(), Absent::Missing)));
    }

    #[test]
    fn a_template_is_shown_as_it_is_written() {
        for text in ["{{{ts}.{body}}}", "{hmac_hex:json:/a}{form_sorted}{secret}", "plain"] {
            assert_eq!(text.parse::<Format>().unwrap().to_string(), text);
        }
        for wrong in ["{bdy}", "{", "}", "{ts", "{json:a}"] {
            assert!(wrong.parse::<Format>().is_err(), "{wrong}");
        }
    }
}
