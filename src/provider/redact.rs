//! Headers that carry a secret rather than a proof: their values are never stored.

use super::presets;
use super::scheme::Algorithm;

/// Of the web in general, and what providers send beside a signature.
const SECRET_HEADERS: [&str; 4] = ["Authorization", "Cookie", "Proxy-Authorization", "X-GitHub-Encoded-Secret"];

/// True if the value of a header of that name must not be stored or shown, whichever source it came to: providers that
/// send the secret itself name its header in the table.
pub fn is_secret_header(name: &str) -> bool {
    let is_token = |sig: &str| sig.strip_prefix("header:").is_some_and(|header| header.eq_ignore_ascii_case(name));
    SECRET_HEADERS.iter().any(|secret| secret.eq_ignore_ascii_case(name))
        || presets().any(|preset| preset.alg == Algorithm::Token && preset.code.is_none() && is_token(preset.sig))
}
