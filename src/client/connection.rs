//! The connection of a request: a socket, or a proxy's tunnel, with TLS where the address is `https://`.
//!
//! ureq's own connection does not read while it sends. A server that refuses a large body answers and closes, or reads no
//! further: the answer would be lost, and the failure be "connection reset" or a timeout.

use std::fmt::{self, Debug};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConnection};
use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
    TransportAdapter,
};

use super::certificates::Trust;

/// What is read of an answer that comes while the request is sent; the rest is read afterwards.
const MAX_EARLY_BYTES: usize = 16 << 10;

/// The first status of an answer after which the rest of a request is of no use.
const FIRST_REFUSAL: u16 = 300;

/// Makes the connections of an agent.
pub(super) fn connector(trust: Trust) -> impl Connector<()> {
    ().chain(ConnectProxyConnector::default()).chain(Connect { trust })
}

#[derive(Debug)]
struct Connect {
    trust: Trust,
}

impl<T: Transport> Connector<Either<(), T>> for Connect {
    type Out = Box<dyn Transport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        tunnel: Option<Either<(), T>>,
    ) -> Result<Option<Box<dyn Transport>>, Error> {
        let deadline = Deadline::of(details.timeout);
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        let transport: Box<dyn Transport> = match (tunnel, details.needs_tls()) {
            (None, false) => Box::new(Connection::new(open(details, &deadline)?, buffers)),
            (None, true) => {
                Box::new(Connection::new(self.secure(open(details, &deadline)?, details, &deadline)?, buffers))
            }
            (Some(tunnel), false) => Box::new(tunnel),
            (Some(tunnel), true) => {
                let mut tunnel = TransportAdapter::new(tunnel.boxed(), details.current_time.clone());
                tunnel.set_timeout(details.timeout);
                Box::new(Connection::new(self.secure(tunnel, details, &deadline)?, buffers))
            }
        };
        Ok(Some(transport))
    }
}

impl Connect {
    fn secure<L: Line>(
        &self,
        mut line: L,
        details: &ConnectionDetails<'_>,
        deadline: &Deadline,
    ) -> Result<Secured<L>, Error> {
        // In an address, IPv6 stands in brackets.
        let host = details.uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let name =
            ServerName::try_from(host.to_owned()).map_err(|_| Error::Tls("the host is not a name that TLS knows"))?;
        let tls = self.trust.config().and_then(|config| ClientConnection::new(config, name));
        let mut tls = tls.map_err(io::Error::other)?;
        while tls.is_handshaking() {
            match tls.complete_io(&mut line) {
                Ok(_) => {}
                Err(error) if is_not_now(&error) => drop(line.wait(PollFlags::IN, deadline)?),
                Err(error) => return Err(with_advice(error).into()),
            }
        }
        Ok(Secured { tls, line })
    }
}

/// Connects to the first address that accepts.
fn open(details: &ConnectionDetails<'_>, deadline: &Deadline) -> Result<TcpStream, Error> {
    let addresses: Vec<SocketAddr> = details.addrs.iter().copied().collect();
    let mut failure = Error::HostNotFound;
    for (at, address) in addresses.iter().enumerate() {
        // An address that does not answer leaves the others their part of the time.
        let left = deadline.left()?.unwrap_or(Duration::MAX) / u32::try_from(addresses.len() - at).unwrap_or(u32::MAX);
        match TcpStream::connect_timeout(address, left.max(Duration::from_millis(1))) {
            Ok(socket) => {
                socket.set_nodelay(details.config.no_delay())?;
                socket.set_nonblocking(true)?;
                return Ok(socket);
            }
            Err(error) if error.kind() == ErrorKind::TimedOut => failure = Error::Timeout(deadline.timeout.reason),
            Err(error) => failure = error.into(),
        }
    }
    Err(failure)
}

/// The error of a handshake, with what the operator can do.
pub(super) fn with_advice(error: io::Error) -> io::Error {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::Other(_))) => {
            io::Error::other(format!(
                "{error}: write the server's certificate, or that of the authority that has issued it, into a PEM file, \
                 and name it in ca_file"
            ))
        }
        _ => error,
    }
}

/// A connection and the buffers that ureq wants.
struct Connection<S> {
    stream: S,
    buffers: LazyBuffers,
    /// The beginning of an answer that came while the request was sent.
    early: Vec<u8>,
    /// Nothing more is sent, and why: an answer has come, or the server has closed.
    cut: Option<Cut>,
}

enum Cut {
    Answered,
    Failed(io::Error),
}

impl<S: Stream> Connection<S> {
    fn new(stream: S, buffers: LazyBuffers) -> Connection<S> {
        Connection { stream, buffers, early: Vec::new(), cut: None }
    }

    /// Sends all of it, or until an answer makes the rest useless.
    fn send(&mut self, amount: usize, deadline: &Deadline) -> Result<(), Error> {
        let output = &self.buffers.output()[..amount];
        let mut sent_bytes = 0;
        loop {
            let step = match output.get(sent_bytes..).filter(|rest| !rest.is_empty()) {
                Some(rest) => self.stream.write(rest),
                None => self.stream.flush().map(|()| 0),
            };
            match step {
                Ok(0) => return Ok(()),
                Ok(bytes) => sent_bytes += bytes,
                Err(error) if is_not_now(&error) => {
                    self.cut = wait_or_be_answered(&mut self.stream, &mut self.early, deadline)?;
                    if self.cut.is_some() {
                        return Ok(());
                    }
                }
                Err(error) if is_closed(&error) => {
                    self.cut = Some(Cut::Failed(error));
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn receive(&mut self, deadline: &Deadline) -> Result<usize, Error> {
        let into = self.buffers.input_append_buf();
        if !self.early.is_empty() {
            let bytes = self.early.len().min(into.len());
            into[..bytes].copy_from_slice(&self.early[..bytes]);
            self.early.drain(..bytes);
            return Ok(bytes);
        }
        loop {
            match self.stream.receive(into) {
                Err(error) if is_not_now(&error) => drop(self.stream.wait(PollFlags::IN, deadline)?),
                Ok(bytes) if bytes > 0 => return Ok(bytes),
                // Without an answer, the failure to send is the reason.
                end => match (self.cut.take(), end) {
                    (Some(Cut::Failed(error)), _) | (_, Err(error)) => return Err(error.into()),
                    (_, Ok(_)) => return Ok(0),
                },
            }
        }
    }
}

/// Waits until more can be sent, and reads what comes meanwhile. `Some` if that is a refusal, or the end.
fn wait_or_be_answered(
    stream: &mut impl Stream,
    early: &mut Vec<u8>,
    deadline: &Deadline,
) -> Result<Option<Cut>, Error> {
    let has_room = early.len() < MAX_EARLY_BYTES;
    let wanted = if has_room { PollFlags::IN | PollFlags::OUT } else { PollFlags::OUT };
    let ready = stream.wait(wanted, deadline)?;
    if !has_room || !ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
        return Ok(None);
    }
    let mut block = [0; MAX_EARLY_BYTES];
    match stream.receive(&mut block) {
        Ok(0) => return Ok(Some(Cut::Answered)),
        Ok(bytes) => early.extend_from_slice(&block[..bytes]),
        Err(error) if is_not_now(&error) => {}
        Err(error) => return Ok(Some(Cut::Failed(error))),
    }
    Ok(is_refusal(early).then_some(Cut::Answered))
}

/// Whether an answer begins with a status that says that the request is not wanted. After one of success a server may still
/// read the rest.
fn is_refusal(answer: &[u8]) -> bool {
    let status = answer.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5));
    let status = status.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u16>().ok());
    status.is_some_and(|status| status >= FIRST_REFUSAL)
}

/// ureq asks for it, and prints it nowhere.
impl<S: Stream> Debug for Connection<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl<S: Stream> Transport for Connection<S> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        if self.cut.is_some() {
            return Ok(()); // so that ureq goes on to the answer
        }
        let timeout = timeout.for_write();
        self.stream.limit(timeout);
        self.send(amount, &Deadline::of(timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let timeout = timeout.for_read();
        self.stream.limit(timeout);
        let bytes = self.receive(&Deadline::of(timeout))?;
        self.buffers.input_appended(bytes);
        Ok(bytes > 0)
    }

    fn is_open(&mut self) -> bool {
        self.cut.is_none() && self.early.is_empty() && self.stream.is_open()
    }

    fn is_tls(&self) -> bool {
        S::IS_TLS
    }
}

/// When ureq's patience ends.
struct Deadline {
    timeout: NextTimeout,
    at: Option<Instant>,
}

impl Deadline {
    fn of(timeout: NextTimeout) -> Deadline {
        let at = (!timeout.after.is_not_happening()).then(|| Instant::now() + *timeout.after);
        Deadline { timeout, at }
    }

    /// `None`: forever.
    fn left(&self) -> Result<Option<Duration>, Error> {
        let Some(at) = self.at else { return Ok(None) };
        match at.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(Error::Timeout(self.timeout.reason)),
            left => Ok(Some(left)),
        }
    }
}

/// What bytes are sent over: a socket, or the tunnel of a proxy.
trait Line: Read + Write + Send + Sync + 'static {
    /// For a line that blocks: how long.
    fn limit(&mut self, timeout: NextTimeout);

    /// Waits until the line is ready; `Err` once the time is over. One that blocks is always ready.
    fn wait(&self, wanted: PollFlags, deadline: &Deadline) -> Result<PollFlags, Error>;

    /// Whether it can be used for another request.
    fn is_open(&mut self) -> bool;
}

impl Line for TcpStream {
    fn limit(&mut self, _timeout: NextTimeout) {}

    fn wait(&self, wanted: PollFlags, deadline: &Deadline) -> Result<PollFlags, Error> {
        let left = deadline.left()?.and_then(|left| Timespec::try_from(left).ok());
        let mut fds = [PollFd::new(self, wanted)];
        match poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(fds[0].revents()),
            Err(error) => Err(io::Error::from(error).into()),
        }
    }

    fn is_open(&mut self) -> bool {
        // Neither an end nor an answer that was not asked for.
        self.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}

impl Line for TransportAdapter {
    fn limit(&mut self, timeout: NextTimeout) {
        self.set_timeout(timeout);
    }

    fn wait(&self, wanted: PollFlags, _deadline: &Deadline) -> Result<PollFlags, Error> {
        Ok(wanted & PollFlags::OUT)
    }

    fn is_open(&mut self) -> bool {
        self.get_mut().is_open()
    }
}

/// TLS over a line. Rustls's own stream reads while it writes, and writes while it reads.
struct Secured<L> {
    tls: ClientConnection,
    line: L,
}

/// What a request is sent over: a line, with TLS or without.
trait Stream: Send + Sync + 'static {
    const IS_TLS: bool;

    fn line(&mut self) -> &mut dyn Line;

    /// Sends some of it.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Sends what TLS has kept of what was written.
    fn flush(&mut self) -> io::Result<()>;

    /// Reads, and sends nothing: what cannot be sent must not keep an answer from being read.
    fn receive(&mut self, into: &mut [u8]) -> io::Result<usize>;

    fn limit(&mut self, timeout: NextTimeout) {
        self.line().limit(timeout);
    }

    fn wait(&mut self, wanted: PollFlags, deadline: &Deadline) -> Result<PollFlags, Error> {
        self.line().wait(wanted, deadline)
    }

    fn is_open(&mut self) -> bool {
        self.line().is_open()
    }
}

impl Stream for TcpStream {
    const IS_TLS: bool = false;

    fn line(&mut self) -> &mut dyn Line {
        self
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Write::write(self, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.read(into)
    }
}

impl<L: Line> Stream for Secured<L> {
    const IS_TLS: bool = true;

    fn line(&mut self) -> &mut dyn Line {
        &mut self.line
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.flush()?;
        self.tls.writer().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            if self.tls.write_tls(&mut self.line)? == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }

    fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.tls.reader().read(into) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
            let bytes = self.tls.read_tls(&mut self.line)?;
            self.tls.process_new_packets().map_err(io::Error::other)?;
            if bytes == 0 {
                return self.tls.reader().read(into);
            }
        }
    }
}

fn is_not_now(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// The server has closed the connection. What it has sent before can still be read.
fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_status_of_refusal_ends_a_request() {
        assert!(is_refusal(b"HTTP/1.1 413 Content Too Large\r\n") && is_refusal(b"HTTP/1.0 302"));
        for answer in [&b""[..], b"HTTP/1.1 41", b"HTTP/1.1 100 Continue", b"HTTP/1.1 200 OK", b"220 mail ESMTP"] {
            assert!(!is_refusal(answer), "{}", String::from_utf8_lossy(answer));
        }
    }
}
