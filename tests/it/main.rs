//! Black-box tests: each starts the real program in its own directory and checks what a user, a provider or another
//! program sees. They are one binary, so that it links once.
//!
//! `HOOKBOX_BIN` names another program to test, `HOOKBOX_RUNNER` the command that starts it (`qemu-arm-static -cpu
//! arm1176`), and `HOOKBOX_PATIENCE` a factor for all deadlines. `.ci/emulated` sets all three.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod support;

mod client_address;
mod clients;
mod content;
mod duplicates;
mod handshake;
mod http;
mod provider;
mod reach;
mod real_payloads;
mod receiving;
mod recover;
mod refusals;
mod rejection;

mod actions;
mod news;
mod processing;

mod durability;
mod hostile;
mod load;
mod older_program;
mod own_senders;
mod upgrade;
mod regression;
mod store;

mod admin;
mod browser;
mod cli;
mod help;
mod config;
mod import;
mod include;
mod inspect;
mod logs;
mod unread_log;

mod lifecycle;
mod local_files;
mod maintenance;
mod manual;
mod proxy;
mod release;
mod sending;
mod socket_activation;
mod systemd;

mod layers;
mod tidy;
