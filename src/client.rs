//! The HTTP client for other people's servers, shared by the actions and by `hookbox forward`.

mod forwarding;
mod tls;

use std::path::Path;
use std::time::Duration;

use ureq::Agent;
use ureq::http::Uri;
use ureq::tls::TlsConfig;

pub use forwarding::{forwarded_fields, redacted_names};
pub use tls::system_bundle;

/// An address that refuses connections or cannot be reached answers at once or never.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A client that trusts the certificates in `ca_file`, or else the system's.
///
/// It follows no redirect, because requests carry secrets. Every status is an answer, not an error.
/// `Err` says why `ca_file` cannot be used.
pub fn agent(ca_file: Option<&Path>) -> Result<Agent, String> {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .max_redirects(0)
        .user_agent(concat!("hookbox/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .tls_config(TlsConfig::builder().root_certs(tls::roots(ca_file)?).build());
    Ok(config.build().new_agent())
}

/// The part of a URL that can be shown: user, password, path and query may be secrets.
pub fn origin(url: &str) -> String {
    let Ok(uri) = url.parse::<Uri>() else { return "(not a URL)".to_owned() };
    let port = uri.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}/...", uri.scheme_str().unwrap_or_default(), uri.host().unwrap_or_default())
}
