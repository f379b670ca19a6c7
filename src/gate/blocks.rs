//! The bytes of requests, in lists of blocks under one budget.
//!
//! A single vector that doubles as it grows needs three times its length while it grows; blocks never move, and each is
//! freed as soon as it is sent.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::rc::Rc;

/// Holds most deliveries whole, and is not much for a client to occupy with a single byte.
const FIRST_BLOCK_BYTES: usize = 16 * 1024;

/// As much as one read returns at most.
const NEXT_BLOCK_BYTES: usize = 64 * 1024;

/// More than a Unix socket takes at once.
const BLOCKS_PER_WRITE: usize = 8;

/// The memory of all blocks of one gate, counted in capacities.
#[derive(Clone, Debug, Default)]
pub struct Budget {
    held_bytes: Rc<Cell<usize>>,
}

impl Budget {
    pub fn held_bytes(&self) -> usize {
        self.held_bytes.get()
    }

    fn take(&self, bytes: usize) {
        self.held_bytes.set(self.held_bytes.get() + bytes);
    }

    fn give_back(&self, bytes: usize) {
        self.held_bytes.set(self.held_bytes.get() - bytes);
    }
}

/// A queue of bytes: appended at the end, written to a socket from the front.
#[derive(Debug)]
pub struct Blocks {
    list: VecDeque<Vec<u8>>,
    /// Bytes of the first block that are sent.
    sent_bytes: usize,
    appended_bytes: u64,
    budget: Budget,
}

impl Blocks {
    pub fn new(budget: &Budget) -> Blocks {
        Blocks { list: VecDeque::new(), sent_bytes: 0, appended_bytes: 0, budget: budget.clone() }
    }

    /// The length of all that was appended, written or not.
    pub fn appended_bytes(&self) -> u64 {
        self.appended_bytes
    }

    /// The blocks' capacity: the memory that they take.
    pub fn held_bytes(&self) -> usize {
        self.list.iter().map(Vec::capacity).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Appends `bytes`. No block is larger than `expected_bytes`, the length of `bytes` and of all that may follow.
    pub fn append(&mut self, mut bytes: &[u8], expected_bytes: u64) {
        self.appended_bytes += bytes.len() as u64;
        let mut expected_bytes = usize::try_from(expected_bytes).unwrap_or(usize::MAX).max(bytes.len());
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(self.room_bytes(expected_bytes)));
            if let Some(last) = self.list.back_mut() {
                last.extend_from_slice(now);
            }
            expected_bytes -= now.len();
            bytes = later;
        }
    }

    /// The room in the last block, after adding one if that is full.
    fn room_bytes(&mut self, expected_bytes: usize) -> usize {
        let max_bytes = match self.list.back() {
            Some(last) if last.len() < last.capacity() => return last.capacity() - last.len(),
            Some(_) => NEXT_BLOCK_BYTES,
            None => FIRST_BLOCK_BYTES,
        };
        let block = Vec::with_capacity(max_bytes.min(expected_bytes));
        let capacity = block.capacity();
        self.budget.take(capacity);
        self.list.push_back(block);
        capacity
    }

    /// Puts `head` before everything else. Only before the first write.
    pub fn prepend(&mut self, head: Vec<u8>) {
        self.budget.take(head.capacity());
        self.list.push_front(head);
    }

    /// Writes once, and frees the blocks that were sent. Returns the number of bytes written.
    pub fn write_to(&mut self, stream: &mut impl Write) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); BLOCKS_PER_WRITE];
        let count = self.list.len().min(BLOCKS_PER_WRITE);
        for (at, (slice, block)) in slices.iter_mut().zip(&self.list).enumerate() {
            *slice = IoSlice::new(if at == 0 { &block[self.sent_bytes..] } else { block });
        }
        let written_bytes = stream.write_vectored(&slices[..count])?;
        if written_bytes == 0 && count > 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.free(written_bytes);
        Ok(written_bytes)
    }

    fn free(&mut self, written_bytes: usize) {
        self.sent_bytes += written_bytes;
        while let Some(first) = self.list.front()
            && self.sent_bytes >= first.len()
        {
            self.sent_bytes -= first.len();
            self.budget.give_back(first.capacity());
            self.list.pop_front();
        }
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

    /// Takes `step_bytes` at a time, like a socket whose buffer is almost full.
    struct Slow {
        step_bytes: usize,
        taken: Vec<u8>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.step_bytes);
            self.taken.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at % 251) as u8).collect()
    }

    #[test]
    fn bytes_are_written_as_they_were_appended_and_free_their_budget() -> io::Result<()> {
        for (length, step_bytes) in [(0, 1), (1, 1), (16_384, 5_000), (16_385, 16_384), (300_000, 70_000)] {
            let budget = Budget::default();
            let mut blocks = Blocks::new(&budget);
            let body = pattern(length);
            for piece in body.chunks(10_007) {
                blocks.append(piece, u64::MAX);
            }
            blocks.prepend(b"head".to_vec());
            assert!(budget.held_bytes() >= length);
            let mut slow = Slow { step_bytes, taken: Vec::new() };
            while !blocks.is_empty() {
                blocks.write_to(&mut slow)?;
            }
            assert_eq!(slow.taken, [b"head", &body[..]].concat());
            assert_eq!((blocks.appended_bytes(), budget.held_bytes()), (length as u64, 0));
        }
        Ok(())
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

    #[test]
    fn sent_blocks_are_freed() -> io::Result<()> {
        let budget = Budget::default();
        let mut blocks = Blocks::new(&budget);
        blocks.append(&pattern(200_000), 200_000);
        blocks.write_to(&mut Slow { step_bytes: 100_000, taken: Vec::new() })?;
        assert!(budget.held_bytes() < 200_000, "{}", budget.held_bytes());
        Ok(())
    }
}
