//! Adyen signs eight fields of each payment notification in a batch, and nothing else of it.
//! <https://github.com/Adyen/adyen-node-api-library/blob/main/src/utils/hmacValidator.ts>

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::batch;
use super::error::VerifyError;
use super::format::Inputs;
use super::preset::{CustomScheme, Signs};
use super::request::{RequestBuilder, SignError};
use crate::digest;
use crate::secret::Secret;

const SIGNATURE: &str = "additionalData/hmacSignature";

/// The longest field that Adyen signs has 80 characters. A longer one is not copied.
const MAX_FIELD_BYTES: usize = 1024;

const SEPARATOR: &str = ":";

/// The position of the only signed field that may contain the separator: in any other, it would make the signed text
/// ambiguous.
const MERCHANT_REFERENCE: usize = 3;

pub(super) const SCHEME: CustomScheme = CustomScheme {
    verify,
    sign,
    description: "HMAC-SHA256, base64, in additionalData/hmacSignature of every item, of pspReference, originalReference, \
           merchantAccountCode, merchantReference, value, currency, eventCode and success: nothing else is signed",
    signs: Signs::Values(&[
        "json:/notificationItems/0/NotificationRequestItem/pspReference",
        "json:/notificationItems/0/NotificationRequestItem/eventCode",
        "json:/notificationItems/0/NotificationRequestItem/success",
    ]),
    needs_url: false,
};

/// Slices of the body: an unverified body is not parsed into a tree, which would take thirty times its size.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Batch<'a> {
    #[serde(borrow)]
    notification_items: &'a RawValue,
}

#[derive(Deserialize)]
struct Wrapped<'a> {
    #[serde(borrow, rename = "NotificationRequestItem")]
    item: Item<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item<'a> {
    #[serde(borrow)]
    psp_reference: Option<&'a RawValue>,
    original_reference: Option<&'a RawValue>,
    merchant_account_code: Option<&'a RawValue>,
    merchant_reference: Option<&'a RawValue>,
    amount: Option<Amount<'a>>,
    event_code: Option<&'a RawValue>,
    success: Option<&'a RawValue>,
    additional_data: Option<AdditionalData<'a>>,
}

#[derive(Deserialize)]
struct Amount<'a> {
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    currency: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AdditionalData<'a> {
    #[serde(borrow)]
    hmac_signature: Option<&'a RawValue>,
}

fn verify(secrets: &[Secret], inputs: &Inputs<'_>) -> Result<usize, VerifyError> {
    let missing = || VerifyError::Missing("notificationItems".to_owned());
    let batch: Batch<'_> = serde_json::from_slice(inputs.parts.body).map_err(|_| missing())?;
    let verify_item = |text: &str| {
        let Wrapped { item } = serde_json::from_str(text).map_err(|_| missing())?;
        item.verify(secrets)
    };
    batch::verify_items(batch.notification_items, verify_item)?.ok_or_else(missing)
}

impl Item<'_> {
    /// The position of the secret that matches.
    fn verify(&self, secrets: &[Secret]) -> Result<usize, VerifyError> {
        let unreadable = || VerifyError::Unreadable(SIGNATURE.to_owned());
        let signature = self.additional_data.as_ref().and_then(|data| data.hmac_signature);
        let signature = text(signature).ok_or_else(unreadable)?;
        if signature.is_empty() {
            return Err(VerifyError::Missing(SIGNATURE.to_owned()));
        }
        let tag = digest::unbase64(&signature).ok_or_else(unreadable)?;
        let signed = self.signed().ok_or(VerifyError::Mismatch)?;
        let matches =
            |secret: &Secret| digest::equal(&digest::hmac(digest::SHA256, secret.as_bytes(), &[&signed]), &tag);
        secrets.iter().position(matches).ok_or(VerifyError::Mismatch)
    }

    /// The signed text. `None` if a field is one that Adyen cannot have signed.
    fn signed(&self) -> Option<String> {
        let amount = self.amount.as_ref();
        let fields = [
            self.psp_reference,
            self.original_reference,
            self.merchant_account_code,
            self.merchant_reference,
            amount.and_then(|amount| amount.value),
            amount.and_then(|amount| amount.currency),
            self.event_code,
            self.success,
        ];
        let texts: Option<Vec<Cow<'_, str>>> = fields.into_iter().map(text).collect();
        let texts = texts?;
        let is_unambiguous = |(at, text): (usize, &Cow<'_, str>)| at == MERCHANT_REFERENCE || !text.contains(SEPARATOR);
        texts.iter().enumerate().all(is_unambiguous).then(|| texts.join(SEPARATOR))
    }
}

/// A field as it is signed: a string without its quotation marks, anything else as it is written, empty for `null`.
fn text(field: Option<&RawValue>) -> Option<Cow<'_, str>> {
    match field.map(RawValue::get).unwrap_or("null") {
        "null" => Some(Cow::Borrowed("")),
        long if long.len() > MAX_FIELD_BYTES => None,
        string if string.starts_with('"') => serde_json::from_str::<String>(string).ok().map(Cow::Owned),
        other => Some(Cow::Borrowed(other)),
    }
}

fn sign(secret: &Secret, request: &mut RequestBuilder) -> Result<(), SignError> {
    let mut is_signed = false;
    request.edit_json(|json| {
        for wrapped in json.get_mut("notificationItems").and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(item) = wrapped.get_mut("NotificationRequestItem") else { continue };
            let text = item.to_string();
            let Some(signed) = serde_json::from_str(&text).ok().and_then(|item: Item<'_>| item.signed()) else {
                continue;
            };
            let tag = digest::hmac(digest::SHA256, secret.as_bytes(), &[signed]);
            if let Some(fields) = item.as_object_mut() {
                fields.insert("additionalData".to_owned(), json!({ "hmacSignature": digest::base64(&tag) }));
                is_signed = true;
            }
        }
    });
    let place = || format!("json:/notificationItems/0/NotificationRequestItem/{SIGNATURE}");
    if is_signed { Ok(()) } else { Err(SignError::NoPlace(place())) }
}
