//! The items of a batch that nobody has verified yet, one after another. Nothing of it is kept: a tree of what a stranger
//! sent takes thirty times its size.

use std::fmt;

use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Refusal;

/// Lets `judge` look at the text of each item of a JSON array, until it refuses one: what comes after is not read.
/// `Ok` has what it found for the first item; `None` if there is none, or no array.
pub(super) fn judge_all<T>(
    array: &RawValue,
    judge: impl FnMut(&str) -> Result<T, Refusal>,
) -> Result<Option<T>, Refusal> {
    let mut verdict = Ok(None);
    let items = Items { judge, verdict: &mut verdict };
    // An error is the refusal, which the verdict has, or says that this is no array: then there was nothing to judge.
    let _ = serde_json::Deserializer::from_str(array.get()).deserialize_seq(items);
    verdict
}

struct Items<'v, T, F> {
    judge: F,
    verdict: &'v mut Result<Option<T>, Refusal>,
}

impl<'de, T, F: FnMut(&str) -> Result<T, Refusal>> Visitor<'de> for Items<'_, T, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        let mut first = None;
        while let Some(item) = items.next_element::<&RawValue>()? {
            match (self.judge)(item.get()) {
                Ok(found) => drop(first.get_or_insert(found)),
                Err(refusal) => {
                    *self.verdict = Err(refusal);
                    return Err(A::Error::custom("refused"));
                }
            }
        }
        *self.verdict = Ok(first);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdict over `array`, whose items are to be numbers above 0, and how many of them were looked at.
    fn judged(array: &str) -> (Result<Option<u64>, Refusal>, usize) {
        let mut looked_at = 0;
        let array: &RawValue = serde_json::from_str(array).unwrap();
        let verdict = judge_all(array, |item| {
            looked_at += 1;
            item.parse().ok().filter(|number| *number > 0).ok_or(Refusal::Mismatch)
        });
        (verdict, looked_at)
    }

    #[test]
    fn every_item_is_judged_and_the_first_counts() {
        assert_eq!(judged("[ 7, 8,9 ]"), (Ok(Some(7)), 3));
        assert_eq!(judged("[]"), (Ok(None), 0));
        assert_eq!(judged(r#"{"a":1}"#), (Ok(None), 0));
    }

    #[test]
    fn the_first_bad_item_ends_it() {
        let many = format!("[1,0{}]", ",1".repeat(1000));
        assert_eq!(judged(&many), (Err(Refusal::Mismatch), 2));
    }
}
