//! The gate's own responses, to requests that are not forwarded or not answered.

/// A budget that is used up is free again once a few requests are stored.
const RETRY_AFTER: &str = "Retry-After: 10\r\n";

/// The interim response to `Expect: 100-continue` (RFC 9110, section 10.1.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Why the gate responds itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Malformed,
    NotInTime,
    BodyTooLarge,
    UnknownExpectation,
    HeadTooLarge,
    /// The upstream connection was lost after the request may have reached the receiver.
    UpstreamLost,
    Overloaded,
    UpstreamTooSlow,
    UnsupportedVersion,
}

impl Refusal {
    /// Each with its status, and its text for the client and the log; in the order of their declaration.
    pub const TABLE: [(Refusal, &str, &str); 9] = [
        (Refusal::Malformed, "400 Bad Request", "malformed request"),
        (Refusal::NotInTime, "408 Request Timeout", "request not complete in time"),
        (Refusal::BodyTooLarge, "413 Content Too Large", "body too large"),
        (Refusal::UnknownExpectation, "417 Expectation Failed", "unknown expectation"),
        (Refusal::HeadTooLarge, "431 Request Header Fields Too Large", "request head too large"),
        (Refusal::UpstreamLost, "502 Bad Gateway", "no answer"),
        (Refusal::Overloaded, "503 Service Unavailable", "too busy, try again"),
        (Refusal::UpstreamTooSlow, "504 Gateway Timeout", "no answer in time"),
        (Refusal::UnsupportedVersion, "505 HTTP Version Not Supported", "HTTP/1.0 and HTTP/1.1 only"),
    ];

    fn status(self) -> &'static str {
        Refusal::TABLE[self as usize].1
    }

    /// The status as a number: `413`.
    pub fn code(self) -> &'static str {
        self.status().split(' ').next().unwrap_or_default()
    }

    pub fn text(self) -> &'static str {
        Refusal::TABLE[self as usize].2
    }

    /// Whether the client may be an honest one that is still sending a body, and reads the response only afterwards.
    pub fn is_for_a_sender(self) -> bool {
        matches!(self, Refusal::BodyTooLarge | Refusal::Overloaded)
    }

    /// The whole response. It always closes the connection: after a refused request it is unknown where the next one
    /// begins.
    pub fn to_bytes(self) -> Vec<u8> {
        let (status, text) = (self.status(), self.text());
        let length = text.len() + 1;
        let retry = if self == Refusal::Overloaded { RETRY_AFTER } else { "" };
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\
             {retry}Connection: close\r\n\r\n{text}\n"
        )
        .into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_complete_response_of_one_line() {
        let expected = "HTTP/1.1 413 Content Too Large\r\nContent-Type: text/plain; charset=utf-8\r\n\
                        Content-Length: 15\r\nConnection: close\r\n\r\nbody too large\n";
        assert_eq!(String::from_utf8_lossy(&Refusal::BodyTooLarge.to_bytes()), expected);
    }

    #[test]
    fn every_refusal_has_a_counter_and_a_status() {
        for (at, (refusal, ..)) in Refusal::TABLE.into_iter().enumerate() {
            assert_eq!((refusal as usize, refusal.code().len()), (at, 3));
        }
    }

    #[test]
    fn only_overload_has_retry_after() {
        let has_retry_after = |refusal: Refusal| String::from_utf8_lossy(&refusal.to_bytes()).contains("Retry-After: ");
        assert!(has_retry_after(Refusal::Overloaded));
        assert!(!has_retry_after(Refusal::UpstreamTooSlow));
    }
}
