//! Twilio signs the URL that it calls, with or without the port, and the sorted fields of a form. Any other body is bound by
//! its hash, which Twilio adds to the URL as `bodySHA256`. The query of that URL can be another one for each message.
//! <https://github.com/twilio/twilio-python/blob/main/twilio/request_validator.py>
//! <https://www.twilio.com/docs/usage/webhooks/webhooks-security>

use super::error::{VerifyError, require};
use super::format::{Inputs, form_sorted};
use super::parts::Parts;
use super::preset::{CustomScheme, Signs};
use super::request::{RequestBuilder, SignError};
use super::selector::Selector;
use crate::digest;
use crate::secret::Secret;

const SIGNATURE: &str = "X-Twilio-Signature";
const BODY_HASH: &str = "bodySHA256";

pub(super) const SCHEME: CustomScheme = CustomScheme {
    verify,
    sign,
    description: "HMAC-SHA1, base64, in X-Twilio-Signature, of the URL (public_url with the query of the request) and the \
           sorted form fields, but not of where one field ends and the next begins; other bodies by the SHA-256 in the URL's bodySHA256",
    signs: Signs::Body,
    needs_url: true,
};

fn verify(secrets: &[Secret], inputs: &Inputs<'_>) -> Result<usize, VerifyError> {
    let signature = require(&inputs.parts, &Selector::Header(SIGNATURE.to_owned()))?;
    let tag = digest::unbase64(&signature).ok_or_else(|| VerifyError::Unreadable(SIGNATURE.to_owned()))?;
    let url = called_url(inputs.url.unwrap_or_default(), inputs.parts.query());
    let fields = signed_fields(&url, &inputs.parts)?;
    let urls = with_and_without_port(&url);
    let matches = |secret: &Secret| {
        let sign = |url: &String| digest::hmac(digest::SHA1, secret.as_bytes(), &[url, &fields]);
        urls.iter().any(|url| digest::equal(&sign(url), &tag))
    };
    secrets.iter().position(matches).ok_or(VerifyError::Mismatch)
}

/// The text that is signed after the URL. `Err` if nothing binds the body to the signature.
fn signed_fields(url: &str, parts: &Parts<'_>) -> Result<String, VerifyError> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let hash = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == BODY_HASH);
    if let Some((_, hash)) = hash {
        let ours = digest::hex(&digest::sha256(&[parts.body]));
        let is_bound = digest::equal(ours.as_bytes(), hash.to_ascii_lowercase().as_bytes());
        return if is_bound { Ok(String::new()) } else { Err(VerifyError::Mismatch) };
    }
    if !parts.is_form() && !parts.body.is_empty() {
        return Err(VerifyError::Missing(BODY_HASH.to_owned()));
    }
    form_sorted(parts).map_err(|absent| VerifyError::absent("the form", absent))
}

/// The URL that Twilio called: scheme, host and path as configured, because a proxy may have changed them on the way, and
/// the query of the request, which is signed with them. A fragment configures Twilio (`#rc=3`) and is neither called nor
/// signed.
fn called_url(url: &str, query: &str) -> String {
    let base = url.split(['?', '#']).next().unwrap_or_default();
    if query.is_empty() { base.to_owned() } else { format!("{base}?{query}") }
}

fn with_and_without_port(url: &str) -> Vec<String> {
    let Some((scheme, rest)) = url.split_once("://") else { return vec![url.to_owned()] };
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let port = if scheme == "http" { 80 } else { 443 };
    match authority.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()) {
        Some((host, _)) => vec![url.to_owned(), format!("{scheme}://{host}{path}")],
        None => vec![url.to_owned(), format!("{scheme}://{authority}:{port}{path}")],
    }
}

/// Sends the configured query, as Twilio does, and the hash of a body that is no form.
fn sign(secret: &Secret, request: &mut RequestBuilder) -> Result<(), SignError> {
    let url = request.public_url.clone().unwrap_or_default();
    let configured = url.split('#').next().and_then(|url| url.split_once('?')).map_or("", |(_, query)| query);
    request.query = form_urlencoded::parse(configured.as_bytes()).into_owned().collect();
    if !request.parts().is_form() {
        request.query.push((BODY_HASH.to_owned(), digest::hex(&digest::sha256(&[&request.body]))));
    }
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(&request.query).finish();
    let url = called_url(&url, &query);
    let fields = signed_fields(&url, &request.parts()).map_err(|_| SignError::NoPlace(format!("query:{BODY_HASH}")))?;
    let tag = digest::hmac(digest::SHA1, secret.as_bytes(), &[url, fields]);
    request.set_header(SIGNATURE, &digest::base64(&tag));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_is_that_of_the_request_and_the_rest_as_configured() {
        let cases = [
            ("https://h/p", "", "https://h/p"),
            ("https://h/p", "id=1&b=%20+", "https://h/p?id=1&b=%20+"),
            ("https://h/p?a=1", "a=1", "https://h/p?a=1"),
            ("https://h/p?a=1", "a=2?b", "https://h/p?a=2?b"),
            ("https://h/p?a=1", "", "https://h/p"),
            ("https://h/p?a=1#rc=3&rp=all", "a=1&bodySHA256=ab", "https://h/p?a=1&bodySHA256=ab"),
            ("https://h/p#rc=3", "", "https://h/p"),
        ];
        for (url, query, expected) in cases {
            assert_eq!(called_url(url, query), expected, "{url} with {query}");
        }
    }
}
