//! Black-box tests: each starts the real program in a directory of its own and looks at what a user, a provider or
//! another program would see. One binary, so that it links once.
//!
//! `HOOKBOX_BIN` names another program to test, `HOOKBOX_RUNNER` what to start it with (`qemu-arm-static -cpu arm1176`), and
//! `HOOKBOX_PATIENCE` how many times longer than usual to wait for it. `.ci/emulated` sets all three.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod support;

mod receive;
mod reject;
mod provider;
mod handshake;
mod dedup;

mod store;

mod systemd;
mod logs;
mod network;
mod proxy;

mod process;
mod actions;

mod admin;
mod browser;

mod cli;
mod help;
mod config;
mod look;

mod care;
mod durable;
mod cost;
mod lifecycle;
mod load;
mod stall;

mod interop;
mod payloads;
mod manual;

mod layers;
mod tidy;
