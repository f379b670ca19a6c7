use super::super::body::READ_BYTES;
use super::*;
use crate::http::blocks::Budget;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

#[test]
fn an_idle_connection_holds_no_buffers() -> io::Result<()> {
    let (ours, mut theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let context = Context {
        now: Instant::now(),
        timeouts: Timeouts::default(),
        budget: Budget::default(),
        bodies: Default::default(),
        max_body_bytes: 1_000_000,
        trusted_proxies: Default::default(),
        is_draining: false,
        is_crowded: false,
        traffic: Default::default(),
    };
    let mut connection = Connection::new(ConnectionId(1), OwnedFd::from(ours).into(), Peer::Unix, &context);
    let body = "a".repeat(50_000);
    theirs.write_all(format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 50000\r\n\r\n{body}").as_bytes())?;
    let mut scratch = vec![0; READ_BYTES];
    while !connection.is_waiting() {
        connection.ready(&context, &mut scratch);
    }
    drop(connection.take_request());
    let response = Response::parse(b"HTTP/1.1 204 No Content\r\n\r\n", false).ok().flatten();
    connection.answer(&response.ok_or(io::ErrorKind::InvalidData)?, &context);
    assert!(connection.is_idle());
    assert_eq!((connection.client.input.capacity(), context.budget.held_bytes()), (0, 0));
    Ok(())
}
