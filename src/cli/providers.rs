//! `hookbox providers`: the supported providers and their contracts.

use std::io::{self, Write};

use super::Failure;
use super::table::{self, Screen};
use crate::provider::{self, UNSUPPORTED};

/// The labels' column: as wide as the longest of them and two spaces.
const LABEL_COLUMNS: usize = 13;

pub(super) fn run(name: Option<&str>, out: &mut dyn Write) -> Result<(), Failure> {
    match name {
        None => Ok(list(out)?),
        Some(name) => show(name, out),
    }
}

fn list(out: &mut dyn Write) -> io::Result<()> {
    let header = ["NAME", "PROVIDER", "PROOF", "ID"];
    let rows = std::iter::once(header).chain(provider::presets().map(provider::summary));
    let rows: Vec<[String; 4]> = rows.map(|row| row.map(str::to_owned)).collect();
    table::write(out, Screen::of_stdout(), &rows)?;
    writeln!(out, "\nnot supported (`hookbox providers NAME` says why, and what to do instead)")?;
    let rows: Vec<[String; 2]> = UNSUPPORTED.iter().map(|it| [it.name, it.title].map(str::to_owned)).collect();
    table::write(out, Screen::of_stdout(), &rows)
}

fn show(name: &str, out: &mut dyn Write) -> Result<(), Failure> {
    let rows = provider::contract(name).map_err(Failure::usage)?;
    Ok(rows.iter().try_for_each(|(label, text)| writeln!(out, "{label:LABEL_COLUMNS$}{text}"))?)
}
