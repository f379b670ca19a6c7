//! Networks as the operator writes them: `10.0.0.0/8`, `2001:db8::/32`, or a single address.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

const NO_NETWORK: &str = "not a network; write one such as \"10.0.0.0/8\" or \"2001:db8::/32\", or an address";

/// A network: all addresses that share their first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    prefix_bits: u32,
}

impl Cidr {
    /// An IPv4 address within an IPv6 one (`::ffff:10.0.0.1`) counts as the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        shared_bits(self.address, address.to_canonical()) >= Some(self.prefix_bits)
    }
}

/// How many leading bits two addresses share; `None` for addresses of different versions.
fn shared_bits(one: IpAddr, other: IpAddr) -> Option<u32> {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => Some((one.to_bits() ^ other.to_bits()).leading_zeros()),
        (IpAddr::V6(one), IpAddr::V6(other)) => Some((one.to_bits() ^ other.to_bits()).leading_zeros()),
        _ => None,
    }
}

/// The address with all bits beyond the prefix cleared.
fn network(address: IpAddr, prefix_bits: u32) -> IpAddr {
    match address {
        IpAddr::V4(it) => IpAddr::V4((it.to_bits() & u32::MAX.checked_shl(32 - prefix_bits).unwrap_or(0)).into()),
        IpAddr::V6(it) => IpAddr::V6((it.to_bits() & u128::MAX.checked_shl(128 - prefix_bits).unwrap_or(0)).into()),
    }
}

impl FromStr for Cidr {
    /// What to write instead.
    type Err = String;

    fn from_str(text: &str) -> Result<Cidr, String> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| NO_NETWORK)?;
        if address.to_canonical() != address {
            return Err("this is IPv4 written as IPv6; write it as IPv4".to_owned());
        }
        let most_bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = prefix.map_or(Ok(most_bits), |digits| prefix_bits(digits, most_bits))?;
        let meant = Cidr { address: network(address, prefix_bits), prefix_bits };
        if meant.address != address {
            return Err(format!("the address has bits set beyond the prefix; write {meant}, or the address alone"));
        }
        Ok(meant)
    }
}

fn prefix_bits(digits: &str, most: u32) -> Result<u32, String> {
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let bits = digits.parse().ok().filter(|_| is_number).ok_or(NO_NETWORK)?;
    if bits <= most { Ok(bits) } else { Err(format!("such an address has {most} bits; write /0 to /{most}")) }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn contains(network: &str, address: &str) -> bool {
        network.parse::<Cidr>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn a_network_contains_the_addresses_with_its_prefix() {
        let inside = [
            ("10.0.0.0/8", "10.255.255.255"),
            ("192.0.2.0/25", "192.0.2.127"),
            ("192.0.2.7", "192.0.2.7"),
            ("0.0.0.0/0", "203.0.113.9"),
            ("10.0.0.0/8", "::ffff:10.1.2.3"),
            ("2001:db8::/32", "2001:db8:ffff::1"),
            ("::1", "::1"),
            ("::/0", "2001:db8::1"),
        ];
        for (network, address) in inside {
            assert!(contains(network, address), "{address} in {network}");
        }
        let outside = [
            ("10.0.0.0/8", "11.0.0.0"),
            ("192.0.2.0/25", "192.0.2.128"),
            ("192.0.2.7", "192.0.2.6"),
            ("0.0.0.0/0", "2001:db8::1"),
            ("::/0", "10.0.0.1"),
            ("::/0", "::ffff:10.0.0.1"),
            ("::/96", "0.0.0.1"),
            ("2001:db8::/32", "2001:db9::"),
        ];
        for (network, address) in outside {
            assert!(!contains(network, address), "{address} in {network}");
        }
    }

    #[test]
    fn an_invalid_network_is_refused_with_advice() {
        let refused = |text: &str| text.parse::<Cidr>().unwrap_err();
        let nothing =
            ["", "/", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/x", "10.0/8", "localhost", "fe80::1%eth0", " ::1"];
        for text in nothing {
            assert_eq!(refused(text), NO_NETWORK, "{text}");
        }
        assert_eq!(refused("10.0.0.0/33"), "such an address has 32 bits; write /0 to /32");
        assert_eq!(refused("::/129"), "such an address has 128 bits; write /0 to /128");
        assert_eq!(refused("::ffff:10.0.0.0/104"), "this is IPv4 written as IPv6; write it as IPv4");
        assert!(refused("10.1.2.3/8").contains("write 10.0.0.0/8,"));
        assert!(refused("2001:db8::1/64").contains("write 2001:db8::/64,"));
        assert!(refused("1.2.3.4/0").contains("write 0.0.0.0/0,"));
    }

    #[test]
    fn a_network_is_displayed_with_its_prefix() {
        for (text, shown) in [("10.0.0.0/8", "10.0.0.0/8"), ("::1", "::1/128"), ("192.0.2.7", "192.0.2.7/32")] {
            assert_eq!(text.parse::<Cidr>().unwrap().to_string(), shown);
        }
    }
}
