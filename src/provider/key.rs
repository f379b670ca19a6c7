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

/// The y-coordinates of the points of small order on Ed25519's curve, also as encodings that are not canonical: of order 1,
/// 2, 4 and 8. With such a key the equation of a signature does not depend on a private key, so that anybody can make one.
/// RFC 8032, section 5.1; the list is that of libsodium's `ge25519_has_small_order`.
const SMALL_ORDER: [[u8; ED25519_KEY_BYTES]; 7] = [
    y(0x00, 0x00, 0x00),
    y(0x01, 0x00, 0x00),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
    y(0xec, 0xff, 0x7f),
    y(0xed, 0xff, 0x7f),
    y(0xee, 0xff, 0x7f),
];

/// The highest bit of a key is the sign of the x-coordinate.
const SIGN_BIT: u8 = 0x80;

/// A y-coordinate whose bytes are `first`, then `middle`, then `last`.
const fn y(first: u8, middle: u8, last: u8) -> [u8; ED25519_KEY_BYTES] {
    let mut bytes = [middle; ED25519_KEY_BYTES];
    bytes[0] = first;
    bytes[ED25519_KEY_BYTES - 1] = last;
    bytes
}

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
        let wrong = || format!("it is not {}; copy it as the provider shows it", self.describe(alg, strip));
        let key = key.and_then(Secret::new).ok_or_else(wrong)?;
        if alg == Algorithm::Ed25519 && has_small_order(key.as_bytes()) {
            return Err(
                "it is no provider's key: it is a point of small order (such as all zeros), with which anybody can \
                        forge signatures; copy the provider's public key"
                    .to_owned(),
            );
        }
        Ok(key)
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

/// Whether the Ed25519 key is a point of small order.
fn has_small_order(key: &[u8]) -> bool {
    let Ok(mut y) = <[u8; ED25519_KEY_BYTES]>::try_from(key) else { return false };
    y[ED25519_KEY_BYTES - 1] &= !SIGN_BIT;
    SMALL_ORDER.contains(&y)
}

/// The point in a public key given as SubjectPublicKeyInfo, the form that providers show.
fn p256_point(key: &[u8]) -> Option<Vec<u8>> {
    key.strip_prefix(&P256_SPKI_PREFIX).filter(|point| point.len() == P256_POINT_BYTES).map(<[u8]>::to_vec)
}
