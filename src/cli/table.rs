//! Makes text fit the terminal and stay on its line, even if an untrusted sender has written it.

use std::io::{self, IsTerminal, Write};
use std::ops::Range;

use rustix::termios::tcgetwinsize;

pub(super) use crate::text::{is_invisible, lines, one_line};

/// The separator of columns.
const GAP: &str = "  ";

/// Properties of standard output.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Screen {
    /// `None` where lines may be of any length.
    pub(super) columns: Option<usize>,
    pub(super) is_terminal: bool,
    pub(super) has_colour: bool,
}

/// A colour by its meaning, and its code in ECMA-48.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    Good = 32,
    Bad = 31,
    Open = 33,
}

/// As narrow as a column becomes where the terminal is too narrow.
const SHRINKS_TO: usize = 4;

/// How wide the columns of a table are.
#[derive(Clone, Debug)]
pub(super) struct Layout<const N: usize> {
    widths: [usize; N],
    screen: Screen,
}

impl Screen {
    /// By the terminal, and by the variables that overrule it: `COLUMNS` (a number), `NO_COLOR` (not empty), `TERM=dumb`.
    pub(super) fn of_stdout() -> Screen {
        let is_terminal = io::stdout().is_terminal();
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let of_terminal = || tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col));
        let asked_for = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        Screen {
            columns: asked_for.or_else(of_terminal).filter(|columns| *columns > 0),
            is_terminal,
            has_colour: is_terminal && !is_dumb && !is_set("NO_COLOR"),
        }
    }

    pub(super) fn paint(&self, text: &str, colour: Option<Colour>) -> String {
        match colour {
            Some(colour) if self.has_colour => format!("\x1b[{}m{text}\x1b[0m", colour as u8),
            _ => text.to_owned(),
        }
    }
}

impl<const N: usize> Layout<N> {
    /// As wide as these rows need, and at least `least`. On a screen that is too narrow the columns `shrinking` become
    /// narrower, the last one first; on a wider one the last column takes the rest.
    pub(super) fn of(least: [usize; N], shrinking: Range<usize>, rows: &[[String; N]], screen: Screen) -> Layout<N> {
        let mut widths = least;
        for (at, cell) in rows.iter().flat_map(|row| row.iter().enumerate()) {
            widths[at] = widths[at].max(width(cell));
        }
        let shown = widths.iter().filter(|width| **width > 0).count();
        let needed: usize = widths.iter().sum::<usize>() + GAP.len() * shown.saturating_sub(1);
        let mut too_wide = screen.columns.map_or(0, |available| needed.saturating_sub(available));
        for width in widths[shrinking].iter_mut().rev() {
            let less = width.saturating_sub(SHRINKS_TO).min(too_wide);
            *width -= less;
            too_wide -= less;
        }
        if let Some(last) = widths.last_mut() {
            *last += screen.columns.map_or(0, |available| available.saturating_sub(needed));
        }
        Layout { widths, screen }
    }

    /// A row as a line, its cells cut where they do not fit; `colour` for the cell with that number.
    pub(super) fn line(&self, row: &[String; N], colour: Option<(usize, Colour)>) -> String {
        let is_limited = self.screen.columns.is_some();
        let cells = row.iter().zip(self.widths).enumerate().map(|(at, (cell, columns))| {
            let cell = if is_limited { cut(cell, columns) } else { cell.clone() };
            let padding = if at + 1 == N { 0 } else { columns.saturating_sub(width(&cell)) };
            let colour = colour.filter(|(coloured, _)| *coloured == at).map(|(_, colour)| colour);
            format!("{}{}", self.screen.paint(&cell, colour), " ".repeat(padding))
        });
        let line = cells.collect::<Vec<_>>().join(GAP);
        // A terminal too narrow for all of it.
        match self.screen.columns {
            Some(columns) if !self.screen.has_colour => cut(line.trim_end(), columns),
            _ => line.trim_end().to_owned(),
        }
    }
}

/// Writes rows in aligned columns. Where the screen is too narrow, the last column is cut.
pub(super) fn write<const N: usize>(out: &mut dyn Write, screen: Screen, rows: &[[String; N]]) -> io::Result<()> {
    let layout = Layout::of([0; N], N.saturating_sub(1)..N, rows, screen);
    rows.iter().try_for_each(|row| writeln!(out, "{}", layout.line(row, None)))
}

/// A time of the database without its offset, which is always that of UTC.
pub(super) fn time(at: &str) -> String {
    at.strip_suffix("+00:00").unwrap_or(at).replacen('T', " ", 1)
}

/// Nearly all cells are ASCII: wide characters of Asian scripts only misalign their row.
fn width(text: &str) -> usize {
    text.chars().count()
}

fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    text.chars().take(columns.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(columns: usize) -> Screen {
        Screen { columns: Some(columns), ..Screen::default() }
    }

    fn table(screen: Screen) -> String {
        let rows = [["ID", "EVENT"], ["7", "issues"], ["1234", "pull_request"]];
        let mut out = Vec::new();
        write(&mut out, screen, &rows.map(|row| row.map(str::to_owned))).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_are_aligned_and_lines_end_where_the_terminal_does() {
        assert_eq!(table(Screen::default()), "ID    EVENT\n7     issues\n1234  pull_request\n");
        assert_eq!(table(screen(11)), "ID    EVENT\n7     issu…\n1234  pull…\n");
        assert!(table(screen(3)).lines().all(|line| width(line) <= 3));
    }

    #[test]
    fn the_last_column_shrinks_first() {
        let row = ["1".repeat(4), "2".repeat(10), "3".repeat(10)];
        let line = |columns| Layout::of([0; 3], 1..3, std::slice::from_ref(&row), screen(columns)).line(&row, None);
        assert_eq!(line(28), "1111  2222222222  3333333333");
        assert_eq!(line(24), "1111  2222222222  33333…");
        assert_eq!(line(18), "1111  22222…  333…");
        assert_eq!(line(16), "1111  222…  333…");
    }

    #[test]
    fn colour_takes_no_place() {
        let coloured = Screen { columns: Some(20), is_terminal: true, has_colour: true };
        let row = ["error", "b"].map(str::to_owned);
        let layout = Layout::of([8, 0], 1..2, std::slice::from_ref(&row), coloured);
        assert_eq!(layout.line(&row, Some((0, Colour::Bad))), "\x1b[31merror\x1b[0m     b");
    }

    #[test]
    fn text_cannot_leave_its_line() {
        assert_eq!(one_line("a\r\n\u{1b}[2Jb\u{9b}"), "a???[2Jb?");
        assert_eq!(lines("a\r\n\u{1b}[2Jb\tc"), "a?\n?[2Jb\tc");
    }

    #[test]
    fn text_cannot_look_like_another() {
        assert_eq!(one_line("pay\u{202e}diap\u{2066}\u{200b}\u{feff}"), "pay?diap???");
        assert_eq!(one_line("größer 日本 🎉"), "größer 日本 🎉");
    }
}
