//! Decodes a secret, as the provider shows it, to the bytes of the key.

use super::algorithm::Algorithm;
use super::keyword::keywords;
use crate::digest;
use crate::secret::Secret;

/// The bytes before the point in a P-256 public key (SubjectPublicKeyInfo, RFC 5480).
const P256_SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// An uncompressed point of P-256 and its tag.
const P256_POINT_BYTES: usize = 65;

const ED25519_KEY_BYTES: usize = 32;

keywords! {
    /// How the provider shows the key.
    pub enum KeyEncoding {
        /// The text is the key.
        Utf8 = "utf8",
        Base64 = "base64",
        Hex = "hex",
    }
}

impl KeyEncoding {
    /// The key in a secret. `strip` is what the provider puts before the key to show what it is. `Err` tells the operator
    /// what the secret should look like.
    pub fn decode(self, secret: &Secret, alg: Algorithm, strip: &str) -> Result<Secret, String> {
        let bytes = secret.as_bytes();
        // White space around an encoded key is a slip; in a text it may be a part of the key.
        let bytes = if self == KeyEncoding::Utf8 { bytes } else { bytes.trim_ascii() };
        let bytes = bytes.strip_prefix(strip.as_bytes()).unwrap_or(bytes);
        let text = || std::str::from_utf8(bytes).ok();
        let key = match self {
            KeyEncoding::Utf8 => Some(bytes.to_vec()),
            KeyEncoding::Base64 => text().and_then(digest::unbase64_key),
            KeyEncoding::Hex => text().and_then(digest::unhex),
        };
        let key = match alg {
            Algorithm::Ed25519 => key.filter(|key| key.len() == ED25519_KEY_BYTES),
            Algorithm::EcdsaP256Sha256 => key.as_deref().and_then(p256_point),
            _ => key,
        };
        key.and_then(Secret::new)
            .ok_or_else(|| format!("it is not {}; copy it as the provider shows it", self.describe(alg, strip)))
    }

    fn describe(self, alg: Algorithm, strip: &str) -> String {
        let written = match self {
            KeyEncoding::Utf8 => "text",
            KeyEncoding::Base64 => "base64",
            KeyEncoding::Hex => "hexadecimal",
        };
        let behind = if strip.is_empty() { String::new() } else { format!(" behind {strip}") };
        match alg {
            Algorithm::Ed25519 => format!("an Ed25519 public key (32 bytes in {written}{behind})"),
            Algorithm::EcdsaP256Sha256 => format!("a P-256 public key ({written}{behind})"),
            _ => format!("{written}{behind}"),
        }
    }
}

/// The point in a public key given as SubjectPublicKeyInfo, the form that providers show.
fn p256_point(key: &[u8]) -> Option<Vec<u8>> {
    key.strip_prefix(&P256_SPKI_PREFIX).filter(|point| point.len() == P256_POINT_BYTES).map(<[u8]>::to_vec)
}
