//! One table, row by row as they are measured, in the form that FIGURES.md has.

use std::fmt;
use std::time::Duration;

pub fn begin() {
    println!("| what | measured | against | reach |\n|---|---|---|---|");
}

pub fn row(what: &str, measured: &str, against: &str, reach: &str) {
    println!("| {what} | {measured} | {against} | {reach} |");
}

/// The target, and whether it was reached.
pub fn at_least(target: f64, unit: &str, measured: f64) -> String {
    format!("{target}{unit}: {}", verdict(measured >= target))
}

/// The target, and whether it was kept to.
pub fn at_most(target: f64, unit: &str, measured: f64) -> String {
    format!("{target}{unit}: {}", verdict(measured <= target))
}

fn verdict(is_met: bool) -> &'static str {
    if is_met { "met" } else { "**missed**" }
}

pub fn ms(seconds: f64) -> String {
    let ms = seconds * 1e3;
    if ms < 10.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") }
}

/// With thousands apart.
pub fn per_second(rate: f64) -> String {
    let digits = format!("{rate:.0}");
    let grouped = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect::<Vec<_>>();
    format!("{}/s", grouped.join(","))
}

pub fn times(quotient: f64) -> String {
    format!("{quotient:.2} x")
}

pub fn mb(mb: f64) -> String {
    format!("{mb:.1} MB")
}

/// What several rounds gave.
pub struct Spread {
    pub median: f64,
    low: f64,
    high: f64,
    rounds: usize,
    unit: fn(f64) -> String,
}

impl Spread {
    pub fn of(numbers: impl IntoIterator<Item = f64>, unit: fn(f64) -> String) -> Spread {
        let mut numbers: Vec<f64> = numbers.into_iter().collect();
        numbers.sort_by(f64::total_cmp);
        // A disturbed round changes nothing.
        let at = |index: usize| numbers.get(index).copied().unwrap_or(f64::NAN);
        let rounds = numbers.len();
        Spread { median: at(rounds / 2), low: at(0), high: at(rounds.saturating_sub(1)), rounds, unit }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = self.unit;
        write!(f, "{}", unit(self.median))?;
        if self.rounds < 2 {
            return Ok(());
        }
        write!(f, " ({} to {})", bare(&unit(self.low)), bare(&unit(self.high)))
    }
}

/// A range says its unit once.
fn bare(number: &str) -> &str {
    number.trim_end_matches(|c: char| !c.is_ascii_digit())
}

pub fn seconds(durations: impl IntoIterator<Item = Duration>) -> impl Iterator<Item = f64> {
    durations.into_iter().map(|duration| duration.as_secs_f64())
}
