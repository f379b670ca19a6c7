//! Message authentication codes, digests and their encodings. The only constant-time compare is here.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac};

/// True if `tag` is the HMAC-SHA256 of `message` under `key`. Compared in constant time, at full length.
pub fn hmac_sha256_matches(key: &[u8], message: &[u8], tag: &[u8]) -> bool {
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key), message, tag).is_ok()
}

/// The HMAC-SHA256 of `message` under `key` (RFC 2104).
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec()
}

/// The SHA-256 of the parts one after another.
pub fn sha256(parts: &[&[u8]]) -> Vec<u8> {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    context.finish().as_ref().to_vec()
}

/// Random bytes that nobody can guess.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the system has a source of random bytes");
    bytes
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

/// Base64 with padding, read strictly; `None` for anything else.
pub fn unbase64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_example_of_github_is_reproduced() {
        // https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
        let (secret, payload) = (b"It's a Secret to Everybody", b"Hello, World!");
        let tag = unhex("757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17").unwrap();
        assert_eq!(hmac_sha256(secret, payload), tag);
        assert!(hmac_sha256_matches(secret, payload, &tag));
    }

    #[test]
    fn a_tag_matches_only_whole_and_unchanged() {
        let mut tag = hmac_sha256(b"key", b"message");
        assert!(!hmac_sha256_matches(b"key", b"message", &tag[..31]));
        assert!(!hmac_sha256_matches(b"key", b"message", b""));
        tag[31] ^= 1;
        assert!(!hmac_sha256_matches(b"key", b"message", &tag));
    }

    #[test]
    fn hex_is_written_low_and_read_in_any_case() {
        assert_eq!(hex(&[0, 171, 255]), "00abff");
        assert_eq!(unhex("00aBFf"), Some(vec![0, 171, 255]));
        for wrong in ["0", "0g", "+1", "00 ", "é9"] {
            assert_eq!(unhex(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_parts_of_a_digest_are_joined() {
        assert_eq!(sha256(&[b"a", b"bc"]), sha256(&[b"abc"]));
    }
}
