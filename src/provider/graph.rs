//! Microsoft Graph puts the secret of the subscription, `clientState`, into every item of a batch.
//! <https://learn.microsoft.com/graph/change-notifications-delivery-webhooks>

use serde_json::Value;

use super::batch;
use super::error::VerifyError;
use super::format::Inputs;
use super::preset::{CustomScheme, Signs};
use super::request::{RequestBuilder, SignError};
use crate::digest;
use crate::json::Cursor;
use crate::secret::Secret;

/// A `clientState` has at most 255 characters. A longer value is not copied.
const MAX_STATE_BYTES: usize = 2048;

pub(super) const SCHEME: CustomScheme = CustomScheme {
    verify,
    sign,
    description: "the secret itself as clientState in every item of the batch: in the body, which is stored as it came",
    signs: Signs::Nothing,
    needs_url: false,
};

/// A single forged item makes the whole batch invalid.
fn verify(secrets: &[Secret], inputs: &Inputs<'_>) -> Result<usize, VerifyError> {
    let missing = || VerifyError::Missing("clientState".to_owned());
    let verify_item =
        |cursor: &mut Cursor<'_>| {
            let [state] = cursor.members(["clientState"])?;
            let state = state.and_then(text).filter(|state| !state.is_empty());
            let matches = |secret: &Secret, state: &str| digest::equal(secret.as_bytes(), state.as_bytes());
            Some(state.ok_or_else(missing).and_then(|state| {
                secrets.iter().position(|secret| matches(secret, &state)).ok_or(VerifyError::Mismatch)
            }))
        };
    batch::verify_items(inputs.parts.body, "value", verify_item)?.ok_or_else(missing)
}

fn text(json: &[u8]) -> Option<String> {
    if json.len() <= MAX_STATE_BYTES { serde_json::from_slice(json).ok() } else { None }
}

fn sign(secret: &Secret, request: &mut RequestBuilder) -> Result<(), SignError> {
    let state = String::from_utf8_lossy(secret.as_bytes()).into_owned();
    let mut is_signed = false;
    request.edit_json(|json| {
        let items = json.get_mut("value").and_then(Value::as_array_mut).into_iter().flatten();
        for fields in items.filter_map(Value::as_object_mut) {
            fields.insert("clientState".to_owned(), state.clone().into());
            is_signed = true;
        }
    });
    if is_signed { Ok(()) } else { Err(SignError::NoPlace("json:/value/0/clientState".to_owned())) }
}
