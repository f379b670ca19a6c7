//! A destination that answers, or fails, as a test configures it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustix::net::sockopt::set_socket_linger;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::{patient, take_turn, wait_for};

/// How long a stub waits for a request, and holds one that it does not answer.
const HELD: Duration = Duration::from_secs(60);

/// How a stub treats a request that it has read.
#[derive(Clone, Debug)]
pub enum Answer {
    Status(u16),
    /// With these header lines and this body.
    With(u16, Vec<(String, String)>, Vec<u8>),
    /// Answers 200, keeps the connection open, and closes it a little later.
    KeepAWhile,
    Close,
    Reset,
    Hang,
    /// A head that comes byte by byte and has no end.
    Trickle,
    /// 200 and a body of 10 GB.
    Endless,
    NotHttp,
    WhenTold(Arc<Held>),
}

/// An answer that waits for a test.
#[derive(Debug)]
pub struct Held {
    told: Mutex<Receiver<()>>,
    answer: Answer,
    at_last: Answer,
}

impl Held {
    fn wait(&self) -> Answer {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner).recv();
        told.map_or(self.at_last.clone(), |()| self.answer.clone())
    }
}

impl Answer {
    pub fn header(status: u16, name: &str, value: &str) -> Answer {
        Answer::With(status, vec![(name.to_owned(), value.to_owned())], Vec::new())
    }

    pub fn body(status: u16, body: &str) -> Answer {
        Answer::With(status, Vec::new(), body.as_bytes().to_vec())
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Received {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|problem| panic!("{problem}: {}", self.text()))
    }
}

type Judge = Box<dyn FnMut(&Received) -> Answer + Send>;

/// A running destination. Its threads end with the test.
pub struct Stub {
    scheme: &'static str,
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    judge: Arc<Mutex<Judge>>,
}

impl Stub {
    /// Answers 200 until another answer is set.
    pub fn http() -> Stub {
        Stub::start("http", None)
    }

    /// The same over TLS.
    pub fn https(identity: &Identity) -> Stub {
        Stub::start("https", Some(Arc::clone(&identity.0)))
    }

    fn start(scheme: &'static str, tls: Option<Arc<ServerConfig>>) -> Stub {
        take_turn();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let always: Judge = Box::new(|_| Answer::Status(200));
        let (received, judge) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(always)));
        let (into, asked) = (Arc::clone(&received), Arc::clone(&judge));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (into, asked, tls) = (Arc::clone(&into), Arc::clone(&asked), tls.clone());
                std::thread::spawn(move || serve(stream, tls, &into, &asked));
            }
        });
        Stub { scheme, address, received, judge }
    }

    pub fn answer(&self, answer: Answer) {
        self.answer_by(move |_| answer.clone());
    }

    pub fn answer_by(&self, judge: impl FnMut(&Received) -> Answer + Send + 'static) {
        *self.judge.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(judge);
    }

    /// Holds each request until the returned sender sends, which answers one with `answer`. Once the sender is dropped,
    /// `at_last` answers.
    pub fn answer_when_told(&self, answer: Answer, at_last: Answer) -> Sender<()> {
        let (tell, told) = channel();
        self.answer(Answer::WhenTold(Arc::new(Held { told: Mutex::new(told), answer, at_last })));
        tell
    }

    /// `http://127.0.0.1:40123/path`; over TLS the host is `localhost`, which the certificate is for.
    pub fn url(&self, path: &str) -> String {
        let host = if self.scheme == "https" { "localhost" } else { "127.0.0.1" };
        format!("{}://{host}:{}{path}", self.scheme, self.address.port())
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn count(&self) -> usize {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits for that many requests.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<Received> {
        wait_for(&format!("request {count} at the stub"), || (self.count() >= count).then(|| self.received()))
    }

    /// Waits for the first request.
    #[track_caller]
    pub fn first(&self) -> Received {
        self.wait_for(1)[0].clone()
    }
}

/// A port on which no program listens.
pub fn closed_port() -> u16 {
    take_turn(); // now, because the port may be in use after a long wait
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A server's certificate and key.
pub struct Identity(Arc<ServerConfig>);

/// A certificate for a server, and that of the authority that has issued it.
pub struct Issued {
    pub root: Certificate,
    pub certificate: Certificate,
    pub key: KeyPair,
}

/// A certificate authority of the test's own: its certificate as PEM, and a server's identity for `name`.
pub fn authority(name: &str) -> (String, Identity) {
    identity(issue(name))
}

/// The same with an expired certificate.
pub fn expired(name: &str) -> (String, Identity) {
    identity(certify(name, |params| params.not_after = date_time_ymd(2021, 1, 1)))
}

/// A certificate that its own server has made, as `openssl req -x509` does: it may issue others. `change` changes that.
pub fn self_made(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Issued {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let root = params.self_signed(&key).unwrap();
    Issued { certificate: root.clone(), root, key }
}

/// A server that presents a certificate without having its key.
pub fn impostor(certificate: &Certificate) -> Identity {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(KeyPair::generate().unwrap().serialize_der()));
    let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
    let pair = CertifiedKey::new(vec![certificate.der().clone()], key);
    let config = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
    Identity(Arc::new(config))
}

pub fn identity_of(issued: Issued) -> Identity {
    identity(issued).1
}

/// Reads the head of each request, answers 413, and reads no further: it closes, or `stays` as it is. Returns its port.
pub fn refusing(identity: Option<&Identity>, stays: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, tls) = (listener.local_addr().unwrap().port(), identity.map(|identity| Arc::clone(&identity.0)));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Closing with unread input discards what Nagle's algorithm has held back.
            stream.set_nodelay(true).unwrap();
            let _ = match &tls {
                None => refuse(&mut &stream),
                Some(config) => {
                    let connection = ServerConnection::new(Arc::clone(config)).unwrap();
                    refuse(&mut StreamOwned::new(connection, &stream))
                }
            };
            if stays {
                std::mem::forget(stream);
            }
        }
    });
    port
}

fn refuse(stream: &mut (impl Read + Write)) -> io::Result<()> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    respond(stream, 413, &[], b"at most 1 MB")
}

fn identity(Issued { root, certificate, key }: Issued) -> (String, Identity) {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    (root.pem(), Identity(Arc::new(config)))
}

/// The TLS configuration of a client that trusts only this authority.
pub fn believing(root: &Certificate) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(root.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

pub fn issue(name: &str) -> Issued {
    certify(name, |_| ())
}

fn certify(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Issued {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let root = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    change(&mut params);
    let certificate = params.signed_by(&key, &issuer).unwrap();
    Issued { root, certificate, key }
}

fn serve(stream: TcpStream, tls: Option<Arc<ServerConfig>>, received: &Mutex<Vec<Received>>, judge: &Mutex<Judge>) {
    let _ = stream.set_read_timeout(Some(patient(HELD)));
    let _ = match tls {
        None => exchange(&mut stream.try_clone().unwrap(), &stream, received, judge),
        Some(config) => {
            let connection = ServerConnection::new(config).unwrap();
            exchange(&mut StreamOwned::new(connection, stream.try_clone().unwrap()), &stream, received, judge)
        }
    };
}

/// Errors here are caused by the other side, which the test checks.
fn exchange(
    stream: &mut (impl Read + Write),
    socket: &TcpStream,
    received: &Mutex<Vec<Received>>,
    judge: &Mutex<Judge>,
) -> io::Result<()> {
    loop {
        let request = read_request(stream)?;
        let answer = judge.lock().unwrap_or_else(PoisonError::into_inner)(&request);
        received.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        let answer = if let Answer::WhenTold(held) = answer { held.wait() } else { answer };
        match answer {
            Answer::WhenTold(_) => return Ok(()),
            Answer::Status(status) => return respond(stream, status, &[("Connection".into(), "close".into())], b""),
            Answer::With(status, mut headers, body) => {
                headers.push(("Connection".into(), "close".into()));
                return respond(stream, status, &headers, &body);
            }
            Answer::KeepAWhile => {
                respond(stream, 200, &[], b"kept")?;
                socket.set_read_timeout(Some(Duration::from_millis(30)))?;
            }
            Answer::Close => return Ok(()),
            Answer::Reset => {
                set_socket_linger(socket, Some(Duration::ZERO))?;
                return Ok(());
            }
            Answer::Hang => {
                std::thread::sleep(HELD);
                return Ok(());
            }
            Answer::Trickle => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nX-Slow: ")?;
                loop {
                    stream.write_all(b"x")?;
                    stream.flush()?;
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            Answer::Endless => {
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n")?;
                loop {
                    stream.write_all(&[b'x'; 64 << 10])?;
                }
            }
            Answer::NotHttp => return stream.write_all(b"220 mail.example.org ESMTP\r\n\r\n"),
        }
    }
}

fn respond(stream: &mut impl Write, status: u16, headers: &[(String, String)], body: &[u8]) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {status} Stub\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let length = if status == 204 { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    stream.write_all(format!("{head}{length}\r\n").as_bytes())?;
    stream.write_all(body)?;
    stream.flush()
}

fn read_request(stream: &mut impl Read) -> io::Result<Received> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        read_more(stream, &mut bytes)?;
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let mut lines = head.trim_end().split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned())))
        .collect();
    let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
    let mut body = bytes.split_off(head_end);
    while body.len() < length {
        read_more(stream, &mut body)?;
    }
    Ok(Received { method, target, headers, body })
}

fn read_more(stream: &mut impl Read, bytes: &mut Vec<u8>) -> io::Result<()> {
    let mut block = [0; 64 << 10];
    match stream.read(&mut block)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        read => {
            bytes.extend(&block[..read]);
            Ok(())
        }
    }
}
