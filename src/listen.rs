//! The public sockets: bind, Unix socket.
