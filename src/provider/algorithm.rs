//! The algorithms that sign a delivery, and how a signature is encoded.

use std::borrow::Cow;

use super::keyword::keywords;
use crate::digest;

/// How many public-key signatures of one delivery are tried: each is checked over the whole message.
const MAX_PUBLIC_KEY_CANDIDATES: usize = 4;

keywords! {
    pub enum Algorithm {
        HmacSha1 = "hmac-sha1",
        HmacSha256 = "hmac-sha256",
        HmacSha512 = "hmac-sha512",
        /// A plain hash of a text that contains the secret.
        Sha256 = "sha256",
        /// The secret itself.
        Token = "token",
        Ed25519 = "ed25519",
        EcdsaP256Sha256 = "ecdsa-p256-sha256",
    }
}

impl Algorithm {
    /// The signature of the message. `None` where signing takes the provider's private key.
    pub fn tag(self, key: &[u8], message: &[Cow<'_, [u8]>]) -> Option<Vec<u8>> {
        match self {
            Algorithm::HmacSha1 => Some(digest::hmac(digest::SHA1, key, message)),
            Algorithm::HmacSha256 => Some(digest::hmac(digest::SHA256, key, message)),
            Algorithm::HmacSha512 => Some(digest::hmac(digest::SHA512, key, message)),
            Algorithm::Sha256 => Some(digest::sha256(message)),
            Algorithm::Token => Some(key.to_vec()),
            Algorithm::Ed25519 | Algorithm::EcdsaP256Sha256 => None,
        }
    }

    /// Whether any of the candidates is the signature of the message under the key.
    pub fn accepts(self, key: &[u8], message: &[Cow<'_, [u8]>], candidates: &[Vec<u8>]) -> bool {
        if let Some(tag) = self.tag(key, message) {
            return candidates.iter().any(|candidate| digest::equal(&tag, candidate));
        }
        let message = message.concat();
        candidates.iter().take(MAX_PUBLIC_KEY_CANDIDATES).any(|candidate| match self {
            Algorithm::Ed25519 => digest::ed25519_verifies(key, &message, candidate),
            _ => digest::p256_verifies(key, &message, candidate),
        })
    }
}

keywords! {
    pub enum Encoding {
        /// In either case.
        Hex = "hex",
        /// Strict, with padding.
        Base64 = "base64",
    }
}

impl Encoding {
    pub fn decode(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Encoding::Hex => digest::unhex(text),
            Encoding::Base64 => digest::unbase64(text),
        }
    }

    pub fn encode(self, bytes: &[u8]) -> String {
        match self {
            Encoding::Hex => digest::hex(bytes),
            Encoding::Base64 => digest::base64(bytes),
        }
    }
}
