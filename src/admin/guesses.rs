//! How many wrong tokens each client has sent lately: a client that guesses is slowed down, and no other.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// What a person may mistype, and several open tabs with an old token.
const MAX_WRONG: u32 = 10;

/// From the first of them on.
const PERIOD: Duration = Duration::from_secs(60);

/// Clients that are counted one by one; further ones share a count.
const MAX_CLIENTS: usize = 256;
const FURTHER_CLIENTS: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

#[derive(Debug, Default)]
pub struct Guesses(BTreeMap<IpAddr, Wrong>);

#[derive(Clone, Copy, Debug)]
struct Wrong {
    since: Instant,
    count: u32,
}

impl Guesses {
    /// Counts a wrong token. True if it is one too many.
    pub fn add(&mut self, client: IpAddr, now: Instant) -> bool {
        self.0.retain(|_, wrong| wrong.is_recent(now));
        let key = self.key(client);
        let wrong = self.0.entry(key).or_insert(Wrong { since: now, count: 0 });
        wrong.count = wrong.count.saturating_add(1);
        wrong.count > MAX_WRONG
    }

    /// Whether a further wrong one would be too many.
    pub fn are_too_many(&self, client: IpAddr, now: Instant) -> bool {
        self.0.get(&self.key(client)).is_some_and(|wrong| wrong.is_recent(now) && wrong.count >= MAX_WRONG)
    }

    fn key(&self, client: IpAddr) -> IpAddr {
        if self.0.contains_key(&client) || self.0.len() < MAX_CLIENTS { client } else { FURTHER_CLIENTS }
    }
}

impl Wrong {
    fn is_recent(&self, now: Instant) -> bool {
        now.duration_since(self.since) < PERIOD
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn after_ten_wrong_ones_a_minute_a_client_is_refused_until_it_is_over() {
        let (mut guesses, start) = (Guesses::default(), Instant::now());
        for _ in 0..MAX_WRONG {
            assert!(!guesses.are_too_many(CLIENT, start));
            assert!(!guesses.add(CLIENT, start));
        }
        assert!(guesses.are_too_many(CLIENT, start) && guesses.add(CLIENT, start));
        assert!(!guesses.are_too_many(Ipv4Addr::new(192, 0, 2, 1).into(), start));
        assert!(guesses.are_too_many(CLIENT, start + PERIOD - Duration::from_millis(1)));
        assert!(!guesses.are_too_many(CLIENT, start + PERIOD) && !guesses.add(CLIENT, start + PERIOD));
    }

    #[test]
    fn a_crowd_of_clients_shares_one_count() {
        let (mut guesses, start) = (Guesses::default(), Instant::now());
        let clients = (0..100_000_u32).map(|client| IpAddr::from(client.to_be_bytes()));
        assert!(clients.filter(|client| guesses.add(*client, start)).count() > 90_000);
        assert!(guesses.0.len() <= MAX_CLIENTS + 1);
    }
}
