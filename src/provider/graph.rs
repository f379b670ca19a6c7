//! Microsoft Graph puts the secret of the subscription, `clientState`, into every item of a batch.
//! <https://learn.microsoft.com/graph/change-notifications-delivery-webhooks>

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::batch;
use super::error::VerifyError;
use super::format::Inputs;
use super::preset::{CustomScheme, Signs};
use super::request::{RequestBuilder, SignError};
use crate::digest;
use crate::secret::Secret;

pub(super) const SCHEME: CustomScheme = CustomScheme {
    verify,
    sign,
    description: "the secret itself as clientState in every item of the batch: in the body, which is stored as it came",
    signs: Signs::Nothing,
    needs_url: false,
};

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    value: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item<'a> {
    #[serde(borrow)]
    client_state: Option<Cow<'a, str>>,
}

/// A single forged item makes the whole batch invalid.
fn verify(secrets: &[Secret], inputs: &Inputs<'_>) -> Result<usize, VerifyError> {
    let missing = || VerifyError::Missing("clientState".to_owned());
    let batch: Batch<'_> = serde_json::from_slice(inputs.parts.body).map_err(|_| missing())?;
    let verify_item = |text: &str| {
        let item: Item<'_> = serde_json::from_str(text).map_err(|_| missing())?;
        let state = item.client_state.filter(|state| !state.is_empty()).ok_or_else(missing)?;
        let matches = |secret: &Secret| digest::equal(secret.as_bytes(), state.as_bytes());
        secrets.iter().position(matches).ok_or(VerifyError::Mismatch)
    };
    batch::verify_items(batch.value, verify_item)?.ok_or_else(missing)
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
