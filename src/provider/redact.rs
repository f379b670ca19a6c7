//! Headers that carry a secret rather than a proof: their values are never stored.

use super::scheme::Algorithm;
use super::{Preset, Selector, presets};

/// Of the web in general, and what providers send beside a signature.
const SECRET_HEADERS: [&str; 7] = [
    "Authorization",
    "Cookie",
    "Proxy-Authorization",
    "X-Api-Key",
    "Api-Key",
    "X-Auth-Token",
    "X-GitHub-Encoded-Secret",
];

/// What is stored in place of such a value.
pub const REDACTED: &str = "[redacted]";

/// True if the value of a header of that name must not be stored or shown, whichever source it came to: providers that
/// send the secret itself name its header in the table.
pub fn is_secret_header(name: &str) -> bool {
    let is_token = |preset: &Preset| preset.alg == Algorithm::Token && preset.code.is_none();
    SECRET_HEADERS.iter().any(|secret| secret.eq_ignore_ascii_case(name))
        || presets().filter(|preset| is_token(preset)).any(|preset| {
            let places = preset.sig.split('|').filter_map(|place| place.strip_prefix("header:"));
            places.into_iter().any(|header| header.eq_ignore_ascii_case(name))
        })
}

/// Whether the selector looks into the header of that name.
pub(super) fn is_in_header(selector: &Selector, name: &str) -> bool {
    let is_it = |place: &Selector| matches!(place, Selector::Header(header) if header.eq_ignore_ascii_case(name));
    selector.places().iter().any(is_it)
}
