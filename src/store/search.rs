//! Text in a delivery: its id, its event type, its payload.

use std::time::{Duration, Instant};

use memchr::memchr2_iter;
use rusqlite::{CachedStatement, Connection, Result, Row};

use super::blocks::Span;

/// The newest events of a span, to look into all of them: that is faster than one by one.
const BLOCK: &str = "SELECT delivery_id, event_type, payload_json, id FROM webhook_events
     WHERE id >= ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3";

/// Some milliseconds of reading: no statement stays open for longer, also of a search that looks at all events.
const BLOCK_EVENTS: u32 = 256;
const BLOCK_BYTES: usize = 4 << 20;

/// A text, in each way in which JSON may spell it. Letters of ASCII are equal in either case.
#[derive(Debug)]
pub(super) struct Needle {
    spellings: Vec<Vec<u8>>,
}

/// Looks for a needle in events.
pub(super) struct Search<'a> {
    needle: Needle,
    by_id: CachedStatement<'a>,
    /// `None`: it looks at all.
    ends: Option<Instant>,
}

/// Looks for a needle in all events of a span.
pub(super) struct Scan<'a> {
    needle: Needle,
    block: CachedStatement<'a>,
}

impl<'a> Search<'a> {
    pub(super) fn new(connection: &'a Connection, text: &str, max_time: Option<Duration>) -> Result<Search<'a>> {
        let sql = "SELECT delivery_id, event_type, payload_json FROM webhook_events WHERE id = ?1";
        let by_id = connection.prepare_cached(sql)?;
        Ok(Search { needle: Needle::new(text), by_id, ends: max_time.map(|time| Instant::now() + time) })
    }

    /// Whether the event has the text.
    pub(super) fn finds(&mut self, event: i64) -> Result<bool> {
        let mut rows = self.by_id.query([event])?;
        rows.next()?.map_or(Ok(false), |row| self.needle.is_in_row(row))
    }

    /// Whether it has taken as long as it may.
    pub(super) fn is_over(&self) -> bool {
        self.ends.is_some_and(|ends| Instant::now() >= ends)
    }
}

impl<'a> Scan<'a> {
    pub(super) fn new(connection: &'a Connection, text: &str) -> Result<Scan<'a>> {
        Ok(Scan { needle: Needle::new(text), block: connection.prepare_cached(BLOCK)? })
    }

    /// Calls `visitor` with the newest events of a span, and whether they have the text, until it returns false. Returns
    /// the last of them, if there may be more.
    pub(super) fn block(
        &mut self,
        Span { from, before }: Span,
        mut visitor: impl FnMut(i64, bool) -> Result<bool>,
    ) -> Result<Option<i64>> {
        let (mut last, mut bytes) = (None, 0);
        let mut rows = self.block.query((from, before, BLOCK_EVENTS))?;
        while let Some(row) = rows.next()? {
            let id = row.get(3)?;
            if !visitor(id, self.needle.is_in_row(row)?)? {
                return Ok(None);
            }
            last = Some(id);
            bytes += row.get_ref(2)?.as_bytes().map_or(0, <[u8]>::len);
            if bytes >= BLOCK_BYTES {
                break;
            }
        }
        Ok(last)
    }
}

impl Needle {
    pub(super) fn new(text: &str) -> Needle {
        let quoted = serde_json::Value::from(text).to_string();
        let escaped = quoted[1..quoted.len() - 1].to_owned();
        let ascii = |text: &str| -> String {
            let unit = |unit: u16| format!("\\u{unit:04x}");
            let spelled = |c: char| match c.is_ascii() {
                true => c.to_string(),
                false => c.encode_utf16(&mut [0; 2]).iter().map(|code| unit(*code)).collect(),
            };
            text.chars().map(spelled).collect()
        };
        // PHP writes a slash as an escape.
        let slashed = |text: &str| text.replace('/', "\\/");
        let mut spellings =
            vec![text.to_owned(), slashed(&escaped), ascii(&escaped), slashed(&ascii(&escaped)), escaped];
        spellings.sort();
        spellings.dedup();
        Needle { spellings: spellings.into_iter().map(String::into_bytes).collect() }
    }

    /// Whether one of the first three columns has it.
    fn is_in_row(&self, row: &Row<'_>) -> Result<bool> {
        for column in 0..3 {
            if row.get_ref(column)?.as_bytes().is_ok_and(|text| self.is_in(text)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn is_in(&self, text: &[u8]) -> bool {
        self.spellings.iter().any(|spelling| contains(text, spelling))
    }
}

fn contains(text: &[u8], spelling: &[u8]) -> bool {
    let Some(first) = spelling.first() else { return true };
    let Some(last_start) = text.len().checked_sub(spelling.len()) else { return false };
    let starts = memchr2_iter(first.to_ascii_lowercase(), first.to_ascii_uppercase(), &text[..=last_start]);
    starts.into_iter().any(|at| text[at..at + spelling.len()].eq_ignore_ascii_case(spelling))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_however_json_spells_it() {
        for (text, payload) in [
            ("refs/heads/Main", r#"{"ref":"refs/heads/main"}"#),
            ("refs/heads", r#"{"ref":"refs\/heads\/main"}"#),
            ("Müller", r#"{"name":"M\u00FCller"}"#),
            ("Müller", r#"{"name":"Müller"}"#),
            ("🎉/x", r#"["\ud83c\udf89\/x"]"#),
            (r#"say "hi""#, r#"["Say \"Hi\""]"#),
            (r#""ref":"a""#, r#"{"ref":"a"}"#),
            ("a\nb", r#"["a\nb"]"#),
            ("}", "{}"),
        ] {
            assert!(Needle::new(text).is_in(payload.as_bytes()), "{text} in {payload}");
        }
        for (text, payload) in [("main", "mai"), ("x", ""), ("ab", "a b"), ("Müller", "Muller")] {
            assert!(!Needle::new(text).is_in(payload.as_bytes()), "{text} in {payload}");
        }
    }
}
