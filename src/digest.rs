//! Message authentication codes, signatures, digests and their encodings. The only constant-time compare is here.

use std::sync::LazyLock;

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{NO_PAD, STANDARD, URL_SAFE_NO_PAD};
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey};
use ring::{digest, hmac};

/// For keys, because people copy them and some tools cut them from longer texts.
const LENIENT: GeneralPurposeConfig = NO_PAD.with_decode_allow_trailing_bits(true);
const KEY: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);

/// The hash under an HMAC.
pub type Hash = hmac::Algorithm;
/// For providers that still use it. It is not broken as a MAC.
pub const SHA1: Hash = hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY;
pub const SHA256: Hash = hmac::HMAC_SHA256;
pub const SHA512: Hash = hmac::HMAC_SHA512;

/// The HMAC (RFC 2104) of the parts one after another.
pub fn hmac(hash: Hash, key: &[u8], parts: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hash, key));
    for part in parts {
        context.update(part.as_ref());
    }
    context.sign().as_ref().to_vec()
}

/// Compares a secret or a signature with an untrusted one in constant time. Both are hashed under a random key of this
/// process first, so that the time does not depend on their lengths either.
pub fn equal(ours: &[u8], theirs: &[u8]) -> bool {
    static KEY: LazyLock<hmac::Key> = LazyLock::new(|| hmac::Key::new(SHA256, &random::<32>()));
    hmac::verify(&KEY, theirs, hmac::sign(&KEY, ours).as_ref()).is_ok()
}

/// Whether a secret is a part of an untrusted text. The time depends on their lengths only.
pub fn contains(text: &[u8], secret: &[u8]) -> bool {
    let differs = |part: &[u8]| part.iter().zip(secret).fold(0, |differences, (a, b)| differences | a ^ b) != 0;
    let matches = text.windows(secret.len().max(1)).map(|part| !differs(part));
    !secret.is_empty() && matches.fold(false, |found, matches| found | matches)
}

/// Whether `signature` is an Ed25519 signature (RFC 8032) of `message`, made by the owner of `public_key` (32 bytes).
pub fn ed25519_verifies(public_key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public_key).verify(message, signature).is_ok()
}

/// Whether `signature` (ASN.1 DER) is an ECDSA signature over SHA-256 of `message`, made by the owner of `public_key` (an
/// uncompressed point of P-256, 65 bytes).
pub fn p256_verifies(public_key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public_key).verify(message, signature).is_ok()
}

/// The SHA-256 of the parts one after another.
pub fn sha256(parts: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part.as_ref());
    }
    context.finish().as_ref().to_vec()
}

/// Unpredictable random bytes.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the system has a source of random bytes");
    bytes
}

/// A random UUID (RFC 9562, version 4), as most providers' delivery ids are.
pub fn uuid() -> String {
    let mut bytes: [u8; 16] = random();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex(&bytes);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    nibbles.map(|nibble| char::from(DIGITS[usize::from(nibble)])).collect()
}

/// Hexadecimal in any case; `None` for anything else, an odd length included.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let nibbles: Option<Vec<u8>> =
        text.chars().map(|digit| digit.to_digit(16).and_then(|nibble| u8::try_from(nibble).ok())).collect();
    let nibbles = nibbles?;
    let (pairs, rest) = nibbles.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

/// Base64 with padding (RFC 4648, section 4).
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Strict base64: with padding, without white space, and without trailing bits, so that only one text decodes to the same
/// bytes.
pub fn unbase64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Lenient base64, for keys: the padding may be missing, and trailing bits are ignored.
pub fn unbase64_key(text: &str) -> Option<Vec<u8>> {
    KEY.decode(text.trim_end_matches('=')).ok()
}

/// The URL-safe alphabet without padding (RFC 7515, section 2).
pub fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub fn unbase64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_example_of_github_is_reproduced() {
        // https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
        let tag = unhex("757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17").unwrap();
        assert_eq!(hmac(SHA256, b"It's a Secret to Everybody", &["Hello, ", "World!"]), tag);
    }

    #[test]
    fn only_identical_bytes_are_equal() {
        let tag = hmac(SHA256, b"key", &["message"]);
        assert!(equal(&tag, &tag.clone()));
        assert!(!equal(&tag, &tag[..31]) && !equal(&tag, b"") && !equal(&tag, &[&tag[..], b"\0"].concat()));
        let mut other = tag.clone();
        other[31] ^= 1;
        assert!(!equal(&tag, &other));
    }

    #[test]
    fn a_secret_is_found_wherever_it_stands() {
        for text in ["hush", "hush!", "!hush", "a hush b", "huhush"] {
            assert!(contains(text.as_bytes(), b"hush"), "{text}");
        }
        for text in ["", "hus", "Hush", "hu sh", "ush hus"] {
            assert!(!contains(text.as_bytes(), b"hush"), "{text}");
        }
        assert!(!contains(b"any text", b""));
    }

    #[test]
    fn base64_is_read_strictly() {
        assert_eq!((base64(b"a?>"), unbase64("YT8+")), ("YT8+".to_owned(), Some(b"a?>".to_vec())));
        for wrong in ["YT8", "YQ", "YR==", "YQ===", "YT8-", " YT8+", "YT8+\n", "YQ==YQ=="] {
            assert_eq!(unbase64(wrong), None, "{wrong:?}");
        }
        for key in ["YQ", "YQ==", "YR=="] {
            assert_eq!(unbase64_key(key), Some(b"a".to_vec()), "{key}");
        }
        assert_eq!((base64url(b"a?>"), unbase64url("YT8-")), ("YT8-".to_owned(), Some(b"a?>".to_vec())));
        assert_eq!((unbase64url("YT8+"), unbase64url("YQ==")), (None, None));
    }

    #[test]
    fn hex_is_written_in_lower_case_and_read_in_either() {
        assert_eq!(hex(&[0, 171, 255]), "00abff");
        assert_eq!(unhex("00aBFf"), Some(vec![0, 171, 255]));
        for wrong in ["0", "0g", "+1", "00 ", "é9"] {
            assert_eq!(unhex(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_parts_of_a_digest_are_joined() {
        assert_eq!(sha256(&["a", "bc"]), sha256(&["abc"]));
    }
}
