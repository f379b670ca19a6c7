//! The HTTP client for other people's servers, shared by the actions and by `hookbox forward`: which certificates it trusts,
//! and which header fields of a stored delivery are sent on with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ureq::Agent;
use ureq::http::{HeaderName, HeaderValue, Uri};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::event::{Event, headers};
use crate::http::{BROWSER_HEADERS, FORWARDING_HEADERS};
use crate::provider::REDACTED;

/// An address that refuses connections or cannot be reached answers at once or never.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where distributions keep the bundle of the system's certificate authorities.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// OpenSSL's variable, which administrators know.
const BUNDLE_VARIABLE: &str = "SSL_CERT_FILE";

/// Read once: it takes milliseconds, and the certificates are shared by all actions.
static SYSTEM: LazyLock<RootCerts> =
    LazyLock::new(|| bundles().find_map(|path| read_certificates(&path).ok()).unwrap_or(RootCerts::WebPki));

/// Fields that describe the connection of the original request (RFC 9110, section 7.6.1), or that our own request sets.
const NOT_FORWARDED: [&str; 11] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-real-ip",
];

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
        .tls_config(TlsConfig::builder().root_certs(roots(ca_file)?).build());
    Ok(config.build().new_agent())
}

/// The part of a URL that can be shown: user, password, path and query may be secrets.
pub fn origin(url: &str) -> String {
    let Ok(uri) = url.parse::<Uri>() else { return "(not a URL)".to_owned() };
    let port = uri.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}/...", uri.scheme_str().unwrap_or_default(), uri.host().unwrap_or_default())
}

/// The certificates in `ca_file`; without one the system's, which the operator updates; where the system has none, the
/// built-in ones. `Err` says why the file cannot be used.
fn roots(ca_file: Option<&Path>) -> Result<RootCerts, String> {
    ca_file.map_or_else(|| Ok(SYSTEM.clone()), read_certificates)
}

/// The file with the system's certificates, if one can be used.
pub fn system_bundle() -> Option<PathBuf> {
    bundles().find(|path| read_certificates(path).is_ok())
}

/// In the order in which they are tried.
fn bundles() -> impl Iterator<Item = PathBuf> {
    let named = std::env::var_os(BUNDLE_VARIABLE).map(PathBuf::from);
    named.into_iter().chain(SYSTEM_BUNDLES.iter().map(PathBuf::from))
}

fn read_certificates(path: &Path) -> Result<RootCerts, String> {
    let pem = fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let certificates: Vec<Certificate<'static>> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(format!("there is no certificate in {}: it must be a PEM file", path.display()));
    }
    Ok(RootCerts::Specific(Arc::new(certificates)))
}

/// The stored header fields of an event with which another receiver can verify the provider's signature, byte for byte. Left
/// out are redacted fields, and those of proxies and browsers, which make a source for local deliveries refuse a request.
pub fn forwarded_fields(event: &Event) -> Vec<(HeaderName, HeaderValue)> {
    let field = |(name, value): (String, Vec<u8>)| {
        let mut dropped = NOT_FORWARDED.iter().chain(&FORWARDING_HEADERS).chain(&BROWSER_HEADERS);
        if value == REDACTED.as_bytes() || dropped.any(|field| field.eq_ignore_ascii_case(&name)) {
            return None;
        }
        Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
    };
    headers::from_json(&event.headers_json).into_iter().filter_map(field).collect()
}

/// The names of the header fields whose values were not stored because they are secrets.
pub fn redacted_names(event: &Event) -> Vec<String> {
    let fields = headers::from_json(&event.headers_json).into_iter();
    fields.filter(|(_, value)| value == REDACTED.as_bytes()).map(|(name, _)| name).collect()
}
