//! Which header fields carry secrets, so that their values are neither stored nor shown.

use super::algorithm::Algorithm;
use super::preset::Preset;
use super::presets::presets;
use super::selector::Selector;
use super::verifier::Verifier;

/// Headers whose values are secrets rather than signatures: those of the web in general, and those that providers send
/// beside a signature.
const SECRET_HEADERS: [&str; 7] = [
    "Authorization",
    "Cookie",
    "Proxy-Authorization",
    "X-Api-Key",
    "Api-Key",
    "X-Auth-Token",
    "X-GitHub-Encoded-Secret",
];

/// Stored in place of a secret.
pub const REDACTED: &str = "[redacted]";

impl Verifier {
    /// Whether the value of a header of that name must not be stored or shown.
    pub fn is_secret_header(&self, name: &str) -> bool {
        let is_sig = |place: &Selector| matches!(place, Selector::Header(sig) if sig.eq_ignore_ascii_case(name));
        let is_token = self.scheme.alg == Algorithm::Token && self.scheme.sig.places().iter().any(is_sig);
        is_token || is_secret_header(name)
    }
}

/// Whether the value of a header of that name must not be stored or shown, for any source: it is one of those above, or one
/// in which a provider of the table sends the secret itself.
pub fn is_secret_header(name: &str) -> bool {
    let is_token = |preset: &Preset| preset.alg == Algorithm::Token && preset.custom.is_none();
    SECRET_HEADERS.iter().any(|secret| secret.eq_ignore_ascii_case(name))
        || presets().filter(|preset| is_token(preset)).any(|preset| {
            let mut headers = preset.sig.split('|').filter_map(|place| place.strip_prefix("header:"));
            headers.any(|header| header.eq_ignore_ascii_case(name))
        })
}
