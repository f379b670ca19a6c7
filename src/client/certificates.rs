//! Which servers are trusted: those with a certificate of a known authority, and those whose own certificate is in
//! `ca_file`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    WantsVerifier,
};

/// Where distributions keep the bundle of the system's certificate authorities.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// OpenSSL's variable, which administrators know.
const BUNDLE_VARIABLE: &str = "SSL_CERT_FILE";

/// Read once: it takes milliseconds, and the certificates are shared by all actions. Where the system has none, those of
/// Mozilla that are built in.
static SYSTEM: LazyLock<Result<Arc<ClientConfig>, Error>> = LazyLock::new(|| {
    if let Some(config) = bundles().find_map(|path| client_config(&path).ok()) {
        return Ok(config);
    }
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    Ok(Arc::new(builder()?.with_root_certificates(roots).with_no_client_auth()))
});

/// The certificates that an action trusts.
#[derive(Clone, Debug)]
pub(super) enum Trust {
    System,
    /// In place of the system's.
    File(Arc<ClientConfig>),
}

impl Trust {
    /// `Err` says why `ca_file` cannot be used.
    pub(super) fn of(ca_file: Option<&Path>) -> Result<Trust, String> {
        ca_file.map_or(Ok(Trust::System), |path| client_config(path).map(Trust::File))
    }

    pub(super) fn config(&self) -> Result<Arc<ClientConfig>, Error> {
        match self {
            Trust::System => SYSTEM.clone(),
            Trust::File(config) => Ok(Arc::clone(config)),
        }
    }
}

/// The file with the system's certificates, if one can be used.
pub fn system_bundle() -> Option<PathBuf> {
    bundles().find(|path| client_config(path).is_ok())
}

/// In the order in which they are tried.
fn bundles() -> impl Iterator<Item = PathBuf> {
    let named = std::env::var_os(BUNDLE_VARIABLE).map(PathBuf::from);
    named.into_iter().chain(SYSTEM_BUNDLES.iter().map(PathBuf::from))
}

fn client_config(path: &Path) -> Result<Arc<ClientConfig>, String> {
    let pem = fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let listed: Vec<_> = CertificateDer::pem_slice_iter(&pem).flatten().collect();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(listed.iter().cloned());
    let authorities = WebPkiServerVerifier::builder_with_provider(roots.into(), provider()).build();
    let authorities = authorities.map_err(|_| {
        format!("there is no certificate in {} that can be used: it must be a PEM file", path.display())
    })?;
    let verifier = Arc::new(Verifier { authorities, listed });
    let builder = builder().map_err(|error| error.to_string())?;
    Ok(Arc::new(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()))
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, Error> {
    ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Believes what webpki does, and also a server that presents one of the listed certificates itself: webpki refuses one that
/// may issue others, which `openssl req -x509` makes, and one whose issuer is not listed.
#[derive(Debug)]
struct Verifier {
    authorities: Arc<WebPkiServerVerifier>,
    listed: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            Err(error) if is_about_the_issuer(&error) && self.listed.contains(end_entity) => {
                verify_own_name(end_entity, server_name).map(|()| ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

/// Whether this was all that webpki had against a certificate so far. It has checked the time before, and not yet the name.
/// `Other` is a certificate of an authority that a server presents as its own, and `BadSignature` one that is not from the
/// listed authority of that name.
fn is_about_the_issuer(error: &Error) -> bool {
    use CertificateError::{BadSignature, Other, UnknownIssuer};
    matches!(error, Error::InvalidCertificate(UnknownIssuer | BadSignature | Other(_)))
}

/// A certificate without any name is for the server that has its key, whatever that is called: without further options,
/// `openssl req -x509` writes the name only into the subject, which is not a name of a server (RFC 9525, section 2).
fn verify_own_name(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), Error> {
    match verify_server_name(&ParsedCertificate::try_from(certificate)?, name) {
        Err(Error::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. }))
            if presented.is_empty() =>
        {
            Ok(())
        }
        verified => verified,
    }
}
