//! Adyen signs eight fields of each payment notification in a batch, and nothing else of it.
//! <https://github.com/Adyen/adyen-node-api-library/blob/main/src/utils/hmacValidator.ts>

use serde::Deserialize;
use serde_json::{Value, json};

use super::signed::Scope;
use super::{Code, Draft, Refusal};
use crate::config::secret::Secret;
use crate::digest::{self, Hash};

const SIGNATURE: &str = "additionalData/hmacSignature";

pub(super) const CODE: Code = Code {
    verify,
    sign,
    says: "HMAC-SHA256, base64, in additionalData/hmacSignature of every item, of pspReference, originalReference, \
           merchantAccountCode, merchantReference, value, currency, eventCode and success: nothing else is signed",
    needs_url: false,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Batch {
    notification_items: Vec<Wrapped>,
}

#[derive(Deserialize)]
struct Wrapped {
    #[serde(rename = "NotificationRequestItem")]
    item: Value,
}

fn verify(secrets: &[Secret], scope: &Scope<'_>) -> Result<usize, Refusal> {
    let missing = || Refusal::Missing("notificationItems".to_owned());
    let batch: Batch = serde_json::from_slice(scope.parts.body).map_err(|_| missing())?;
    let mut position = None;
    for wrapped in batch.notification_items {
        let found = verify_item(secrets, &wrapped.item)?;
        position.get_or_insert(found);
    }
    position.ok_or_else(missing)
}

fn verify_item(secrets: &[Secret], item: &Value) -> Result<usize, Refusal> {
    let signature = item["additionalData"]["hmacSignature"].as_str().filter(|text| !text.is_empty());
    let signature = signature.ok_or_else(|| Refusal::Missing(SIGNATURE.to_owned()))?;
    let tag = digest::unbase64(signature).ok_or_else(|| Refusal::Unreadable(SIGNATURE.to_owned()))?;
    let signed = signed(item);
    let matches = |secret: &Secret| digest::equal(&digest::hmac(Hash::Sha256, secret.as_bytes(), &[&signed]), &tag);
    secrets.iter().position(matches).ok_or(Refusal::Mismatch)
}

fn signed(item: &Value) -> String {
    let fields = [
        &item["pspReference"],
        &item["originalReference"],
        &item["merchantAccountCode"],
        &item["merchantReference"],
        &item["amount"]["value"],
        &item["amount"]["currency"],
        &item["eventCode"],
        &item["success"],
    ];
    fields.map(text).join(":")
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn sign(secret: &Secret, draft: &mut Draft) {
    draft.edit_json(|json| {
        for wrapped in json.get_mut("notificationItems").and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(item) = wrapped.get_mut("NotificationRequestItem") else { continue };
            let tag = digest::hmac(Hash::Sha256, secret.as_bytes(), &[signed(item)]);
            if let Some(fields) = item.as_object_mut() {
                fields.insert("additionalData".to_owned(), json!({ "hmacSignature": digest::base64(&tag) }));
            }
        }
    });
}
