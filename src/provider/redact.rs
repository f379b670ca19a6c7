//! Headers that carry a secret rather than a proof: their values are never stored.

/// Of the web in general, and of providers that send the shared secret itself instead of a signature made with it.
const SECRET_HEADERS: &[&str] = &[
    "Authorization",
    "Cookie",
    "Proxy-Authorization",
    "X-Buildkite-Token",
    "X-GitHub-Encoded-Secret",
    "X-Gitlab-Token",
    "X-Telegram-Bot-Api-Secret-Token",
];

/// True if the value of a header of that name must not be stored or shown.
pub fn is_secret_header(name: &str) -> bool {
    SECRET_HEADERS.iter().any(|secret| secret.eq_ignore_ascii_case(name))
}
