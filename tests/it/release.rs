//! What a release has beside the program: `.github/release/`.

mod agreement;
mod example;
mod files;
mod image;
mod monitoring;
mod schema;

use std::path::PathBuf;

/// A file of `.github/release/`.
fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".github/release").join(name)
}

#[track_caller]
fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}
