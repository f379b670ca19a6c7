//! A client of the gate, over a real socket.

use super::rig::TIMEOUT;
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

pub struct Client {
    socket: Socket,
    input: Vec<u8>,
}

#[derive(Debug)]
pub struct Received {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Received {
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }
}

impl Client {
    pub fn tcp(address: &str) -> Client {
        Client::over(TcpStream::connect(address).unwrap())
    }

    fn over(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { socket: Socket::Tcp(stream), input: Vec::new() }
    }

    /// From another address of this machine, as another client.
    pub fn tcp_from(source: Ipv4Addr, address: &str) -> Client {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&socket, &SocketAddrV4::new(source, 0)).unwrap();
        connect(&socket, &address.parse::<SocketAddr>().unwrap()).unwrap();
        Client::over(socket.into())
    }

    pub fn unix(path: &Path) -> Client {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        Client { socket: Socket::Unix(stream), input: Vec::new() }
    }

    pub fn address(&self) -> String {
        match &self.socket {
            Socket::Tcp(stream) => stream.local_addr().unwrap().to_string(),
            Socket::Unix(_) => "unix".into(),
        }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap();
    }

    pub fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match &mut self.socket {
            Socket::Tcp(stream) => stream.write_all(bytes),
            Socket::Unix(stream) => stream.write_all(bytes),
        }
    }

    pub fn shut_down_writing(&self) {
        match &self.socket {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Write).unwrap(),
            Socket::Unix(stream) => stream.shutdown(Shutdown::Write).unwrap(),
        }
    }

    /// Resets the connection: poll reports that even for a socket without interest in any event.
    pub fn reset(self) {
        match &self.socket {
            Socket::Tcp(stream) => set_socket_linger(stream, Some(Duration::ZERO)).unwrap(),
            Socket::Unix(_) => {}
        }
    }

    fn read_more(&mut self) -> std::io::Result<usize> {
        let mut buffer = [0; 65536];
        let read = match &mut self.socket {
            Socket::Tcp(stream) => stream.read(&mut buffer),
            Socket::Unix(stream) => stream.read(&mut buffer),
        }?;
        self.input.extend_from_slice(&buffer[..read]);
        Ok(read)
    }

    pub fn answer(&mut self) -> Received {
        self.receive(false)
    }

    pub fn answer_to_head(&mut self) -> Received {
        self.receive(true)
    }

    fn receive(&mut self, is_to_head: bool) -> Received {
        let head_bytes = loop {
            if let Some(at) = self.input.windows(4).position(|it| it == b"\r\n\r\n") {
                break at + 4;
            }
            assert_ne!(self.read_more().unwrap(), 0, "closed without a response");
        };
        let head = String::from_utf8(self.input.drain(..head_bytes).collect()).unwrap();
        let status = head[9..12].parse().unwrap();
        let mut received = Received { status, head, body: Vec::new() };
        let length: usize = received.header("content-length").map_or(0, |it| it.parse().unwrap());
        let length = if is_to_head { 0 } else { length };
        while self.input.len() < length {
            assert_ne!(self.read_more().unwrap(), 0, "closed within a response");
        }
        received.body = self.input.drain(..length).collect();
        received
    }

    /// Everything until the gate closes the connection.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.read_more().unwrap() > 0 {}
        std::mem::take(&mut self.input)
    }

    /// True once the gate has closed or reset the connection.
    pub fn is_closed(&mut self) -> bool {
        match self.read_more() {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) => {
                assert_ne!(error.kind(), ErrorKind::WouldBlock, "neither input nor its end");
                true
            }
        }
    }
}
