//! hookbox: a webhook receiver that stores a delivery before it acknowledges it, and processes it afterwards.

#![allow(dead_code)] // until the parts meet

mod clock;
mod event;
mod gate;
mod listen;

fn main() {}
