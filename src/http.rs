//! Requests and responses between a gate and the thread that answers them. tiny_http stands between the two, on a Unix
//! socket; bodies pass beside it. Both ends of that hop are defined here side by side, so that they cannot disagree.

pub mod blocks;
pub mod bodies;
pub mod client;
pub mod form;
pub mod forwarding;
mod path;
pub mod refused;

use std::borrow::Cow;
use std::fmt;
use std::io::Cursor;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use log::debug;

pub use path::normal_path;

use crate::charset::Charset;
use bodies::{Bodies, UnreadBody};

/// The field in which the gate passes on the client's address. A client's own field of that name is dropped.
pub const PEER_HEADER: &str = "X-Gate-Peer";

/// The field in which the gate passes on the version of a client that speaks HTTP/1.0; the gate itself speaks HTTP/1.1.
pub const VERSION_HEADER: &str = "X-Gate-Version";

/// The field in which the gate names the body of a request, by its number among the [`Bodies`].
pub const BODY_HEADER: &str = "X-Gate-Body";

/// The fields that only the gate may set.
pub const GATE_HEADERS: [&str; 3] = [PEER_HEADER, VERSION_HEADER, BODY_HEADER];

/// The request by which the gate proves an upstream connection, to be answered at once with 200 or 204. No client can send
/// it: from clients the gate takes only `*` and targets that begin with `/`.
pub const PROBE: &[u8] = b"GET gate HTTP/1.1\r\nHost: gate\r\nContent-Length: 0\r\n\r\n";
const PROBE_TARGET: &str = "gate";

/// The target of a request about the server as a whole (RFC 9112, section 3.2.4).
pub const SERVER_TARGET: &str = "*";

/// tiny_http takes ASCII only. The gate writes a byte above 127 of a value or of the target as this character and two
/// hexadecimal digits. It refuses DEL in what clients send, so that no client can write such an escape.
const ESCAPE: char = '\x7f';
const ESCAPE_DIGITS: usize = 2;

/// The bytes as the gate writes them in values and in the target.
pub fn escaped(bytes: &[u8]) -> Cow<'_, [u8]> {
    if bytes.is_ascii() {
        return Cow::Borrowed(bytes);
    }
    let byte = |byte: &u8| match byte.is_ascii() {
        true => char::from(*byte).to_string(),
        false => format!("{ESCAPE}{byte:02x}"),
    };
    Cow::Owned(bytes.iter().map(byte).collect::<String>().into_bytes())
}

/// The bytes of which this is the [`escaped`] form.
fn unescaped(text: &str) -> Vec<u8> {
    let mut parts = text.split(ESCAPE);
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for (digits, rest) in parts.filter_map(|part| part.split_at_checked(ESCAPE_DIGITS)) {
        bytes.extend(u8::from_str_radix(digits, 16));
        bytes.extend_from_slice(rest.as_bytes());
    }
    bytes
}

/// The path of health checks.
pub const HEALTH_PATH: &str = "/healthz";

/// The longest response, head and body together, that the gate takes from upstream.
pub const MAX_RESPONSE_BYTES: usize = 1024 * 1024;

/// To check a larger body takes up to a hundred milliseconds. The gate has one such request in flight at a time, and the
/// receiver has it checked on another thread and stores it in a transaction of its own, so that small deliveries do not
/// wait.
const LARGE_BODY_BYTES: u64 = 1024 * 1024;

/// Whether a body is large, or may be when it is decompressed.
pub fn is_large(body_bytes: u64, is_compressed: bool) -> bool {
    body_bytes > LARGE_BODY_BYTES || is_compressed
}

/// Whether this value of `Content-Encoding` says that the body is compressed.
pub fn is_compression(coding: &[u8]) -> bool {
    !coding.eq_ignore_ascii_case(b"identity")
}

/// The header fields of a request, in the order and spelling in which they came. Names compare without case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<Field>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Field {
    name: String,
    value: String,
    charset: Charset,
}

impl Headers {
    pub fn new(fields: Vec<(String, String)>) -> Headers {
        Headers(fields.into_iter().map(|(name, value)| Field { name, value, charset: Charset::Utf8 }).collect())
    }

    /// The value of the first field of that name, as text.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// The values of every field of that name, as text.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.named(name).map(|field| field.value.as_str())
    }

    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// How the bytes of the first field of that name became text.
    pub fn charset(&self, name: &str) -> Charset {
        self.named(name).next().map(|field| field.charset).unwrap_or_default()
    }

    /// The media type of `Content-Type`, without its parameters; empty where there is none.
    pub fn media_type(&self) -> &str {
        self.get("Content-Type").unwrap_or_default().split(';').next().unwrap_or_default().trim()
    }

    /// Names, and values as text.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|field| (field.name.as_str(), field.value.as_str()))
    }

    /// Names, and the bytes of values as they came.
    pub fn bytes(&self) -> impl Iterator<Item = (&str, Cow<'_, [u8]>)> {
        self.0.iter().map(|field| (field.name.as_str(), field.charset.bytes(field.value.as_str())))
    }

    fn named<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Field> {
        self.0.iter().filter(|field| field.name.eq_ignore_ascii_case(name))
    }
}

/// The client's end of a connection to the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Tcp(SocketAddr),
    /// Through a Unix socket, which has no addresses.
    Unix,
}

const UNIX_PEER: &str = "unix";

impl From<SocketAddr> for Peer {
    /// A listener on `[::]` sees IPv4 peers as `::ffff:203.0.113.9`; people and rules know them as 203.0.113.9.
    fn from(address: SocketAddr) -> Peer {
        Peer::Tcp(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }
}

/// As the gate writes it into [`PEER_HEADER`].
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(address) => address.fmt(f),
            Peer::Unix => f.write_str(UNIX_PEER),
        }
    }
}

impl Peer {
    /// Reads the value of [`PEER_HEADER`].
    pub fn parse(text: &str) -> Option<Peer> {
        if text == UNIX_PEER { Some(Peer::Unix) } else { text.parse().ok().map(SocketAddr::into) }
    }

    /// A client on a Unix socket is on this machine.
    pub fn ip(self) -> IpAddr {
        match self {
            Peer::Tcp(address) => address.ip(),
            Peer::Unix => Ipv4Addr::LOCALHOST.into(),
        }
    }
}

/// The receiving end of a gate's upstream connections.
#[derive(Clone)]
pub struct Server {
    heads: Arc<tiny_http::Server>,
    bodies: Bodies,
}

impl Server {
    pub fn listen(socket: &Path) -> Result<Server, Box<dyn std::error::Error + Send + Sync>> {
        let heads = Arc::new(tiny_http::Server::http_unix(socket)?);
        Ok(Server { heads, bodies: Bodies::default() })
    }

    /// Where the gate puts the bodies.
    pub fn bodies(&self) -> Bodies {
        self.bodies.clone()
    }

    /// Waits for the next request. `None` after [`Server::unblock`], unless [`Server::try_recv`] has consumed it.
    pub fn recv(&self) -> Option<Responder> {
        self.heads.recv().ok().map(|head| self.responder(head))
    }

    /// The next request, if one waits.
    pub fn try_recv(&self) -> Option<Responder> {
        self.heads.try_recv().ok().flatten().map(|head| self.responder(head))
    }

    fn responder(&self, head: tiny_http::Request) -> Responder {
        let number = value(head.headers(), BODY_HEADER).and_then(|number| number.parse().ok());
        Responder { head: Box::new(head), body: number.map(|number| self.bodies.get(number)) }
    }

    /// Makes one [`Server::recv`] return.
    pub fn unblock(&self) {
        self.heads.unblock();
    }
}

/// A request with its body.
#[derive(Debug, PartialEq, Eq)]
pub struct Inbound {
    pub method: String,
    /// Path and query as they came, as text.
    pub target: String,
    /// As the client sent them, but for those that concern the connection. `Host` is the authority of an absolute target.
    pub headers: Headers,
    /// `None` if the gate's field cannot be parsed, which does not happen.
    pub peer: Option<Peer>,
    /// The client speaks HTTP/1.0, not HTTP/1.1.
    pub is_http_1_0: bool,
    pub body: Vec<u8>,
    /// False if the gate has removed the body, because no one waits for the response any more.
    pub is_complete: bool,
}

impl Inbound {
    /// The path in the spelling by which it is matched.
    pub fn normal_path(&self) -> Cow<'_, str> {
        normal_path(path_of(&self.target))
    }
}

/// The right to answer one request once.
pub struct Responder {
    /// Boxed, because it is large and often moved.
    head: Box<tiny_http::Request>,
    /// Waits until [`Responder::read`]; `None` where there is none.
    body: Option<UnreadBody>,
}

impl Responder {
    pub fn method(&self) -> &str {
        self.head.method().as_str()
    }

    /// The path as it came, as text.
    pub fn path(&self) -> String {
        path_of(&Charset::decode(unescaped(self.head.url())).0).to_owned()
    }

    /// Whether this is the [`PROBE`].
    pub fn is_probe(&self) -> bool {
        self.head.url() == PROBE_TARGET
    }

    /// Whether the request is about the server as a whole.
    pub fn is_about_server(&self) -> bool {
        self.head.url() == SERVER_TARGET
    }

    /// Whether the body is [large](is_large).
    pub fn is_large(&self) -> bool {
        let coding = value(self.head.headers(), "Content-Encoding");
        let body_bytes = self.body.as_ref().map_or(0, UnreadBody::bytes);
        is_large(body_bytes, coding.is_some_and(|coding| is_compression(coding.as_bytes())))
    }

    /// Reads the request. A second call finds no body.
    pub fn read(&mut self) -> Inbound {
        let body = self.body.as_mut().map_or(Some(Vec::new()), UnreadBody::read);
        let is_complete = body.is_some();
        let body = body.unwrap_or_default();
        let all = self.head.headers();
        let is_clients = |header: &&tiny_http::Header| !GATE_HEADERS.iter().any(|name| header.field.equiv(name));
        let length = Field { name: "Content-Length".to_owned(), value: body.len().to_string(), charset: Charset::Utf8 };
        Inbound {
            method: self.method().to_owned(),
            target: Charset::decode(unescaped(self.head.url())).0,
            headers: Headers(all.iter().filter(is_clients).map(Field::of).chain([length]).collect()),
            peer: value(all, PEER_HEADER).and_then(Peer::parse),
            is_http_1_0: value(all, VERSION_HEADER).is_some(),
            body,
            is_complete,
        }
    }

    /// Sends the response. If it cannot be delivered, a provider repeats the request.
    pub fn respond<'a>(
        self,
        status: u16,
        headers: impl IntoIterator<Item = (&'a str, &'a str)>,
        body: impl Into<Vec<u8>>,
    ) {
        let headers =
            headers.into_iter().filter_map(|(name, value)| tiny_http::Header::from_bytes(name, value).ok()).collect();
        let body = body.into();
        let length = Some(body.len());
        let response = tiny_http::Response::new(status.into(), headers, Cursor::new(body), length, None);
        // The gate takes no chunks.
        if let Err(error) = self.head.respond(response.with_chunked_threshold(usize::MAX)) {
            debug!("the answer did not reach the gate: {error}");
        }
    }
}

impl Field {
    fn of(header: &tiny_http::Header) -> Field {
        let (value, charset) = Charset::decode(unescaped(header.value.as_str()));
        Field { name: header.field.as_str().to_string(), value, charset }
    }
}

/// The value of the first field of that name.
fn value<'a>(headers: &'a [tiny_http::Header], name: &'static str) -> Option<&'a str> {
    headers.iter().find(|header| header.field.equiv(name)).map(|header| header.value.as_str())
}

fn path_of(target: &str) -> &str {
    target.split(['?', '#']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_read_as_it_was_written() {
        for text in ["203.0.113.9:4711", "[2001:db8::1]:4711", "unix"] {
            assert_eq!(Peer::parse(text).map(|peer| peer.to_string()).as_deref(), Some(text));
        }
        assert_eq!(Peer::parse("").or(Peer::parse("203.0.113.9")), None);
    }

    #[test]
    fn a_mapped_peer_is_named_as_ipv4() {
        assert_eq!(Peer::parse("[::ffff:203.0.113.9]:4711").unwrap().to_string(), "203.0.113.9:4711");
    }

    #[test]
    fn the_probe_is_recognised() {
        let line = format!("GET {PROBE_TARGET} HTTP/1.1\r\n");
        assert!(PROBE.starts_with(line.as_bytes()));
    }

    #[test]
    fn bytes_come_through_the_escape_unchanged() {
        let all: Vec<u8> = (0..=255).filter(|byte| *byte != 0x7f).collect();
        for bytes in [&all[..], b"", b"%7f \\xfc 7fc3", "Zürich".as_bytes(), b"M\xfc"] {
            let text = String::from_utf8(escaped(bytes).into_owned()).unwrap();
            assert!(text.is_ascii());
            assert_eq!(unescaped(&text), bytes);
        }
        assert!(matches!(escaped(b"plain"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_value_is_text_and_bytes() {
        let fields = [("a", &b"Z\x7fc3\x7fbcrich"[..]), ("b", b"M\x7ffcnsingen"), ("B", b"plain")];
        let field = |(name, value): (&str, &[u8])| Field::of(&tiny_http::Header::from_bytes(name, value).unwrap());
        let headers = Headers(fields.map(field).into());
        assert_eq!((headers.get("A"), headers.get("b")), (Some("Zürich"), Some("Münsingen")));
        assert_eq!((headers.charset("a"), headers.charset("b")), (Charset::Utf8, Charset::Latin1));
        let bytes: Vec<_> = headers.bytes().map(|(_, value)| value).collect();
        assert_eq!(bytes, ["Zürich".as_bytes(), b"M\xfcnsingen", b"plain"]);
    }
}
