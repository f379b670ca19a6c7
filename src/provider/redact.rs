//! Which header fields carry secrets, so that their values are neither stored nor shown nor sent on: by the name of the
//! field, by an address in it with a secret parameter, and by the source's own secrets.
//!
//! Kept is what a preset reads as id, event type, timestamp or signature: other receivers need it.

use std::borrow::Cow;

use super::algorithm::Algorithm;
use super::format::Format;
use super::key::KeyEncoding;
use super::presets::presets;
use super::selector::Selector;
use super::verifier::Verifier;
use crate::charset::Charset;
use crate::digest;
use crate::secret::Secret;

/// Stored in place of a secret.
pub const REDACTED: &str = "[redacted]";

/// Anywhere in a name, they say that the value is a secret.
const SECRET_PARTS: [&str; 9] =
    ["secret", "token", "password", "passwd", "passphrase", "credential", "cookie", "session", "authoriz"];

/// They say so as a whole word of a name: `X-Auth`, but not `X-Author`.
const SECRET_WORDS: [&str; 13] = [
    "auth",
    "authentication",
    "oauth",
    "pass",
    "passcode",
    "pwd",
    "otp",
    "jwt",
    "bearer",
    "csrf",
    "xsrf",
    "key",
    "keys",
];

/// So do words that end like this, or with an `s` more: names are often sent in lower case, without a boundary.
const SECRET_ENDINGS: [&str; 6] = ["apikey", "accesskey", "privatekey", "authkey", "sharedkey", "signingkey"];

/// In a name that is not of a secret: of `Idempotency-Key`, of one that says which key was used, and of keys by which
/// messages are spread, caches are purged and WebSockets are opened.
const PUBLIC_PARTS: [&str; 6] =
    ["idempotency", "key-id", "partition-key", "routing-key", "surrogate-key", "websocket-key"];

/// What such a name ends with is public, whatever key or kind of authentication it is of.
const SIGNATURE: &str = "signature";

/// Further parameters of an address that let anyone in who knows them: of signed addresses, of cloud functions.
const SECRET_PARAMETERS: [&str; 4] = ["sig", "signature", "code", "sid"];

/// A shorter secret may be a part of any text by chance: it is looked for as a whole word only.
const MIN_PART_BYTES: usize = 8;

/// What separates words in the value of a field.
const SEPARATORS: [char; 8] = [' ', '\t', '=', ',', ';', '&', ':', '"'];

/// What a source's header fields must not show.
pub struct Redaction<'a> {
    verifier: &'a Verifier,
    /// As text, in every form in which the sender may write them.
    secrets: Vec<Cow<'a, [u8]>>,
    /// The length of the shortest. What is shorter shows none, nor does what it encodes, which is shorter still.
    shortest_bytes: usize,
}

impl Verifier {
    /// `secrets` are the source's keys, and others that it has.
    pub fn redaction<'a>(
        &'a self,
        keys: &'a [Secret],
        others: impl IntoIterator<Item = &'a Secret, IntoIter: Clone>,
    ) -> Redaction<'a> {
        let is_public = matches!(self.scheme.alg, Algorithm::Ed25519 | Algorithm::EcdsaP256Sha256);
        let keys = keys.iter().filter(|_| !is_public).map(Secret::as_bytes);
        let others = others.into_iter().map(Secret::as_bytes);
        let written = keys.clone().filter_map(|key| written(key, self.scheme.key));
        let all = keys.chain(others);
        let written: Vec<Vec<u8>> = written.chain(all.clone().filter_map(as_text)).collect();
        let secrets: Vec<_> = all.map(Cow::Borrowed).chain(written.into_iter().map(Cow::Owned)).collect();
        let shortest_bytes = secrets.iter().map(|secret| secret.len()).min().unwrap_or(usize::MAX);
        Redaction { verifier: self, secrets, shortest_bytes }
    }

    /// Whether it reads an id, an event type, a timestamp or a signature from the header of that name.
    fn reads(&self, name: &str) -> bool {
        let formats = self.id.iter().chain(&self.event).chain([&self.scheme.signed]).flat_map(Format::selectors);
        formats.chain([&self.scheme.sig]).chain(&self.scheme.ts).any(|selector| is_header(selector, name))
    }

    /// Whether the header of that name holds the secret itself.
    fn has_token_in(&self, name: &str) -> bool {
        self.scheme.alg == Algorithm::Token && is_header(&self.scheme.sig, name)
    }
}

impl Redaction<'_> {
    /// Whether the value of this field must not be stored.
    pub fn hides(&self, name: &str, value: &str) -> bool {
        self.has_secret(name, value)
            || (is_secret_name(name) || has_secret_parameter(name, value)) && !self.is_read(name)
    }

    /// Whether the value is, or shows, a secret of this source.
    pub fn has_secret(&self, name: &str, value: &str) -> bool {
        // A value that is read, such as an event type, may equal a short secret by chance.
        let may_hide = |secret: &[u8]| secret.len() >= MIN_PART_BYTES || !self.is_read(name);
        let readings = if value.len() < self.shortest_bytes { vec![] } else { readings(value, self.shortest_bytes) };
        let is_shown = |secret: &[u8]| readings.iter().any(|reading| shows(reading, secret));
        self.verifier.has_token_in(name) || self.secrets.iter().any(|secret| is_shown(secret) && may_hide(secret))
    }

    fn is_read(&self, name: &str) -> bool {
        self.verifier.reads(name) || is_read_by_a_preset(name)
    }
}

/// Whether the value of a header of that name must not be shown, for any source.
pub fn is_secret_header(name: &str) -> bool {
    is_secret_name(name) && !is_read_by_a_preset(name)
}

/// A key as the provider shows it, where that is not text.
fn written(key: &[u8], encoding: KeyEncoding) -> Option<Vec<u8>> {
    match encoding {
        KeyEncoding::Utf8 => None,
        KeyEncoding::Base64 => Some(digest::base64(key).trim_end_matches('=').as_bytes().to_vec()),
        KeyEncoding::Hex => Some(digest::hex(key).into_bytes()),
    }
}

/// A secret as values that are not UTF-8 are read, if it is not UTF-8 either.
fn as_text(secret: &[u8]) -> Option<Vec<u8>> {
    match Charset::decode(secret.to_vec()) {
        (text, Charset::Latin1) => Some(text.into_bytes()),
        (_, Charset::Utf8) => None,
    }
}

fn is_header(selector: &Selector, name: &str) -> bool {
    selector.places().iter().any(|place| matches!(place, Selector::Header(header) if header.eq_ignore_ascii_case(name)))
}

fn is_read_by_a_preset(name: &str) -> bool {
    presets().any(|preset| preset.id.iter().chain(preset.event).any(|text| names_header(text, name)))
}

/// Whether the text of a selector, or of a format with one, names this header.
fn names_header(text: &str, name: &str) -> bool {
    let mut headers = text.split(['|', '{', '}']).filter_map(|place| place.strip_prefix("header:"));
    headers.any(|header| header.eq_ignore_ascii_case(name))
}

/// Whether a field or a parameter of that name holds a secret.
fn is_secret_name(name: &str) -> bool {
    let (whole, split) = (normalised(name), normalised(&split_at_capitals(name)));
    let spellings = if split == whole { vec![whole] } else { vec![whole, split] };
    let has_any = |parts: &[&str]| spellings.iter().any(|name| parts.iter().any(|part| name.contains(part)));
    let is_signature = || spellings[0].ends_with(SIGNATURE);
    let has_secret_word = || spellings.iter().flat_map(|name| name.split('-')).any(is_secret_word);
    (has_any(&SECRET_PARTS) || (has_secret_word() && !is_signature())) && !has_any(&PUBLIC_PARTS)
}

fn is_secret_word(word: &str) -> bool {
    let singular = word.strip_suffix('s').unwrap_or(word);
    SECRET_WORDS.contains(&word) || SECRET_ENDINGS.iter().any(|ending| singular.ends_with(ending))
}

fn normalised(name: &str) -> String {
    name.chars().map(|letter| if letter == '_' { '-' } else { letter.to_ascii_lowercase() }).collect()
}

/// `WebhookKey` as `Webhook-Key`.
fn split_at_capitals(name: &str) -> String {
    let mut split = String::with_capacity(name.len());
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && split.ends_with(|before: char| before.is_ascii_lowercase()) {
            split.push('-');
        }
        split.push(letter);
    }
    split
}

/// Whether the value is, or contains, an address with a password or a parameter that is a secret.
fn has_secret_parameter(name: &str, value: &str) -> bool {
    let query = match value.split_once(['?', ';', '#']) {
        Some((_, query)) => query,
        None if name.to_ascii_lowercase().contains("query") => value,
        None => "",
    };
    has_password(value) || has_secret_pair(query) || pairs(query).any(|(_, value)| is_secret_address(&value))
}

/// Whether the value of a parameter, such as `?next=`, is an address with a secret in it.
fn is_secret_address(value: &str) -> bool {
    has_password(value) || value.split_once('?').is_some_and(|(_, query)| has_secret_pair(query))
}

fn has_secret_pair(query: &str) -> bool {
    let is_known = |name: &str| SECRET_PARAMETERS.iter().any(|known| known.eq_ignore_ascii_case(name));
    pairs(query).any(|(name, _)| is_secret_name(name.trim()) || is_known(name.trim()))
}

fn pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    query.split([';', '#']).flat_map(|query| form_urlencoded::parse(query.as_bytes()))
}

/// `https://user:password@host`
fn has_password(text: &str) -> bool {
    text.split("://").skip(1).any(|rest| {
        let authority = rest.split(['/', '?', '#', ' ', '"', '>']).next().unwrap_or_default();
        authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
    })
}

/// Whether a reading of a value shows the secret.
fn shows(reading: &[u8], secret: &[u8]) -> bool {
    if secret.len() >= MIN_PART_BYTES {
        return digest::contains(reading, secret);
    }
    let is_secret = |word: &str| word.len() == secret.len() && digest::contains(word.as_bytes(), secret);
    str::from_utf8(reading).is_ok_and(|text| text.split(SEPARATORS).chain([text]).any(is_secret))
}

/// The value as it is, without its escapes, without the escapes of escapes, and what is encoded in each of these in
/// `min_bytes` or more.
fn readings(value: &str, min_bytes: usize) -> Vec<Vec<u8>> {
    let once = unescaped(value);
    let twice = once.iter().flat_map(|text| unescaped(text)).collect();
    let texts = [vec![value.to_owned()], once, twice].concat();
    let decoded = |text: &String| [from_base64(text, min_bytes), from_hex(text, min_bytes)].concat();
    let decoded: Vec<Vec<u8>> = texts.iter().flat_map(decoded).collect();
    texts.into_iter().map(String::into_bytes).chain(decoded).collect()
}

/// The names and values of the pairs in a text with escapes.
fn unescaped(text: &str) -> Vec<String> {
    if !text.contains(['%', '+']) {
        return Vec::new();
    }
    let pairs = form_urlencoded::parse(text.as_bytes());
    pairs.flat_map(|(name, value)| [name.into_owned(), value.into_owned()]).collect()
}

/// What the words in base64, of either alphabet, encode. Where a path or a prefix touches the encoded text, its first digit
/// is unknown: each of the four positions in a group is tried.
fn from_base64(text: &str, min_bytes: usize) -> Vec<Vec<u8>> {
    let decoded = |word: &str| {
        let word = word.replace('-', "+").replace('_', "/");
        let parts = (0..4).filter_map(|start| word.get(start..));
        // A single last digit encodes no byte.
        let whole = parts.map(|part| &part[..part.len() - usize::from(part.len() % 4 == 1)]);
        whole.filter_map(digest::unbase64_key).collect::<Vec<_>>()
    };
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "+/-_".contains(letter);
    words(text, min_bytes.saturating_mul(4) / 3, is_letter).flat_map(decoded).collect()
}

/// The same for hexadecimal, with two positions.
fn from_hex(text: &str, min_bytes: usize) -> Vec<Vec<u8>> {
    let decoded = |word: &str| {
        let parts = (0..2).filter_map(|start| word.get(start..));
        parts.filter_map(|part| digest::unhex(&part[..part.len() & !1])).collect::<Vec<_>>()
    };
    words(text, min_bytes.saturating_mul(2), |letter| letter.is_ascii_hexdigit()).flat_map(decoded).collect()
}

/// The parts of a text that consist of these letters and are long enough to encode a secret.
fn words(text: &str, min_letters: usize, is_letter: impl Fn(char) -> bool) -> impl Iterator<Item = &str> {
    let min_letters = min_letters.max(MIN_PART_BYTES);
    text.split(move |letter| !is_letter(letter)).filter(move |word| word.len() >= min_letters)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::preset;

    /// Whether a source of this provider with this secret hides the field.
    fn hides(provider: &str, secret: &str, name: &str, value: &str) -> bool {
        let verifier = preset(provider).unwrap().verifier().unwrap();
        let secret = Secret::new(secret.as_bytes().to_vec()).unwrap();
        let keys = [verifier.scheme.key(&secret).unwrap()];
        verifier.redaction(&keys, []).hides(name, value)
    }

    #[test]
    fn a_name_says_that_its_value_is_a_secret() {
        for name in [
            "Authorization",
            "Proxy-Authorization",
            "Cookie",
            "Set-Cookie",
            "X-Api-Key",
            "apikey",
            "Ocp-Apim-Subscription-Key",
            "X-Auth",
            "X-Auth-Token",
            "X_AUTH_TOKEN",
            "X-Gitlab-Token",
            "X-Buildkite-Token",
            "X-GitHub-Encoded-Secret",
            "X-Webhook-Secret",
            "X-Password",
            "X-Passwd",
            "X-User-Pass",
            "X-Credentials",
            "X-Session-Id",
            "Cf-Access-Jwt-Assertion",
            "X-Amz-Security-Token",
            "X-CSRF-Token",
            "ApiKey",
            "api_key",
            "X-Secret",
            "X-Access-Key",
            "X-AuthKey",
            "x-apikeys",
            "X-SecretKey",
            "X-PrivateKey",
            "X-WebhookKey",
        ] {
            assert!(is_secret_header(name), "{name}");
        }
        for name in [
            "X-Hub-Signature-256",
            "X-GitHub-Event",
            "Content-Type",
            "Idempotency-Key",
            "X-Idempotency-Key",
            "I-Twilio-Idempotency-Token",
            "X-Hub-Key-Id",
            "Github-Public-Key-Identifier",
            "Github-Public-Key-Signature",
            "X-Event-Key",
            "X-Author",
            "Keep-Alive",
            "X-Compass",
            "X-Partition-Key",
            "Ce-PartitionKey",
            "X-Routing-Key",
            "X-RoutingKey",
            "Surrogate-Key",
            "Sec-WebSocket-Key",
            "X-Monkey",
            "X-Turkey",
            "User-Agent",
            "traceparent",
        ] {
            assert!(!is_secret_header(name), "{name}");
        }
    }

    #[test]
    fn the_header_in_which_a_provider_sends_its_secret_has_such_a_name() {
        for preset in super::presets().filter(|preset| preset.alg == Algorithm::Token && preset.custom.is_none()) {
            let name = preset.sig.split('|').next().and_then(|place| place.strip_prefix("header:")).unwrap();
            assert!(is_secret_header(name), "{}: {name}", preset.name);
        }
    }

    #[test]
    fn an_address_says_that_it_holds_a_secret() {
        for (name, value) in [
            ("Referer", "https://h.test/p?token=abc"),
            ("X-Original-URI", "/webhooks/hub?a=1&access_token=abc"),
            ("X-Forwarded-Uri", "/webhooks/hub?%74oken=abc"),
            ("X-Rewrite-Url", "/p?next=%2Flogin%3Fapi_key%3Dabc"),
            ("X-Query-String", "a=1&password=abc"),
            ("Referer", "https://h.test/p;jsessionid=abc"),
            ("Referer", "https://h.test/p#access_token=abc"),
            ("X-Note", "a; token=abc"),
            ("Referer", "https://h.test/f?a=1;sig=abc"),
            ("Origin", "https://me:abc@h.test"),
            ("Link", "<https://h.test/a?page=2>, <https://h.test/a?key=abc>; rel=next"),
        ] {
            assert!(hides("github", "copper-lantern", name, value), "{name}: {value}");
        }
        for (name, value) in [
            ("Referer", "https://h.test/p?page=2"),
            ("X-Original-URI", "/webhooks/hub"),
            ("Accept", "text/html;q=0.8, */*"),
            ("Content-Type", "multipart/form-data; boundary=a"),
            ("Signature-Input", "sig1=(\"@method\");created=1;keyid=\"a\""),
            ("Stripe-Signature", "t=1,v1=ab,token=x"),
            ("From", "me@h.test"),
            ("User-Agent", "bot (+https://h.test/bot?)"),
        ] {
            assert!(!hides("github", "copper-lantern", name, value), "{name}: {value}");
        }
    }

    #[test]
    fn a_secret_of_the_source_is_hidden_wherever_it_stands() {
        for value in ["copper-lantern", "x copper-lantern!", "/p?k=copper-lantern", "a=copper%2Dlantern"] {
            assert!(hides("github", "copper-lantern", "X-Note", value), "{value}");
        }
        assert!(hides("github", "copper-lantern", "X-GitHub-Delivery", "copper-lantern"));
        assert!(!hides("github", "copper-lantern", "X-Note", "copper lantern"));
        assert!(hides(
            "svix",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "X-Note",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
        ));
        let key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        assert!(!hides("discord", key, "X-Note", key), "a public key is none");
    }

    #[test]
    fn a_secret_of_the_source_is_hidden_in_every_encoding() {
        let secret = "copper-lantern?>";
        let percent = "copper%252Dlantern%253F%253E";
        let hex = digest::hex(secret.as_bytes());
        let within = digest::base64(b"user:copper-lantern?>");
        for value in [
            digest::base64(secret.as_bytes()),
            digest::base64url(secret.as_bytes()),
            digest::base64(b"a?>copper-lantern?>"),
            digest::base64url(b"a?>copper-lantern?>"),
            digest::base64(b"\xff\xfecopper-lantern?>\xff"),
            format!("Basic {within}"),
            format!("key={within}; x=1"),
            format!("/p?next=%2Fa%3Fk%3D{}", within.replace('=', "%3D")),
            format!("<{within}>"),
            hex.to_uppercase(),
            format!("0x{hex}"),
            format!("id:{}", digest::hex(b"user:copper-lantern?>!")),
            percent.to_owned(),
            format!("/p?k={percent}"),
            hex,
        ] {
            assert!(hides("github", secret, "X-Note", &value), "{value}");
        }
        for value in
            [digest::base64(b"copper lantern"), digest::hex(b"copper lantern"), "copper%252Blantern".to_owned()]
        {
            assert!(!hides("github", secret, "X-Note", &value), "{value}");
        }
        let encoded = digest::base64(secret.as_bytes());
        assert!(hides("github", secret, "X-GitHub-Delivery", &encoded), "as one that is not encoded");
        assert!(hides("hmac", "hush", "X-Note", &digest::base64(b"me:hush")));
        assert!(!hides("hmac", "hush", "X-Note", &digest::base64(b"hushed up")));
        assert!(!hides("github", "push", "X-GitHub-Event", &digest::base64(b"me:push")));
    }

    #[test]
    fn a_secret_that_is_no_text_is_hidden_in_a_value_that_is_none() {
        let verifier = preset("hmac").unwrap().verifier().unwrap();
        let secret = [Secret::new(b"schl\xfcsselbund".to_vec()).unwrap()];
        assert!(verifier.redaction(&secret, []).hides("X-Note", "my schlüsselbund"));
        assert!(verifier.redaction(&[], &secret).hides("X-Note", "my schlüsselbund"));
    }

    #[test]
    fn a_short_secret_is_hidden_as_a_word_and_not_as_a_part_of_others() {
        for value in ["k", "Bearer k", "/p?k=k", "a:k"] {
            assert!(hides("hmac", "k", "X-Note", value), "{value}");
        }
        assert!(!hides("hmac", "k", "X-Note", "kk"));
        assert!(!hides("hmac", "json", "Content-Type", "application/json"));
        assert!(!hides("github", "push", "X-GitHub-Event", "push"), "another receiver needs the event type");
    }

    #[test]
    fn what_a_source_reads_is_kept_unless_it_is_the_secret() {
        assert!(!hides("teams-outgoing", "AAAA", "Authorization", "HMAC YWJj"), "a signature");
        assert!(hides("github", "copper-lantern", "Authorization", "Basic YWJj"));
        assert!(hides("token", "brass-kettle", "authorization", "Bearer brass-kettle"));
        let mut verifier = preset("hmac").unwrap().verifier().unwrap();
        verifier.id = vec![Format::parse_value("header:X-Delivery-Token").unwrap()];
        assert!(!verifier.redaction(&[], []).hides("X-Delivery-Token", "17"));
        assert!(verifier.redaction(&[], []).hides("X-Other-Token", "17"));
    }
}
