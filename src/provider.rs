//! What providers sign, where they put their ids, how they test an address (handshakes), and which of their headers carry
//! secrets: a table of presets ([`presets`]), and one pure function that verifies by them ([`verify`]). A scheme that the
//! table cannot express is one small file. A provider that fits the scheme is added as one entry of the table.

mod adyen;
mod algorithm;
mod batch;
mod describe;
mod error;
mod event_types;
mod format;
mod graph;
pub mod handshake;
mod key;
mod keyword;
mod netlify;
mod parts;
mod preset;
mod presets;
mod recover;
mod redact;
mod request;
mod scheme;
mod selector;
mod test_delivery;
mod texts;
mod timestamp;
mod twilio;
mod unsigned;
mod unsupported;
mod verification;
mod verifier;

pub use algorithm::Algorithm;
pub use describe::{contract, summary, unknown, unsigned_summary, verification_text};
pub use error::VerifyError;
pub use format::{Format, Variable};
pub use keyword::Keyword;
pub use parts::{Parts, Reading, Values};
pub use preset::{Preset, THE_SENDERS_OWN, WithoutId};
pub use presets::{preset, presets};
pub use recover::{Paging, Recovery, SentRequest, recoverable, recovery};
pub use redact::{REDACTED, Redaction, is_secret_header};
pub use scheme::Scheme;
pub use selector::Selector;
pub use test_delivery::TestDelivery;
pub use texts::text;
pub use unsupported::{UNSUPPORTED, unsupported};
pub use verification::Verification;
pub use verifier::{Verifier, verify};

#[cfg(test)]
mod tests;
