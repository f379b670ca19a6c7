//! One table, row by row as they are measured, in the form that README.md has.

use std::time::Duration;

pub fn begin() {
    println!("| what | measured | against | reach |\n|---|---|---|---|");
}

pub fn row(what: &str, measured: &str, against: &str, reach: &str) {
    println!("| {what} | {measured} | {against} | {reach} |");
}

pub fn ms(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1e3;
    if ms < 10.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") }
}

/// With thousands apart.
pub fn per_second(rate: f64) -> String {
    let digits = format!("{rate:.0}");
    let grouped = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect::<Vec<_>>();
    format!("{}/s", grouped.join(","))
}

/// The middle one: a disturbed round changes nothing.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(0.0)
}
