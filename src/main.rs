//! hookbox: a webhook receiver that stores a delivery before it acknowledges it, and processes it afterwards.

mod clock;
mod event;
mod listen;
mod gate;

fn main() {}
