//! What a page of a provider's list says.

use serde_json::Value;

use super::Trouble;
use crate::clock::Timestamp;
use crate::provider::Recovery;

/// A delivery, or an attempt at it, in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub item: String,
    pub delivery_id: String,
    pub event_type: String,
    pub at: Timestamp,
    pub status_code: u64,
    pub status: String,
    pub is_redelivery: bool,
}

/// The rows of a page, in its order.
pub fn rows(recovery: &Recovery, page: &Value) -> Result<Vec<Row>, Trouble> {
    let items = page.as_array().ok_or_else(|| Trouble::Failed("its list is not one".to_owned()))?;
    let row =
        |item| row(recovery, item).ok_or_else(|| Trouble::Failed("its list has an item without an id".to_owned()));
    items.iter().map(row).collect()
}

fn row(recovery: &Recovery, item: &Value) -> Option<Row> {
    let places = &recovery.item;
    let status_code = item.pointer(places.status_code).and_then(Value::as_u64).unwrap_or(0);
    let status = text(item, places.status).unwrap_or_default();
    Some(Row {
        item: text(item, places.item)?,
        delivery_id: text(item, places.delivery_id)?,
        event_type: text(item, places.event_type).unwrap_or_default(),
        at: Timestamp::parse(&text(item, places.delivered_at)?)?,
        status_code,
        status: if status_code == 0 { status } else { format!("{status_code} {status}") },
        is_redelivery: item.pointer(places.is_redelivery).and_then(Value::as_bool).unwrap_or(false),
    })
}

/// A string, or a number as it is written.
fn text(item: &Value, place: &str) -> Option<String> {
    match item.pointer(place)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
