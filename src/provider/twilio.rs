//! Twilio signs the address that it was given, with or without the port, and the sorted fields of a form. The body of
//! anything else is bound by its hash, which Twilio adds to the address as `bodySHA256`.
//! <https://github.com/twilio/twilio-python/blob/main/twilio/request_validator.py>

use super::scheme::only;
use super::selector::Selector;
use super::signed::{Scope, form_sorted};
use super::{Code, Draft, Refusal};
use crate::config::secret::Secret;
use crate::digest::{self, Hash};

const SIGNATURE: &str = "X-Twilio-Signature";
const BODY_HASH: &str = "bodySHA256";

pub(super) const CODE: Code = Code {
    verify,
    sign,
    says: "HMAC-SHA1, base64, in X-Twilio-Signature, of the public URL and the sorted form fields; other bodies by the \
           SHA-256 in the URL's bodySHA256",
    needs_url: true,
};

fn verify(secrets: &[Secret], scope: &Scope<'_>) -> Result<usize, Refusal> {
    let signature = only(&scope.parts, &Selector::Header(SIGNATURE.to_owned()))?;
    let tag = digest::unbase64(&signature).ok_or_else(|| Refusal::Unreadable(SIGNATURE.to_owned()))?;
    let addresses = addresses(scope.url.unwrap_or_default(), scope.parts.query());
    for (position, secret) in secrets.iter().enumerate() {
        for address in &addresses {
            let Some(signed) = signed(address, scope) else { continue };
            if digest::equal(&digest::hmac(Hash::Sha1, secret.as_bytes(), &[signed]), &tag) {
                return Ok(position);
            }
        }
    }
    Err(Refusal::Mismatch)
}

/// What is signed for an address. `None` if nothing would bind the body to it.
fn signed(address: &str, scope: &Scope<'_>) -> Option<String> {
    let query = address.split_once('?').map_or("", |(_, query)| query);
    let hash = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == BODY_HASH);
    if let Some((_, hash)) = hash {
        let ours = digest::hex(&digest::sha256(&[scope.parts.body]));
        return digest::equal(ours.as_bytes(), hash.to_ascii_lowercase().as_bytes()).then(|| address.to_owned());
    }
    let is_bound = scope.parts.is_form() || scope.parts.body.is_empty();
    is_bound.then(|| format!("{address}{}", form_sorted(&scope.parts)))
}

/// The address as configured, and with the query of this request, which has the hash; each with and without a port.
fn addresses(url: &str, query: &str) -> Vec<String> {
    let mut addresses = vec![url.to_owned()];
    if !query.is_empty() {
        let base = url.split('?').next().unwrap_or_default();
        addresses.push(format!("{base}?{query}"));
    }
    addresses.dedup();
    addresses.iter().flat_map(|address| with_and_without_port(address)).collect()
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

fn sign(secret: &Secret, draft: &mut Draft) {
    let (parts, url) = (draft.parts(), draft.public_url.clone().unwrap_or_default());
    let Some(signed) = signed(&url, &Scope::of(parts)) else { return };
    let tag = digest::hmac(Hash::Sha1, secret.as_bytes(), &[signed]);
    draft.set_header(SIGNATURE, &digest::base64(&tag));
}
