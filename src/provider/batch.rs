//! The items of a JSON array before they are verified, one after another. None is kept: an unverified body parsed into a
//! tree would take thirty times its size.

use std::fmt;

use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::error::VerifyError;

/// Calls `verify` with the text of each item of a JSON array until one is refused; the rest is not read. `Ok` has the
/// result for the first item; `None` if the array is empty, or the value is not an array.
pub(super) fn verify_items<T>(
    array: &RawValue,
    verify: impl FnMut(&str) -> Result<T, VerifyError>,
) -> Result<Option<T>, VerifyError> {
    let mut result = Ok(None);
    let items = Items { verify, result: &mut result };
    // An error means that an item was refused, which is in `result`, or that this is not an array.
    let _ = serde_json::Deserializer::from_str(array.get()).deserialize_seq(items);
    result
}

struct Items<'r, T, F> {
    verify: F,
    result: &'r mut Result<Option<T>, VerifyError>,
}

impl<'de, T, F: FnMut(&str) -> Result<T, VerifyError>> Visitor<'de> for Items<'_, T, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        let mut first = None;
        while let Some(item) = items.next_element::<&RawValue>()? {
            match (self.verify)(item.get()) {
                Ok(found) => drop(first.get_or_insert(found)),
                Err(error) => {
                    *self.result = Err(error);
                    return Err(A::Error::custom("refused"));
                }
            }
        }
        *self.result = Ok(first);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The result for `array`, whose items must be numbers above 0, and how many of them were read.
    fn verified(array: &str) -> (Result<Option<u64>, VerifyError>, usize) {
        let mut read = 0;
        let array: &RawValue = serde_json::from_str(array).unwrap();
        let result = verify_items(array, |item| {
            read += 1;
            item.parse().ok().filter(|number| *number > 0).ok_or(VerifyError::Mismatch)
        });
        (result, read)
    }

    #[test]
    fn every_item_is_verified_and_the_first_counts() {
        assert_eq!(verified("[ 7, 8,9 ]"), (Ok(Some(7)), 3));
        assert_eq!(verified("[]"), (Ok(None), 0));
        assert_eq!(verified(r#"{"a":1}"#), (Ok(None), 0));
    }

    #[test]
    fn nothing_is_read_after_the_first_bad_item() {
        let many = format!("[1,0{}]", ",1".repeat(1000));
        assert_eq!(verified(&many), (Err(VerifyError::Mismatch), 2));
    }
}
