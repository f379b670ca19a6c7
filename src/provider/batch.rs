//! The items of a JSON array in the body, verified one after another in one pass over it. No tree is built: that of an
//! unverified body would take thirty times its size.

use super::error::VerifyError;
use crate::json::{self, Cursor};

/// Calls `verify` for each item of the array that has this name in the JSON object, until one is refused; the rest is not
/// read. `verify` must pass the item, and returns `None` where it cannot be read.
///
/// `Ok` has the result for the first item; `None` if there is no such array, if it is empty, or if there are two: another
/// program may read the other.
pub(super) fn verify_items<'b, T>(
    body: &'b [u8],
    name: &str,
    mut verify: impl FnMut(&mut Cursor<'b>) -> Option<Result<T, VerifyError>>,
) -> Result<Option<T>, VerifyError> {
    let (mut first, mut refused, mut is_there) = (None, None, false);
    let passed = Cursor::new(json::without_bom(body)).each_member(|cursor, member| {
        if !member.is(name) {
            return cursor.skip_value();
        }
        if std::mem::replace(&mut is_there, true) {
            return None;
        }
        cursor.each_item(|cursor| match verify(cursor)? {
            Ok(found) => {
                first.get_or_insert(found);
                Some(())
            }
            Err(error) => {
                refused = Some(error);
                None
            }
        })
    });
    refused.map_or(Ok(first.filter(|_| passed.is_some())), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The result for `body`, whose items must be objects with `n` above 0, and how many of them were read.
    fn verified(body: &str) -> (Result<Option<u64>, VerifyError>, usize) {
        let mut read = 0;
        let result = verify_items(body.as_bytes(), "items", |cursor| {
            read += 1;
            let [n] = cursor.members(["n"])?;
            let n = std::str::from_utf8(n?).ok()?.parse().ok().filter(|n| *n > 0);
            Some(n.ok_or(VerifyError::Mismatch))
        });
        (result, read)
    }

    #[test]
    fn every_item_is_verified_and_the_first_counts() {
        assert_eq!(
            verified(r#"{"a":[{"n":0}],"it\u0065ms": [ {"n":7}, {"x":{"n":0},"n":8} ], "b":{}}"#),
            (Ok(Some(7)), 2)
        );
        assert_eq!(verified("\u{feff}{\"items\":[{\"n\":7}]}"), (Ok(Some(7)), 1));
        for none in [r#"{"items":[]}"#, r#"{"items":{}}"#, "{}", "[]", "", r#"{"x":{"items":[{"n":1}]}}"#] {
            assert_eq!(verified(none), (Ok(None), 0), "{none}");
        }
    }

    #[test]
    fn nothing_is_read_after_the_first_bad_item() {
        let many = format!(r#"{{"items":[{{"n":1}},{{"n":0}}{}]}}"#, r#",{"n":1}"#.repeat(1000));
        assert_eq!(verified(&many), (Err(VerifyError::Mismatch), 2));
    }

    #[test]
    fn what_two_parsers_would_read_differently_is_not_verified() {
        for body in [
            r#"{"items":[{"n":1}],"items":[{"n":1}]}"#,
            r#"{"items":[{"n":1,"n":2}]}"#,
            r#"{"items":[{"n":1,"\u006e":2}]}"#,
            r#"{"items":[{"n":1}]"#,
            r#"{"items":[{"n":1},]}"#,
        ] {
            assert_eq!(verified(body).0, Ok(None), "{body}");
        }
    }
}
