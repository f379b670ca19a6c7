//! Undoing gzip (RFC 1952) within bounds.

use std::io::Read;

use flate2::GzHeader;
use flate2::bufread::GzDecoder;

use super::rejection::Rejection;

/// Senders that compress in blocks of 64 KiB write fewer for the largest body. Each member takes time, even an empty one.
const MAX_MEMBERS: usize = 1000;

/// What the header of a member may hold beside the content: the name of a file, a comment.
const MAX_HEADER_BYTES: usize = 1024;

/// What `compressed` holds; never more than `max_bytes`.
pub(super) fn gunzip(compressed: &[u8], max_bytes: u64) -> Result<Vec<u8>, Rejection> {
    let (mut body, mut rest) = (Vec::new(), compressed);
    for _ in 0..MAX_MEMBERS {
        let room_bytes = max_bytes.saturating_sub(body.len() as u64);
        let mut member = GzDecoder::new(rest);
        if member.header().is_some_and(|header| header_bytes(header) > MAX_HEADER_BYTES) {
            return Err(Rejection::Malformed("the header of a gzip member is longer than 1 KiB"));
        }
        let read = member.by_ref().take(room_bytes.saturating_add(1)).read_to_end(&mut body);
        read.map_err(|_| Rejection::Malformed("the body is not gzip"))?;
        if body.len() as u64 > max_bytes {
            return Err(Rejection::TooLarge);
        }
        rest = member.into_inner();
        if rest.is_empty() {
            return Ok(body);
        }
    }
    Err(Rejection::Malformed("the body has more than 1000 gzip members"))
}

fn header_bytes(header: &GzHeader) -> usize {
    [header.filename(), header.comment(), header.extra()].into_iter().flatten().map(<[u8]>::len).sum()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    const MAX_BYTES: u64 = 1000;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn members_are_joined_and_their_number_is_bounded() {
        let members = |count: usize| [gzip(b"{"), gzip(b"").repeat(count - 2), gzip(b"}")].concat();
        assert_eq!(gunzip(&members(2), MAX_BYTES).unwrap(), b"{}");
        assert_eq!(gunzip(&members(MAX_MEMBERS), MAX_BYTES).unwrap(), b"{}");
        assert!(matches!(gunzip(&members(MAX_MEMBERS + 1), MAX_BYTES), Err(Rejection::Malformed(_))));
    }

    #[test]
    fn the_header_of_a_member_is_bounded() {
        let named = |name_bytes: usize| {
            let builder = flate2::GzBuilder::new().filename(vec![b'n'; name_bytes]);
            builder.write(Vec::new(), Compression::best()).finish().unwrap()
        };
        assert_eq!(gunzip(&named(MAX_HEADER_BYTES), MAX_BYTES).unwrap(), b"");
        for bytes in [MAX_HEADER_BYTES + 1, 1 << 20] {
            assert!(matches!(gunzip(&named(bytes), MAX_BYTES), Err(Rejection::Malformed(_))), "{bytes}");
        }
    }

    #[test]
    fn no_more_than_the_bound_is_unpacked() {
        let content = [b'a'; MAX_BYTES as usize];
        assert_eq!(gunzip(&gzip(&content), MAX_BYTES).unwrap(), content);
        assert!(matches!(gunzip(&gzip(&content), MAX_BYTES - 1), Err(Rejection::TooLarge)));
        assert!(matches!(gunzip(&[gzip(&content), gzip(b"a")].concat(), MAX_BYTES), Err(Rejection::TooLarge)));
    }

    #[test]
    fn what_is_not_gzip_as_a_whole_is_malformed() {
        let whole = gzip(b"content");
        for wrong in [&whole[..whole.len() - 1], b"{}", &[&whole[..], b"x"].concat()] {
            assert!(matches!(gunzip(wrong, MAX_BYTES), Err(Rejection::Malformed(_))), "{wrong:?}");
        }
    }
}
