//! Random numbers that a failed run can repeat.

use std::time::{SystemTime, UNIX_EPOCH};

/// Small, seeded and the same everywhere (xorshift64*, Vigna 2016).
pub struct Random(u64);

impl Random {
    /// Seeded from `HOOKBOX_SEED`, or else from the clock. Prints the seed for a repeat.
    pub fn new() -> Random {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos().into();
        let seed: u64 = std::env::var("HOOKBOX_SEED").map_or_else(|_| now(), |seed| seed.parse().unwrap());
        println!("HOOKBOX_SEED={seed}");
        Random::from_seed(seed | 1 << 63)
    }

    pub fn from_seed(seed: u64) -> Random {
        Random(seed.max(1))
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}
