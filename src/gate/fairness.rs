//! Who makes room when it is short: the client that has the most of it. So one client cannot keep out all others.

use super::request::ConnectionId;
use std::net::IpAddr;

/// What one home or one server has: it can use any address of the network.
const V6_CLIENT_BITS: u32 = 64;

/// Networks that one owner often has whole. They decide only between clients that have equally much.
const V4_OWNER_BITS: u32 = 24;
const V6_OWNER_BITS: u32 = 48;

/// A client, as far as the gate can tell one from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClientKey {
    V4(u32),
    /// The network of the address.
    V6(u64),
    /// The clients for which a trusted proxy names something that is not an address.
    Unknown,
    /// The client of one connection, before the trusted proxy has named it. A proxy is not one client for all whose
    /// requests it begins to forward.
    Unnamed(ConnectionId),
}

impl ClientKey {
    pub fn of(address: IpAddr) -> ClientKey {
        match address {
            IpAddr::V4(address) => ClientKey::V4(address.to_bits()),
            IpAddr::V6(address) => ClientKey::V6((address.to_bits() >> (u128::BITS - V6_CLIENT_BITS)) as u64),
        }
    }

    /// The key of the network that probably has the same owner.
    pub fn owner(self) -> ClientKey {
        match self {
            ClientKey::V4(address) => ClientKey::V4(address & (u32::MAX << (u32::BITS - V4_OWNER_BITS))),
            ClientKey::V6(network) => ClientKey::V6(network & (u64::MAX << (V6_CLIENT_BITS - V6_OWNER_BITS))),
            other => other,
        }
    }
}

/// How much each client has. Made when it is needed, from what the connections are then: no count can become wrong.
pub struct Shares(Vec<(ClientKey, usize)>);

impl FromIterator<(ClientKey, usize)> for Shares {
    fn from_iter<I: IntoIterator<Item = (ClientKey, usize)>>(items: I) -> Shares {
        let mut shares: Vec<_> = items.into_iter().collect();
        shares.sort_unstable_by_key(|(key, _)| *key);
        shares.dedup_by(|next, kept| {
            let is_same = next.0 == kept.0;
            kept.1 += if is_same { next.1 } else { 0 };
            is_same
        });
        Shares(shares)
    }
}

impl Shares {
    /// One for each key.
    pub fn count(keys: impl Iterator<Item = ClientKey>) -> Shares {
        keys.map(|key| (key, 1)).collect()
    }

    /// The share of one client.
    pub fn of(&self, key: ClientKey) -> usize {
        self.0.binary_search_by_key(&key, |(key, _)| *key).map_or(0, |at| self.0[at].1)
    }

    /// The clients that have the most: usually one. A proxy sends the head of a request at once, so unnamed clients are few:
    /// if they have more than half of all, it is they that make room.
    pub fn greediest(&self) -> Greediest {
        let is_unnamed = |key: &ClientKey| matches!(key, ClientKey::Unnamed(_));
        let all: usize = self.0.iter().map(|(_, share)| share).sum();
        let unnamed: usize = self.0.iter().filter(|(key, _)| is_unnamed(key)).map(|(_, share)| share).sum();
        let most = self.0.iter().map(|(_, share)| *share).max();
        let pays =
            |key: &ClientKey, share: usize| if 2 * unnamed > all { is_unnamed(key) } else { Some(share) == most };
        Greediest(self.0.iter().filter(|(key, share)| pays(key, *share)).map(|(key, _)| *key).collect())
    }
}

/// The clients that make room.
pub struct Greediest(Vec<ClientKey>);

impl Greediest {
    pub fn has(&self, key: ClientKey) -> bool {
        self.0.binary_search(&key).is_ok()
    }

    /// How many of them each owner has.
    pub fn by_owner(&self) -> Shares {
        Shares::count(self.0.iter().map(|key| key.owner()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(address: &str) -> ClientKey {
        ClientKey::of(address.parse().unwrap())
    }

    #[test]
    fn an_ipv4_address_and_an_ipv6_network_are_one_client() {
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_ne!(key("203.0.113.8"), key("203.0.113.9"));
    }

    #[test]
    fn neighbours_may_have_one_owner() {
        assert_eq!(key("2001:db8:1:2::1").owner(), key("2001:db8:1:3::1").owner());
        assert_ne!(key("2001:db8:1:2::1").owner(), key("2001:db8:2:2::1").owner());
        assert_eq!(key("203.0.113.8").owner(), key("203.0.113.9").owner());
        assert_ne!(key("203.0.113.8").owner(), key("203.0.114.8").owner());
        assert_eq!(ClientKey::Unnamed(ConnectionId(1)).owner(), ClientKey::Unnamed(ConnectionId(1)));
    }

    #[test]
    fn shares_are_sums_by_client() {
        let [one, two, unknown] = [key("203.0.113.8"), key("203.0.113.9"), ClientKey::Unknown];
        let shares: Shares = [(one, 1), (two, 5), (unknown, 2), (one, 3), (two, 1)].into_iter().collect();
        assert_eq!([one, two, unknown, key("203.0.113.7")].map(|key| shares.of(key)), [4, 6, 2, 0]);
        assert_eq!(Shares::count([one, two, one].into_iter()).of(one), 2);
    }

    #[test]
    fn the_greediest_are_all_that_have_the_most() {
        let [one, two, unknown] = [key("203.0.113.8"), key("203.0.113.9"), ClientKey::Unknown];
        let greediest = Shares::count([unknown, two, one, one, two].into_iter()).greediest();
        assert_eq!([one, two, unknown].map(|key| greediest.has(key)), [true, true, false]);
        assert_eq!(greediest.by_owner().of(one.owner()), 2);
        assert!(!Shares::count([].into_iter()).greediest().has(one));
    }

    #[test]
    fn unnamed_clients_of_a_proxy_are_meant_only_if_they_have_more_than_half() {
        let one = key("203.0.113.8");
        let of = |unnamed: u64| (0..unnamed).map(|id| ClientKey::Unnamed(ConnectionId(id)));
        for (unnamed, pays) in [(2, false), (3, true)] {
            let greediest = Shares::count(of(unnamed).chain([one, one])).greediest();
            assert_eq!((greediest.has(one), of(unnamed).all(|key| greediest.has(key))), (!pays, pays));
        }
    }
}
