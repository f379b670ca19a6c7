//! Netlify sends a JSON web signature (RFC 7515, HS256) whose claims name Netlify and the hash of the body.
//! <https://docs.netlify.com/site-deploys/notifications/#payload-signature>

use super::error::{VerifyError, require};
use super::format::Inputs;
use super::parts::scalar;
use super::preset::{CustomScheme, Signs};
use super::request::{RequestBuilder, SignError};
use super::selector::Selector;
use crate::digest;
use crate::secret::Secret;

const SIGNATURE: &str = "X-Webhook-Signature";
const ISSUER: &str = "netlify";
const ALGORITHM: &str = "HS256";

pub(super) const SCHEME: CustomScheme = CustomScheme {
    verify,
    sign,
    description: "a JSON web signature (HS256) in X-Webhook-Signature with the claims iss = netlify and sha256 = the body's",
    signs: Signs::Body,
    needs_url: false,
};

fn verify(secrets: &[Secret], inputs: &Inputs<'_>) -> Result<usize, VerifyError> {
    let token = require(&inputs.parts, &Selector::Header(SIGNATURE.to_owned()))?;
    let unreadable = || VerifyError::Unreadable(SIGNATURE.to_owned());
    let (signed, tag) = token.rsplit_once('.').ok_or_else(unreadable)?;
    let (header, claims) = signed.split_once('.').ok_or_else(unreadable)?;
    let decode = |text: &str| digest::unbase64url(text).ok_or_else(unreadable);
    let (header, claims, tag) = (decode(header)?, decode(claims)?, decode(tag)?);
    // The client must not choose the algorithm.
    if scalar(&header, "/alg").as_deref() != Some(ALGORITHM) {
        return Err(unreadable());
    }
    let matches = |secret: &Secret| digest::equal(&digest::hmac(digest::SHA256, secret.as_bytes(), &[signed]), &tag);
    let position = secrets.iter().position(matches).ok_or(VerifyError::Mismatch)?;
    if scalar(&claims, "/iss").as_deref() != Some(ISSUER) {
        return Err(VerifyError::WrongClaim("the signature is not by Netlify (claim iss)"));
    }
    let hash = scalar(&claims, "/sha256").unwrap_or_default().to_ascii_lowercase();
    if !digest::equal(digest::hex(&digest::sha256(&[inputs.parts.body])).as_bytes(), hash.as_bytes()) {
        return Err(VerifyError::Mismatch);
    }
    Ok(position)
}

fn sign(secret: &Secret, request: &mut RequestBuilder) -> Result<(), SignError> {
    let hash = digest::hex(&digest::sha256(&[&request.body]));
    let part = |json: String| digest::base64url(json.as_bytes());
    let header = part(format!(r#"{{"alg":"{ALGORITHM}","typ":"JWT"}}"#));
    let signed = format!("{header}.{}", part(format!(r#"{{"iss":"{ISSUER}","sha256":"{hash}"}}"#)));
    let tag = digest::hmac(digest::SHA256, secret.as_bytes(), &[&signed]);
    request.set_header(SIGNATURE, &format!("{signed}.{}", digest::base64url(&tag)));
    Ok(())
}
