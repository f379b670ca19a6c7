//! How many deliveries were rejected in each of the last 24 hours. They leave no row in the database, unlike all others.

use std::sync::{Mutex, PoisonError};

use crate::clock::Timestamp;

const HOUR_MS: i64 = 60 * 60 * 1000;

/// A day.
const HOURS: usize = 24;

/// A ring buffer: the index of an hour is its number modulo the length. An older hour at that index is overwritten.
#[derive(Debug, Default)]
pub struct Hours(Mutex<[Hour; HOURS]>);

#[derive(Clone, Copy, Debug, Default)]
struct Hour {
    /// Since 1970.
    number: i64,
    count: u64,
}

impl Hours {
    pub fn add(&self, at: Timestamp) {
        let number = number_of(at);
        let mut hours = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let hour = &mut hours[index(number)];
        if hour.number != number {
            *hour = Hour { number, count: 0 };
        }
        hour.count += 1;
    }

    /// The count of the hour of `at`, which is within the last day.
    pub fn get(&self, at: Timestamp) -> u64 {
        let number = number_of(at);
        let hours = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Some(hours[index(number)]).filter(|hour| hour.number == number).map_or(0, |hour| hour.count)
    }
}

fn number_of(at: Timestamp) -> i64 {
    at.unix_ms().div_euclid(HOUR_MS)
}

fn index(number: i64) -> usize {
    usize::try_from(number.rem_euclid(HOURS as i64)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_overwrites_the_one_of_a_day_before() {
        let hours = Hours::default();
        let at = |hour: i64| Timestamp::from_unix_ms(hour * HOUR_MS + 1);
        for hour in [100, 100, 123, 124] {
            hours.add(at(hour));
        }
        assert_eq!([100, 101, 123, 124].map(|hour| hours.get(at(hour))), [0, 0, 1, 1]);
    }
}
