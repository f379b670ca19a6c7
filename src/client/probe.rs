//! Whether a destination can be reached: its name, a TCP connection, and the TLS handshake. No request is sent.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::{Duration, Instant};

use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use ureq::Proxy;
use ureq::http::Uri;

use super::certificates::Trust;
use super::connection::with_advice;

/// Why a destination cannot be reached.
#[derive(Debug)]
pub enum Unreachable {
    /// The name has no address.
    Name(io::Error),
    /// No connection, or no secure one.
    Connection(String),
}

/// Tries the server of a URL, or the proxy through which requests to it go. The result says what was reached, without what
/// may be secret in the URL. Resolving the name may take longer than `timeout`.
pub fn probe(url: &str, ca_file: Option<&Path>, timeout: Duration) -> Result<String, Unreachable> {
    let failed = |error: &dyn std::fmt::Display| Unreachable::Connection(error.to_string());
    let uri: Uri = url.parse().map_err(|_| failed(&"it is not a URL"))?;
    let is_secure = uri.scheme_str() == Some("https");
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let proxy = Proxy::try_from_env().filter(|proxy| !proxy.is_no_proxy(&uri));
    if let Some(proxy) = proxy {
        let place = format!("{}:{}", proxy.host(), proxy.port());
        connect(proxy.host(), proxy.port(), timeout)?;
        return Ok(format!("the proxy {place} answers; {host} behind it was not asked"));
    }
    let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
    let socket = connect(host, port, timeout)?;
    if !is_secure {
        return Ok(format!("{host}:{port} accepts connections"));
    }
    shake_hands(&socket, host, ca_file, timeout).map_err(|error| failed(&format!("{host}:{port}: {error}")))?;
    Ok(format!("{host}:{port} accepts connections, and its certificate is trusted"))
}

/// Connects to the first address that accepts.
fn connect(host: &str, port: u16, timeout: Duration) -> Result<TcpStream, Unreachable> {
    let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs().map_err(Unreachable::Name)?.collect();
    let deadline = Instant::now() + timeout;
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (at, address) in addresses.iter().enumerate() {
        // An address that does not answer leaves the others their part of the time.
        let left = deadline.saturating_duration_since(Instant::now());
        let left = left / u32::try_from(addresses.len() - at).unwrap_or(u32::MAX);
        match TcpStream::connect_timeout(address, left.max(Duration::from_millis(1))) {
            Ok(socket) => return Ok(socket),
            Err(error) => failure = error,
        }
    }
    Err(Unreachable::Connection(format!("{host}:{port}: {failure}")))
}

fn shake_hands(socket: &TcpStream, host: &str, ca_file: Option<&Path>, timeout: Duration) -> Result<(), String> {
    socket.set_read_timeout(Some(timeout)).map_err(|error| error.to_string())?;
    socket.set_write_timeout(Some(timeout)).map_err(|error| error.to_string())?;
    let name = ServerName::try_from(host.to_owned()).map_err(|_| "the host is not a name that TLS knows".to_owned())?;
    let config = Trust::of(ca_file)?.config().map_err(|error| error.to_string())?;
    let mut tls = ClientConnection::new(config, name).map_err(|error| error.to_string())?;
    let mut line = socket;
    while tls.is_handshaking() {
        match tls.complete_io(&mut line) {
            Ok((0, 0)) => return Err("the server closed during the TLS handshake".to_owned()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err("no answer to the TLS handshake".to_owned());
            }
            Err(error) => return Err(with_advice(error).to_string()),
        }
    }
    tls.send_close_notify();
    // A server that has closed already has shaken hands.
    let _ = tls.write_tls(&mut line);
    Ok(())
}
