//! Texts that `packed/pack.rs` has packed for the binary.

use std::io::Read;

use flate2::read::ZlibDecoder;

/// The text of a packed file, by its name: a [`std::sync::LazyLock`] of a string.
macro_rules! packed {
    ($($name:tt)+) => {
        std::sync::LazyLock::new(|| $crate::packed::unpacked(include_bytes!(concat!(env!("OUT_DIR"), "/", $($name)+))))
    };
}
pub(crate) use packed;

pub fn unpacked(packed: &[u8]) -> String {
    let mut text = String::new();
    let outcome = ZlibDecoder::new(packed).read_to_string(&mut text);
    debug_assert!(outcome.is_ok(), "{outcome:?}");
    text
}
