//! Adyen signs eight fields of each payment notification in a batch, and nothing else of it.
//! <https://github.com/Adyen/adyen-node-api-library/blob/main/src/utils/hmacValidator.ts>

use std::borrow::Cow;

use serde_json::{Value, json};

use super::batch;
use super::error::VerifyError;
use super::format::Inputs;
use super::preset::{CustomScheme, Signs};
use super::request::{RequestBuilder, SignError};
use crate::digest;
use crate::json::Cursor;
use crate::secret::Secret;

const SIGNATURE: &str = "additionalData/hmacSignature";

/// The longest field that Adyen signs has 80 characters. A longer one is not copied.
const MAX_FIELD_BYTES: usize = 1024;

/// `additionalData` has some kilobytes. A larger object is not read a second time.
const MAX_OBJECT_BYTES: usize = 64 * 1024;

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

/// The fields of one item, as they are written.
struct Item<'a> {
    /// In the order in which they are signed.
    signed: [Option<&'a [u8]>; 8],
    signature: Option<&'a [u8]>,
}

fn verify(secrets: &[Secret], inputs: &Inputs<'_>) -> Result<usize, VerifyError> {
    let missing = || VerifyError::Missing("notificationItems".to_owned());
    let verify_item = |cursor: &mut Cursor<'_>| {
        let mut result = None;
        cursor.each_member(|cursor, name| {
            if !name.is("NotificationRequestItem") {
                return cursor.skip_value();
            }
            let item = Item::read(cursor)?;
            result.replace(item.verify(secrets)).is_none().then_some(())
        })?;
        result
    };
    batch::verify_items(inputs.parts.body, "notificationItems", verify_item)?.ok_or_else(missing)
}

impl<'a> Item<'a> {
    /// `None` where it cannot be read, or a field is there twice.
    fn read(cursor: &mut Cursor<'a>) -> Option<Item<'a>> {
        let [psp, original, account, reference, amount, code, success, data] = cursor.members([
            "pspReference",
            "originalReference",
            "merchantAccountCode",
            "merchantReference",
            "amount",
            "eventCode",
            "success",
            "additionalData",
        ])?;
        let [value, currency] = inner(amount, ["value", "currency"])?;
        let [signature] = inner(data, ["hmacSignature"])?;
        Some(Item { signed: [psp, original, account, reference, value, currency, code, success], signature })
    }

    /// The position of the secret that matches.
    fn verify(&self, secrets: &[Secret]) -> Result<usize, VerifyError> {
        let unreadable = || VerifyError::Unreadable(SIGNATURE.to_owned());
        let signature = text(self.signature).ok_or_else(unreadable)?;
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
        let texts: Option<Vec<Cow<'_, str>>> = self.signed.into_iter().map(text).collect();
        let texts = texts?;
        let is_unambiguous = |(at, text): (usize, &Cow<'_, str>)| at == MERCHANT_REFERENCE || !text.contains(SEPARATOR);
        texts.iter().enumerate().all(is_unambiguous).then(|| texts.join(SEPARATOR))
    }
}

/// The members of a member that is an object.
fn inner<'a, const N: usize>(object: Option<&'a [u8]>, names: [&str; N]) -> Option<[Option<&'a [u8]>; N]> {
    match object {
        None | Some(b"null") => Some([None; N]),
        Some(object) if object.len() > MAX_OBJECT_BYTES => None,
        Some(object) => Cursor::new(object).members(names),
    }
}

/// A field as it is signed: a string without its quotation marks, anything else as it is written, empty for `null`.
fn text(field: Option<&[u8]>) -> Option<Cow<'_, str>> {
    match field.unwrap_or(b"null") {
        b"null" => Some(Cow::Borrowed("")),
        long if long.len() > MAX_FIELD_BYTES => None,
        string if string.starts_with(b"\"") => serde_json::from_slice::<String>(string).ok().map(Cow::Owned),
        other => std::str::from_utf8(other).ok().map(Cow::Borrowed),
    }
}

fn sign(secret: &Secret, request: &mut RequestBuilder) -> Result<(), SignError> {
    let mut is_signed = false;
    request.edit_json(|json| {
        for wrapped in json.get_mut("notificationItems").and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(item) = wrapped.get_mut("NotificationRequestItem") else { continue };
            let text = item.to_string();
            let Some(signed) = Item::read(&mut Cursor::new(text.as_bytes())).and_then(|item| item.signed()) else {
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
