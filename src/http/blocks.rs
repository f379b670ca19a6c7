//! The bytes of bodies, in lists of blocks under one budget.
//!
//! A single vector that doubles as it grows needs three times its length while it grows; blocks never move.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Holds most deliveries whole, and is not much for a client to occupy with a single byte.
const FIRST_BLOCK_BYTES: usize = 16 * 1024;

/// As much as one read returns at most.
const NEXT_BLOCK_BYTES: usize = 64 * 1024;

/// The memory of all blocks of one gate, counted in capacities.
#[derive(Clone, Debug, Default)]
pub struct Budget {
    held_bytes: Arc<AtomicUsize>,
}

impl Budget {
    pub fn held_bytes(&self) -> usize {
        self.held_bytes.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) {
        self.held_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn give_back(&self, bytes: usize) {
        self.held_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Bytes that are appended piece by piece, and read when all are there.
#[derive(Debug)]
pub struct Blocks {
    list: Vec<Vec<u8>>,
    bytes: u64,
    budget: Budget,
}

impl Blocks {
    pub fn new(budget: &Budget) -> Blocks {
        Blocks { list: Vec::new(), bytes: 0, budget: budget.clone() }
    }

    /// The length of all that was appended.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The blocks' capacity: the memory that they take.
    pub fn held_bytes(&self) -> usize {
        self.list.iter().map(Vec::capacity).sum()
    }

    /// Appends `bytes`. No block is larger than `expected_bytes`, the length of `bytes` and of all that may follow.
    pub fn append(&mut self, mut bytes: &[u8], expected_bytes: u64) {
        self.bytes += bytes.len() as u64;
        let mut expected_bytes = usize::try_from(expected_bytes).unwrap_or(usize::MAX).max(bytes.len());
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(self.room_bytes(expected_bytes)));
            if let Some(last) = self.list.last_mut() {
                last.extend_from_slice(now);
            }
            expected_bytes -= now.len();
            bytes = later;
        }
    }

    /// The room in the last block, after adding one if that is full.
    fn room_bytes(&mut self, expected_bytes: usize) -> usize {
        let max_bytes = match self.list.last() {
            Some(last) if last.len() < last.capacity() => return last.capacity() - last.len(),
            Some(_) => NEXT_BLOCK_BYTES,
            None => FIRST_BLOCK_BYTES,
        };
        let block = Vec::with_capacity(max_bytes.min(expected_bytes));
        let capacity = block.capacity();
        self.budget.take(capacity);
        self.list.push(block);
        capacity
    }

    /// All bytes in one piece: a single block as it is, and several copied, each freed as soon as it is copied.
    pub fn into_vec(mut self) -> Vec<u8> {
        self.budget.give_back(self.held_bytes());
        let mut list = std::mem::take(&mut self.list);
        if list.len() == 1 {
            return list.pop().unwrap_or_default();
        }
        let mut bytes = Vec::with_capacity(list.iter().map(Vec::len).sum());
        for block in list {
            bytes.extend_from_slice(&block);
        }
        bytes
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        self.budget.give_back(self.held_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at % 251) as u8).collect()
    }

    #[test]
    fn bytes_are_read_as_they_were_appended_and_free_their_budget() {
        for length in [0, 1, 16_384, 16_385, 300_000] {
            let budget = Budget::default();
            let mut blocks = Blocks::new(&budget);
            let body = pattern(length);
            for piece in body.chunks(10_007) {
                blocks.append(piece, u64::MAX);
            }
            assert!(budget.held_bytes() >= length);
            assert_eq!((blocks.bytes(), blocks.held_bytes()), (length as u64, budget.held_bytes()));
            assert_eq!(blocks.into_vec(), body);
            assert_eq!(budget.held_bytes(), 0);
        }
    }

    #[test]
    fn a_body_of_one_block_is_not_copied() {
        let mut blocks = Blocks::new(&Budget::default());
        blocks.append(b"body", 4);
        let block = blocks.list[0].as_ptr();
        let body = blocks.into_vec();
        assert_eq!(body.as_ptr(), block);
    }

    #[test]
    fn the_capacity_is_close_to_the_length() {
        let budget = Budget::default();
        let mut blocks = Blocks::new(&budget);
        blocks.append(&pattern(10), 25_000_000);
        assert_eq!(budget.held_bytes(), FIRST_BLOCK_BYTES);
        blocks.append(&pattern(1_000_000), 25_000_000);
        assert!(budget.held_bytes() < 1_000_010 + NEXT_BLOCK_BYTES);
        drop(blocks);
        assert_eq!(budget.held_bytes(), 0);
    }

    #[test]
    fn a_body_of_known_length_takes_no_more_than_that() {
        let budget = Budget::default();
        let mut blocks = Blocks::new(&budget);
        blocks.append(b"a", 3);
        blocks.append(b"bc", 2);
        assert_eq!(budget.held_bytes(), 3);
    }
}
