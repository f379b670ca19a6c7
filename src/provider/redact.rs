//! Headers whose values are secrets rather than signatures: they are never stored.

use super::algorithm::Algorithm;
use super::preset::Preset;
use super::presets::presets;
use super::selector::Selector;

/// Those of the web in general, and those that providers send beside a signature.
const SECRET_HEADERS: [&str; 7] = [
    "Authorization",
    "Cookie",
    "Proxy-Authorization",
    "X-Api-Key",
    "Api-Key",
    "X-Auth-Token",
    "X-GitHub-Encoded-Secret",
];

/// Stored in place of such a value.
pub const REDACTED: &str = "[redacted]";

/// Whether the value of a header of that name must not be stored or shown, for any source: it is one of those above, or one
/// in which a provider of the table sends the secret itself.
pub fn is_secret_header(name: &str) -> bool {
    let is_token = |preset: &Preset| preset.alg == Algorithm::Token && preset.custom.is_none();
    SECRET_HEADERS.iter().any(|secret| secret.eq_ignore_ascii_case(name))
        || presets().filter(|preset| is_token(preset)).any(|preset| {
            let places = preset.sig.split('|').filter_map(|place| place.strip_prefix("header:"));
            places.into_iter().any(|header| header.eq_ignore_ascii_case(name))
        })
}

/// Whether the selector reads the header of that name.
pub(super) fn is_in_header(selector: &Selector, name: &str) -> bool {
    let is_it = |place: &Selector| matches!(place, Selector::Header(header) if header.eq_ignore_ascii_case(name));
    selector.places().iter().any(is_it)
}
