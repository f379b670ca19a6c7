//! The client's address, as far as it can be known: it is logged, checked against a source's `allow`, and counted by the
//! gate.

use super::Peer;
use crate::cidr::Cidr;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The field to which a proxy appends the address of its client.
pub const FORWARDED_FOR: &str = "X-Forwarded-For";

/// The sender's address; `None` where a trusted proxy names none that can be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client(Option<IpAddr>);

impl Client {
    /// Walks from the gate's peer to the client that each trusted proxy names.
    ///
    /// `forwarded_for` are the values of the header fields of that name in their order; they are read from the end, because
    /// each hop has appended to them. The first address that is not a trusted proxy's is the client's; the client itself
    /// may have made up everything before it.
    pub fn find(peer: Option<Peer>, forwarded_for: &[&str], trusted: &[Cidr]) -> Client {
        let Some(mut client) = peer.map(Peer::ip) else { return Client(None) };
        for hop in forwarded_for.iter().rev().flat_map(|value| value.rsplit(',')) {
            if !is_in(client, trusted) {
                break;
            }
            let Some(address) = hop_address(hop) else { return Client(None) };
            client = address;
        }
        Client(Some(client))
    }

    /// `None` if it is unknown.
    pub fn address(self) -> Option<IpAddr> {
        self.0
    }

    /// An unknown address is in no network.
    pub fn is_in(self, networks: &[Cidr]) -> bool {
        self.0.is_some_and(|address| is_in(address, networks))
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("an unknown address"),
        }
    }
}

/// Whether the address is in one of the networks.
pub fn is_in(address: IpAddr, networks: &[Cidr]) -> bool {
    networks.iter().any(|network| network.contains(address))
}

/// `203.0.113.9`, `203.0.113.9:4711`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:4711`.
fn hop_address(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim_matches([' ', '\t']);
    let in_brackets = || hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let with_port = || hop.parse().ok().map(|hop: SocketAddr| hop.ip());
    hop.parse().ok().or_else(in_brackets).or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(peer: &str, forwarded_for: &[&str], trusted: &[&str]) -> String {
        let trusted: Vec<Cidr> = trusted.iter().map(|network| network.parse().unwrap()).collect();
        Client::find(Peer::parse(peer), forwarded_for, &trusted).to_string()
    }

    const LOCAL: &str = "127.0.0.1:4711";
    const UNKNOWN: &str = "an unknown address";

    #[test]
    fn without_trust_the_peer_is_the_client() {
        assert_eq!(find("198.51.100.7:80", &["203.0.113.9"], &[]), "198.51.100.7");
        assert_eq!(find("198.51.100.7:80", &["203.0.113.9"], &["127.0.0.1"]), "198.51.100.7");
        assert_eq!(find("[2001:db8::1]:80", &[], &[]), "2001:db8::1");
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_what_its_client_claims_is_not() {
        let trusted = ["127.0.0.0/8", "10.0.0.0/8"];
        for (forwarded_for, client) in [
            (vec!["203.0.113.9"], "203.0.113.9"),
            (vec!["192.0.2.1, 203.0.113.9"], "203.0.113.9"),
            (vec!["192.0.2.1", "203.0.113.9"], "203.0.113.9"),
            (vec!["10.1.1.1,203.0.113.9 ,\t10.0.0.2"], "203.0.113.9"),
            (vec!["garbage, 203.0.113.9"], "203.0.113.9"),
            (vec!["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            (vec![], "127.0.0.1"),
        ] {
            assert_eq!(find(LOCAL, &forwarded_for, &trusted), client, "{forwarded_for:?}");
        }
    }

    #[test]
    fn a_hop_that_cannot_be_read_makes_the_client_unknown() {
        for hop in ["", "unknown", "203.0.113.9, ", "_hidden", "203.0.113", "[203.0.113.9]", "203.0.113.9:x"] {
            assert_eq!(find(LOCAL, &[hop], &["127.0.0.1"]), UNKNOWN, "{hop:?}");
        }
        assert_eq!(find("", &[], &[]), UNKNOWN);
        assert!(!Client(None).is_in(&["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()]));
    }

    #[test]
    fn addresses_are_read_as_proxies_write_them() {
        for (hop, client) in [
            ("203.0.113.9:4711", "203.0.113.9"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
            ("[::ffff:203.0.113.9]:4711", "203.0.113.9"),
        ] {
            assert_eq!(find(LOCAL, &[hop], &["127.0.0.1"]), client);
        }
    }

    #[test]
    fn a_peer_on_a_unix_socket_is_this_machine() {
        assert_eq!(find("unix", &["203.0.113.9"], &[]), "127.0.0.1");
        assert_eq!(find("unix", &["203.0.113.9"], &["127.0.0.1"]), "203.0.113.9");
    }

    #[test]
    fn a_mapped_peer_is_its_ipv4_address() {
        assert_eq!(find("[::ffff:127.0.0.1]:80", &["203.0.113.9"], &["127.0.0.1"]), "203.0.113.9");
    }
}
