//! `text is matching('^v[0-9]+$')`: whether a regular expression matches somewhere in a text.

use minijinja::{Error, ErrorKind, State, Value};
use regex_lite::RegexBuilder;

use super::budget;
use super::operators::{is_missing, text_of_number};

/// Longer than any that a person reads. The work for a text grows with the length of the expression.
const MAX_PATTERN_BYTES: usize = 1000;

/// What a compiled expression may take: repetitions such as `(a{99}){99}` are written out.
const MAX_COMPILED_BYTES: usize = 256 << 10;

/// Far longer than a ref, a subject or a URL.
const MAX_TEXT_BYTES: usize = 1 << 20;

/// How many bytes of a text against one of the expression are about as much work as one step of a template.
const BYTES_A_STEP: usize = 64;

/// It is false of what is missing. The syntax is that of the crate `regex-lite`, which is close to Go's and Perl's.
pub fn matching(state: &State<'_, '_>, value: &Value, pattern: &Value) -> Result<bool, Error> {
    let pattern = pattern.as_str().filter(|pattern| pattern.len() <= MAX_PATTERN_BYTES).ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidOperation,
            format!("matching: a pattern is a text of at most {MAX_PATTERN_BYTES} bytes"),
        )
    })?;
    let regex = RegexBuilder::new(pattern).size_limit(MAX_COMPILED_BYTES).build();
    // A syntax error is refused when the config is read.
    let regex = regex.map_err(|error| Error::new(ErrorKind::SyntaxError, format!("{pattern:?}: {error}")))?;
    if is_missing(value) {
        return Ok(false);
    }
    let value = text_of_number(value).unwrap_or_else(|| value.clone());
    let shown;
    let text = match value.as_str() {
        Some(text) => text,
        None => {
            shown = budget::text_of(format_args!("{value}"))?;
            &shown
        }
    };
    if text.len() > MAX_TEXT_BYTES {
        return Err(Error::new(ErrorKind::InvalidOperation, "matching: the text is longer than 1 MiB"));
    }
    state.consume_fuel((text.len() * pattern.len() / BYTES_A_STEP) as u64)?;
    Ok(regex.is_match(text))
}
