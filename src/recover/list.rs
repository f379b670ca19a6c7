//! What a page of a provider's list says.

use serde_json::value::RawValue;

use super::RecoverError;
use super::sent::{Object, Sent};
use crate::clock::Timestamp;
use crate::provider::{Paging, Recovery, Verifier};

/// A delivery, or an attempt at it, in the list.
#[derive(Clone, Debug)]
pub struct Row {
    pub item: String,
    pub delivery_id: String,
    pub event_type: String,
    pub at: Timestamp,
    pub status_code: u64,
    pub status: String,
    pub is_redelivery: bool,
    /// The request that was sent, where the list has it.
    pub sent: Option<Sent>,
}

/// The rows of a page, in its order. `now` is the time of an item without one: earlier versions of GitLab tell none.
pub fn rows(recovery: &Recovery, verifier: &Verifier, page: &str, now: Timestamp) -> Result<Vec<Row>, RecoverError> {
    let items = match recovery.paging {
        Paging::Link => Some(page),
        Paging::Last { items, .. } => Object::of(page).and_then(|page| page.at(items)),
    };
    let items: Option<Vec<&RawValue>> = items.and_then(|items| serde_json::from_str(items).ok());
    let items = items.ok_or_else(|| RecoverError::Failed("its list is not one".to_owned()))?;
    let row = |item: &&RawValue| {
        let row = row(recovery, verifier, item.get(), now);
        row.ok_or_else(|| RecoverError::Failed("its list has an item without an id".to_owned()))
    };
    items.iter().map(row).collect()
}

/// Whether a page says that there are more.
pub fn has_more(page: &str, more: &str) -> bool {
    Object::of(page).and_then(|page| page.at(more)) == Some("true")
}

fn row(recovery: &Recovery, verifier: &Verifier, item: &str, now: Timestamp) -> Option<Row> {
    let (places, object) = (&recovery.item, Object::of(item)?);
    let sent = if recovery.lists_requests() { Sent::of(&recovery.request, item) } else { None };
    let (sent_id, sent_type) = sent.as_ref().map_or((None, None), |sent| sent.id_and_type(verifier));
    let status = object.text(places.status).unwrap_or_default();
    let status_code = object.text(places.status_code).and_then(|code| code.parse().ok()).unwrap_or(0);
    let listed = |place: Option<&str>| place.and_then(|place| object.text(place));
    Some(Row {
        item: object.text(places.item)?,
        delivery_id: listed(places.delivery_id).or(sent_id)?,
        event_type: listed(places.event_type).or(sent_type).unwrap_or_default(),
        at: object.text(places.at).and_then(|at| time(&at)).unwrap_or(now),
        status: if status_code == 0 || places.status == places.status_code {
            status
        } else {
            format!("{status_code} {status}")
        },
        status_code,
        is_redelivery: object.at(places.is_redelivery) == Some("true"),
        sent,
    })
}

/// As RFC 3339, or Unix seconds.
fn time(text: &str) -> Option<Timestamp> {
    let unix = || text.parse::<i64>().ok()?.checked_mul(1000).map(Timestamp::from_unix_ms);
    unix().or_else(|| Timestamp::parse(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_text_or_seconds() {
        let at = Timestamp::parse("2012-05-28T11:42:42+00:00");
        for text in ["2012-05-28T04:42:42-07:00", "2012-05-28T11:42:42.000Z", "1338205362"] {
            assert_eq!(time(text), at, "{text}");
        }
        assert_eq!(time("soon"), None);
    }
}
