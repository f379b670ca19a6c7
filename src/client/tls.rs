//! Which certificates the client trusts.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};

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
    LazyLock::new(|| bundles().find_map(|path| read(&path).ok()).unwrap_or(RootCerts::WebPki));

/// The certificates in `ca_file`; without one the system's, which the operator updates; where the system has none, the
/// built-in ones. `Err` says why the file cannot be used.
pub fn roots(ca_file: Option<&Path>) -> Result<RootCerts, String> {
    ca_file.map_or_else(|| Ok(SYSTEM.clone()), read)
}

/// The file with the system's certificates, if one can be used.
pub fn system_bundle() -> Option<PathBuf> {
    bundles().find(|path| read(path).is_ok())
}

/// In the order in which they are tried.
fn bundles() -> impl Iterator<Item = PathBuf> {
    let named = std::env::var_os(BUNDLE_VARIABLE).map(PathBuf::from);
    named.into_iter().chain(SYSTEM_BUNDLES.iter().map(PathBuf::from))
}

fn read(path: &Path) -> Result<RootCerts, String> {
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
