//! Columns that other programs write, too. Their values are read as well as possible: an event that could not be read at
//! all would hold up those behind it.

use std::borrow::Cow;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Result, Row, ToSql};

/// A text column, which may hold bytes that are not UTF-8, or a number. Borrowed where possible: a payload is large.
pub(super) fn text<'a>(row: &'a Row<'_>, column: usize) -> Result<Cow<'a, str>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Null => Cow::Borrowed(""),
        ValueRef::Integer(number) => number.to_string().into(),
        ValueRef::Real(number) => number.to_string().into(),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes),
    })
}

/// As [`text`], owned.
pub(super) fn string(row: &Row<'_>, column: usize) -> Result<String> {
    Ok(text(row, column)?.into_owned())
}

/// The texts in the first column of a statement's rows.
pub(super) fn texts(connection: &Connection, sql: &str) -> Result<Vec<String>> {
    connection.prepare(sql)?.query_map([], |row| string(row, 0))?.collect()
}

/// A column of bytes; `None` for NULL and for numbers.
pub(super) fn bytes(row: &Row<'_>, column: usize) -> Result<Option<Vec<u8>>> {
    Ok(row.get_ref(column)?.as_bytes_or_null().ok().flatten().map(<[u8]>::to_vec))
}

/// The value of a text column exactly as stored, to compare with the column: bytes that may not be UTF-8, or a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RawText {
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

impl RawText {
    pub(super) fn of(row: &Row<'_>, column: usize) -> Result<RawText> {
        Ok(match row.get_ref(column)? {
            ValueRef::Text(bytes) => RawText::Text(bytes.to_vec()),
            ValueRef::Blob(bytes) => RawText::Blob(bytes.to_vec()),
            // A text column stores numbers as text, and the columns read here are NOT NULL.
            ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => RawText::Text(Vec::new()),
        })
    }
}

impl ToSql for RawText {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            RawText::Text(bytes) => ValueRef::Text(bytes),
            RawText::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}
