//! Heads and bodies, as clients send them.

use super::body::Decoder;
use super::head::{self, Framing};
use super::refusal::Fault;
use crate::http::Peer;
use crate::http::blocks::{Blocks, Budget};

const MAX_BODY_BYTES: u64 = 1 << 20;

/// The end of a head is found at the same place however the bytes arrive, and what goes on to upstream is one request
/// that no parser can read in two ways.
pub fn head(input: &[u8]) {
    let whole = head::find_end(input, &mut 0);
    let mut checked_bytes = 0;
    let piecewise = (1..=input.len()).map(|end| head::find_end(&input[..end], &mut checked_bytes));
    let first = piecewise.into_iter().find(|found| !matches!(found, Ok(None))).unwrap_or(Ok(None));
    assert_eq!(whole.is_err(), first.is_err());
    let (Ok(Some(end)), Ok(first)) = (whole, first) else { return };
    assert_eq!(Some(end), first);
    let Ok(parsed) = head::parse(&input[..end], MAX_BODY_BYTES) else { return };
    let forwarded = parsed.complete(None, Peer::Unix);
    assert!(forwarded.is_ascii(), "upstream takes ASCII only");
    // The escape of bytes beyond ASCII begins with DEL, which this parser would refuse.
    let forwarded: Vec<u8> = forwarded.into_iter().map(|byte| if byte == 0x7f { b'~' } else { byte }).collect();
    let mut headers = [httparse::EMPTY_HEADER; 128];
    let mut request = httparse::Request::new(&mut headers);
    let read = request.parse(&forwarded).expect("upstream reads what the gate has let through");
    assert_eq!(read, httparse::Status::Complete(forwarded.len()), "one request and nothing beside it");
    for (name, at_most) in
        [("Content-Length", 0), ("Transfer-Encoding", 0), ("Upgrade", 0), ("X-Gate-Body", 0), ("X-Gate-Peer", 1)]
    {
        let count = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name)).count();
        assert!(count <= at_most, "{name}: {count}");
    }
}

/// A chunked body is the same however its bytes arrive, and never longer than allowed.
pub fn body(input: &[u8]) {
    let whole = decode(input, usize::MAX);
    for piece_bytes in [1, 7] {
        assert_eq!(whole.as_ref().ok(), decode(input, piece_bytes).as_ref().ok());
    }
    if let Ok((content, ..)) = whole {
        assert!(content.len() as u64 <= MAX_BODY_BYTES);
    }
}

fn decode(input: &[u8], piece_bytes: usize) -> Result<(Vec<u8>, bool, usize), Fault> {
    let mut decoder = Decoder::new(&Framing::Chunked, MAX_BODY_BYTES);
    let mut blocks = Blocks::new(&Budget::default());
    let mut used_bytes = 0;
    for piece in input.chunks(piece_bytes) {
        used_bytes += decoder.feed(piece, &mut blocks)?;
    }
    Ok((blocks.into_vec(), decoder.is_done(), used_bytes))
}
