//! An acknowledged delivery is stored exactly once and byte for byte, whatever happens to the process, the machine, the disk
//! and the clock, and whatever other programs do to the database.
//!
//! `HOOKBOX_ROUNDS` is how often the program is killed and the power cut; `HOOKBOX_SEED` repeats a random choice of moments.
//! A test that needs root, a loop device or libfaketime and has none prints that it is skipped.

mod clock;
mod contention;
mod crash;
mod disk;
pub mod moved_files;
mod power_cut;
mod steps;

/// `HOOKBOX_ROUNDS`, by default a few.
pub fn rounds(few: u64) -> u64 {
    std::env::var("HOOKBOX_ROUNDS").map_or(few, |rounds| rounds.parse().unwrap())
}
