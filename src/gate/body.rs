//! Decoding a request's body: by its length, or by chunks.

use super::head::{Framing, MAX_HEAD_BYTES};
use super::refusal::{Fault, Refusal};
use crate::http::blocks::Blocks;

/// A chunk size has at most 16 digits, and no chunk extension is known to be in use.
const MAX_SIZE_LINE_BYTES: usize = 1024;

/// Trailers are dropped, and need no room.
const MAX_TRAILER_BYTES: usize = 8 * 1024;

/// The most that one iteration of the event loop reads from one client.
pub const READ_BYTES: usize = 64 * 1024;

/// More digits do not fit into u64.
const MAX_SIZE_DIGITS: usize = 16;

/// Decodes the body that follows one head.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    max_body_bytes: u64,
    /// The unfinished line of a chunked body.
    line: Vec<u8>,
    trailer_bytes: usize,
}

/// RFC 9112, section 7.1.
#[derive(Debug, PartialEq)]
enum State {
    /// With the number of bytes still to come.
    Length(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailer,
    Done,
}

impl Decoder {
    pub fn new(framing: &Framing, max_body_bytes: u64) -> Decoder {
        let state = match *framing {
            Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkSize,
        };
        Decoder { state, max_body_bytes, line: Vec::new(), trailer_bytes: 0 }
    }

    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// How much to read at a time: beyond the body at most as much as the next head may have.
    pub fn read_bytes(&self) -> usize {
        match self.state {
            State::Length(expected) | State::ChunkData(expected) => {
                usize::try_from(expected).map_or(READ_BYTES, |expected| expected.clamp(MAX_HEAD_BYTES, READ_BYTES))
            }
            _ => MAX_HEAD_BYTES,
        }
    }

    /// Appends the content in `input` to `body`. Returns how many bytes of `input` belong to this request: all of
    /// them until [`Decoder::is_done`].
    pub fn feed(&mut self, input: &[u8], body: &mut Blocks) -> Result<usize, Fault> {
        let mut at = 0;
        while at < input.len() && !self.is_done() {
            at += self.step(&input[at..], body)?;
        }
        Ok(at)
    }

    fn step(&mut self, input: &[u8], body: &mut Blocks) -> Result<usize, Fault> {
        match self.state {
            State::Length(expected) => Ok(self.take_content(input, expected, expected, body)),
            State::ChunkData(expected) => Ok(self.take_content(input, expected, u64::MAX, body)),
            _ => self.take_line(input, body.bytes()),
        }
    }

    fn take_content(&mut self, input: &[u8], expected: u64, expected_in_total: u64, body: &mut Blocks) -> usize {
        let taken = usize::try_from(expected).map_or(input.len(), |expected| input.len().min(expected));
        body.append(&input[..taken], expected_in_total);
        let remaining = expected - taken as u64;
        self.state = match self.state {
            State::Length(_) if remaining == 0 => State::Done,
            State::Length(_) => State::Length(remaining),
            _ if remaining == 0 => State::ChunkEnd,
            _ => State::ChunkData(remaining),
        };
        taken
    }

    fn take_line(&mut self, input: &[u8], body_bytes: u64) -> Result<usize, Fault> {
        let newline = input.iter().position(|&byte| byte == b'\n');
        let taken = newline.map_or(input.len(), |at| at + 1);
        self.line.extend_from_slice(&input[..taken]);
        if self.line.len() > self.max_line_bytes() {
            return Err(self.fault("a line that is too long"));
        }
        if newline.is_some() {
            let line = std::mem::take(&mut self.line);
            self.state = self.parse_line(&line, body_bytes)?;
        }
        Ok(taken)
    }

    fn max_line_bytes(&self) -> usize {
        match self.state {
            State::ChunkEnd => b"\r\n".len(),
            State::Trailer => MAX_TRAILER_BYTES - self.trailer_bytes,
            _ => MAX_SIZE_LINE_BYTES,
        }
    }

    /// Names the part of the chunked body that is read now.
    fn fault(&self, rule: &'static str) -> Fault {
        let part = match self.state {
            State::ChunkEnd => "a chunk",
            State::Trailer => "a trailer",
            _ => "a chunk's size",
        };
        Refusal::Malformed.by(rule).in_field(part)
    }

    fn parse_line(&mut self, line: &[u8], body_bytes: u64) -> Result<State, Fault> {
        let content = line.strip_suffix(b"\r\n").ok_or_else(|| self.fault("a line end without CR"))?;
        if !self.is_text(content) {
            return Err(self.fault("a control character"));
        }
        self.trailer_bytes += if self.state == State::Trailer { line.len() } else { 0 };
        match self.state {
            State::ChunkEnd if content.is_empty() => Ok(State::ChunkSize),
            State::ChunkEnd => Err(self.fault("a line that is too long")),
            State::Trailer if content.is_empty() => Ok(State::Done),
            State::Trailer => Ok(State::Trailer),
            _ => match chunk_size(content).ok_or_else(|| self.fault("a size that is not hexadecimal"))? {
                0 => Ok(State::Trailer),
                size if body_bytes.saturating_add(size) > self.max_body_bytes => {
                    Err(Refusal::BodyTooLarge.by("larger than max_body").in_field("Transfer-Encoding"))
                }
                size => Ok(State::ChunkData(size)),
            },
        }
    }

    /// Without control characters. The value of a trailer may have bytes above 127, like that of a header.
    fn is_text(&self, line: &[u8]) -> bool {
        let value_at = match self.state {
            State::Trailer => line.iter().position(|&byte| byte == b':').unwrap_or(line.len()),
            _ => line.len(),
        };
        let is_ascii_text = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~');
        line[..value_at].iter().all(is_ascii_text)
            && line[value_at..].iter().all(|byte| is_ascii_text(byte) || !byte.is_ascii())
    }
}

/// Parses the size in `1a3 ;extension`: white space before the semicolon must be taken (RFC 9112, section 7.1.1). Other
/// padding, signs and prefixes, on which parsers differ, are refused.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let extension = line.iter().position(|&byte| byte == b';');
    let digits = extension.map_or(line, |at| line[..at].trim_ascii_end());
    if digits.is_empty() || digits.len() > MAX_SIZE_DIGITS || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::blocks::Budget;

    const MAX_BODY_BYTES: u64 = 20;

    /// Feeds `input` in pieces; returns the content, whether it is complete, and the rest of `input`.
    fn decode(framing: Framing, input: &[u8], piece_bytes: usize) -> Result<(Vec<u8>, bool, Vec<u8>), Refusal> {
        let mut decoder = Decoder::new(&framing, MAX_BODY_BYTES);
        let mut body = Blocks::new(&Budget::default());
        let mut used = 0;
        for piece in input.chunks(piece_bytes) {
            used += decoder.feed(piece, &mut body).map_err(|fault| fault.refusal)?;
        }
        Ok((body.into_vec(), decoder.is_done(), input[used..].to_vec()))
    }

    fn chunked(input: &[u8]) -> Result<(Vec<u8>, bool, Vec<u8>), Refusal> {
        let whole = decode(Framing::Chunked, input, usize::MAX);
        let single_bytes = decode(Framing::Chunked, input, 1);
        assert_eq!(whole, single_bytes, "{}", String::from_utf8_lossy(input));
        whole
    }

    #[test]
    fn a_body_by_length_ends_after_exactly_that_many_bytes() {
        for piece_bytes in [1, 2, 100] {
            let result = decode(Framing::Length(5), b"helloGET /", piece_bytes);
            assert_eq!(result, Ok((b"hello".to_vec(), true, b"GET /".to_vec())));
        }
        assert_eq!(decode(Framing::Length(0), b"x", 1), Ok((vec![], true, b"x".to_vec())));
        assert_eq!(decode(Framing::Length(5), b"hell", 1), Ok((b"hell".to_vec(), false, vec![])));
    }

    #[test]
    fn chunks_are_joined_and_trailers_dropped() {
        let input = b"5\r\nhello\r\n006;ext=\"a b\"\r\n world\r\n0\r\nTrailer: dropped\r\n\r\nGET /";
        assert_eq!(chunked(input), Ok((b"hello world".to_vec(), true, b"GET /".to_vec())));
        assert_eq!(chunked(b"5 \t;a\r\nhello\r\n0\r\n\r\n"), Ok((b"hello".to_vec(), true, vec![])));
        assert_eq!(chunked(b"0\r\n\r\n"), Ok((vec![], true, vec![])));
        assert_eq!(chunked(b"0\r\nA: M\xfc\r\n\r\n"), Ok((vec![], true, vec![])));
        assert_eq!(chunked(b"A\r\n0123456789\r\n"), Ok((b"0123456789".to_vec(), false, vec![])));
    }

    #[test]
    fn malformed_chunks_are_refused() {
        let inputs: [&[u8]; 19] = [
            b"\r\n",
            b"g\r\n",
            b"+5\r\n",
            b"-5\r\n",
            b"0x5\r\n",
            b" 5\r\n",
            b"5 \r\n",
            b"5\nhello",
            b"5\r\r\n",
            b"5;a\rb\r\n",
            b"5;\x00\r\n",
            b"00000000000000005\r\n",
            b"5\r\nhello!\r\n",
            b"5\r\nhello\n",
            b"0\r\n\n",
            b"0\r\nA: b\n\r\n",
            b"0\r\nM\xfc: b\r\n\r\n",
            b"0\r\nA: b\x7f\r\n\r\n",
            b"5;a=\"\xfc\"\r\n",
        ];
        for input in inputs {
            assert_eq!(chunked(input), Err(Refusal::Malformed), "{}", String::from_utf8_lossy(input));
        }
    }

    #[test]
    fn a_chunk_that_makes_the_body_too_large_is_refused_by_its_size() {
        assert!(chunked(b"14\r\n01234567890123456789\r\n0\r\n\r\n").is_ok());
        assert_eq!(chunked(b"15\r\n"), Err(Refusal::BodyTooLarge));
        assert_eq!(chunked(b"1\r\na\r\n14\r\n"), Err(Refusal::BodyTooLarge));
        assert_eq!(chunked(b"ffffffffffffffff\r\n"), Err(Refusal::BodyTooLarge));
        assert_eq!(chunked(b"1\r\na\r\nffffffffffffffff\r\n"), Err(Refusal::BodyTooLarge));
    }

    #[test]
    fn the_lines_of_a_chunked_body_are_limited() {
        assert_eq!(chunked(&[b'5'; MAX_SIZE_LINE_BYTES + 1]), Err(Refusal::Malformed));
        let extension = format!("5;{}\r\n", "e".repeat(MAX_SIZE_LINE_BYTES));
        assert_eq!(chunked(extension.as_bytes()), Err(Refusal::Malformed));
        let trailers = |count: usize| format!("0\r\n{}\r\n", "A: 123\r\n".repeat(count));
        assert!(chunked(trailers(1000).as_bytes()).is_ok_and(|(_, is_done, _)| is_done));
        assert_eq!(chunked(trailers(1100).as_bytes()), Err(Refusal::Malformed));
        assert_eq!(chunked(&[b"0\r\n", &[b'A'; 9000][..]].concat()), Err(Refusal::Malformed));
    }
}
