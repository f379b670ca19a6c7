//! Text that fits the terminal and stays on its line, whatever other programs have written into the database.

use std::io::{self, Write};

use rustix::termios::tcgetwinsize;

/// The width of the terminal on standard output, in columns; `None` if it is none, and lines may be of any length.
pub(super) fn terminal_columns() -> Option<usize> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Writes rows in aligned columns. The last column takes what is left of the line and is cut there.
pub(super) fn write<const N: usize>(
    out: &mut dyn Write,
    columns: Option<usize>,
    rows: &[[String; N]],
) -> io::Result<()> {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", cut(cells.join("  ").trim_end(), columns))?;
    }
    Ok(())
}

/// The text without control characters, which could move the cursor or forge a line.
pub(super) fn one_line(text: &str) -> String {
    text.replace(char::is_control, "?")
}

fn cut(line: &str, columns: Option<usize>) -> String {
    match columns {
        Some(columns) if line.chars().count() > columns => {
            line.chars().take(columns.saturating_sub(1)).chain(['…']).collect()
        }
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(columns: Option<usize>) -> String {
        let rows = [["ID", "EVENT"], ["7", "issues"], ["1234", "pull_request"]];
        let mut out = Vec::new();
        write(&mut out, columns, &rows.map(|row| row.map(str::to_owned))).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_are_aligned_and_lines_end_where_the_terminal_does() {
        assert_eq!(table(None), "ID    EVENT\n7     issues\n1234  pull_request\n");
        assert_eq!(table(Some(11)), "ID    EVENT\n7     issu…\n1234  pull…\n");
    }

    #[test]
    fn text_cannot_leave_its_line() {
        assert_eq!(one_line("a\r\n\u{1b}[2Jb"), "a???[2Jb");
    }
}
