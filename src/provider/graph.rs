//! Microsoft Graph puts the secret of the subscription, `clientState`, into every item of a batch.
//! <https://learn.microsoft.com/graph/change-notifications-delivery-webhooks>

use serde::Deserialize;
use serde_json::Value;

use super::signed::Scope;
use super::{Code, Draft, Refusal};
use crate::config::secret::Secret;
use crate::digest;

pub(super) const CODE: Code = Code {
    verify,
    sign,
    says: "the secret itself as clientState in every item of the batch: in the body, which is stored as it came",
    needs_url: false,
};

#[derive(Deserialize)]
struct Batch {
    value: Vec<Item>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    client_state: Option<String>,
}

/// One stranger's item among genuine ones spoils the batch.
fn verify(secrets: &[Secret], scope: &Scope<'_>) -> Result<usize, Refusal> {
    let missing = || Refusal::Missing("clientState".to_owned());
    let batch: Batch = serde_json::from_slice(scope.parts.body).map_err(|_| missing())?;
    let mut position = None;
    for item in batch.value {
        let state = item.client_state.filter(|state| !state.is_empty()).ok_or_else(missing)?;
        let matches = |secret: &Secret| digest::equal(secret.as_bytes(), state.as_bytes());
        let found = secrets.iter().position(matches).ok_or(Refusal::Mismatch)?;
        position.get_or_insert(found);
    }
    position.ok_or_else(missing)
}

fn sign(secret: &Secret, draft: &mut Draft) {
    let state = String::from_utf8_lossy(secret.as_bytes()).into_owned();
    draft.edit_json(|json| {
        for item in json.get_mut("value").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(fields) = item.as_object_mut() {
                fields.insert("clientState".to_owned(), state.clone().into());
            }
        }
    });
}
