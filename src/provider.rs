//! What providers sign, where they put their ids, and which of their headers carry secrets: a table of presets, and one
//! pure function that verifies by them. Adding a provider that fits the scheme is one entry in `provider/presets.rs`.

mod presets;
mod redact;
mod sample;
mod texts;

use std::fmt;

use crate::config::secret::Secret;
use crate::digest;
use crate::event::Headers;

pub use presets::{names, preset};
pub use redact::is_secret_header;
pub use texts::text;

/// What is known of one kind of sender.
#[derive(Debug)]
pub struct Preset {
    pub name: &'static str,
    pub signature: Signature,
    /// The delivery id: the first selector that yields one, stable over the provider's retries.
    pub id: &'static [Selector],
    /// The event type: the first selector that yields one.
    pub event: &'static [Selector],
    /// The event type and body of a test delivery.
    pub sample: Sample,
}

/// Where the signature of the raw body stands, and how it is written: HMAC-SHA256, in hexadecimal behind a prefix.
#[derive(Debug)]
pub struct Signature {
    pub header: &'static str,
    pub prefix: &'static str,
}

/// Where a value is found in a request.
#[derive(Debug)]
pub enum Selector {
    Header(&'static str),
}

/// A delivery to try a set-up with.
#[derive(Debug)]
pub struct Sample {
    pub event_type: &'static str,
    pub body: &'static str,
}

/// Why a delivery is not genuine. For the operator's log; the sender learns only that it was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The header of that name is missing.
    Missing(&'static str),
    /// The header of that name came more than once: no telling which one an intermediary looked at.
    Repeated(&'static str),
    /// The header of that name does not hold a signature of the expected form.
    Unreadable(&'static str),
    /// The signature was made with another secret or for other bytes.
    Mismatch,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Missing(header) => write!(f, "{header} is missing: is a secret set at the provider?"),
            Refusal::Repeated(header) => write!(f, "{header} came more than once"),
            Refusal::Unreadable(header) => write!(f, "{header} does not hold a signature of the expected form"),
            Refusal::Mismatch => f.write_str("the signature does not match: is it the same secret on both sides?"),
        }
    }
}

/// Verifies a delivery over the bytes as received. Any of `secrets` may match, so that they can be rotated.
///
/// Pure, and called before anything is parsed.
pub fn verify(preset: &Preset, secrets: &[Secret], headers: &Headers, body: &[u8]) -> Result<(), Refusal> {
    let signature = &preset.signature;
    let mut values = headers.all(signature.header);
    let value = values.next().ok_or(Refusal::Missing(signature.header))?;
    if values.next().is_some() {
        return Err(Refusal::Repeated(signature.header));
    }
    let text = value.strip_prefix(signature.prefix).ok_or(Refusal::Unreadable(signature.header))?;
    let tag = digest::unhex(text).ok_or(Refusal::Unreadable(signature.header))?;
    let matches = |secret: &Secret| digest::hmac_sha256_matches(secret.as_bytes(), body, &tag);
    secrets.iter().any(matches).then_some(()).ok_or(Refusal::Mismatch)
}

/// The value of the first selector that yields one that is not empty.
pub fn select<'a>(selectors: &[Selector], headers: &'a Headers) -> Option<&'a str> {
    let value = |selector: &Selector| match selector {
        Selector::Header(name) => headers.get(name),
    };
    selectors.iter().filter_map(value).find(|value| !value.is_empty())
}

/// The header fields with which the provider itself would send `body`: id, event type, and the signature where there is
/// a secret.
pub fn sign(
    preset: &Preset,
    secret: Option<&Secret>,
    event_type: &str,
    id: &str,
    body: &[u8],
) -> Vec<(&'static str, String)> {
    let first =
        |selectors: &[Selector], value: &str| selectors.first().map(|Selector::Header(name)| (*name, value.to_owned()));
    let signature = secret.map(|secret| {
        let tag = digest::hex(&digest::hmac_sha256(secret.as_bytes(), body));
        (preset.signature.header, format!("{}{tag}", preset.signature.prefix))
    });
    [first(preset.id, id), first(preset.event, event_type), signature].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = b"Hello, World!";
    const GOOD: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn github() -> &'static Preset {
        preset("github").unwrap()
    }

    fn secrets(texts: &[&str]) -> Vec<Secret> {
        texts.iter().map(|text| Secret::new(text.as_bytes().to_vec()).unwrap()).collect()
    }

    fn verify_value(value: &str) -> Result<(), Refusal> {
        let headers = Headers::new(vec![("x-hub-signature-256".into(), value.into())]);
        verify(github(), &secrets(&["It's a Secret to Everybody"]), &headers, BODY)
    }

    #[test]
    fn the_published_example_is_accepted_and_its_variations_are_not() {
        const HEADER: &str = "X-Hub-Signature-256";
        assert_eq!(verify_value(GOOD), Ok(()));
        assert_eq!(verify_value(&GOOD.replace("=757", "=758")), Err(Refusal::Mismatch));
        assert_eq!(verify_value(&GOOD[..GOOD.len() - 2]), Err(Refusal::Mismatch));
        for unreadable in ["", "sha256=", "sha256=zz", "sha1=00", &GOOD[7..], &format!(" {GOOD}"), &format!("{GOOD}0")]
        {
            let verdict = verify_value(unreadable);
            assert!(
                matches!(verdict, Err(Refusal::Unreadable(HEADER) | Refusal::Mismatch)),
                "{unreadable}: {verdict:?}"
            );
        }
    }

    #[test]
    fn any_secret_of_a_rotation_matches() {
        let headers = Headers::new(vec![("X-Hub-Signature-256".into(), GOOD.into())]);
        assert_eq!(verify(github(), &secrets(&["new", "It's a Secret to Everybody"]), &headers, BODY), Ok(()));
        assert_eq!(verify(github(), &secrets(&["new", "older"]), &headers, BODY), Err(Refusal::Mismatch));
    }

    #[test]
    fn a_repeated_signature_is_refused_even_when_both_are_good() {
        let field = ("X-Hub-Signature-256".to_owned(), GOOD.to_owned());
        let headers = Headers::new(vec![field.clone(), field]);
        let verdict = verify(github(), &secrets(&["It's a Secret to Everybody"]), &headers, BODY);
        assert_eq!(verdict, Err(Refusal::Repeated("X-Hub-Signature-256")));
    }

    #[test]
    fn what_we_sign_we_accept() {
        let secret = &secrets(&["s"])[0];
        let fields = sign(github(), Some(secret), "push", "id-1", BODY);
        let headers = Headers::new(fields.into_iter().map(|(name, value)| (name.into(), value)).collect());
        assert_eq!(verify(github(), std::slice::from_ref(secret), &headers, BODY), Ok(()));
        assert_eq!(select(github().id, &headers), Some("id-1"));
        assert_eq!(select(github().event, &headers), Some("push"));
    }
}
