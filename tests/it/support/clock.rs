//! The program with a clock that the test sets (libfaketime).

use std::path::Path;

use super::Home;
use super::program::runner;

/// Where Debian's package `faketime` puts the library, by architecture and in general.
const LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
];

/// The same home with its own clock, which [`set_clock`] sets. `None` without libfaketime.
pub fn with_clock(home: Home, time: &str) -> Option<Home> {
    let emulated = !runner().is_empty();
    let Some(library) = LIBRARIES.iter().find(|path| Path::new(path).exists() && !emulated) else {
        println!("skipped: libfaketime (package faketime) is not installed, or the program is emulated");
        return None;
    };
    set_clock(&home, time);
    let file = home.path("clock").display().to_string();
    Some(
        home.env("LD_PRELOAD", library)
            .env("FAKETIME_TIMESTAMP_FILE", &file)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1"),
    )
}

/// `+0` is the true time, `-1d` a day ago, `@1970-01-01 00:01:00` that moment.
pub fn set_clock(home: &Home, time: &str) {
    // Renamed into place: the program reads the file at any moment.
    home.write("clock.new", time);
    std::fs::rename(home.path("clock.new"), home.path("clock")).unwrap();
}
