//! How large a database is, and how much room it has.

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use serde::Serialize;

use super::filesystem::Disk;
use super::path::sibling;

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Sizes {
    pub database_bytes: u64,
    /// The part of the database file that is free for new events.
    pub reusable_bytes: u64,
    pub wal_bytes: u64,
    /// On the disk of the database; `None` where the file system cannot be asked.
    pub disk_free_bytes: Option<u64>,
}

impl Sizes {
    /// Only of the database file.
    pub(super) fn of(connection: &Connection) -> rusqlite::Result<Sizes> {
        let pragma = |name: &str| {
            let value = connection.pragma_query_value(None, name, |row| row.get(0));
            value.map(i64::unsigned_abs)
        };
        let page_bytes = pragma("page_size")?;
        Ok(Sizes {
            database_bytes: pragma("page_count")? * page_bytes,
            reusable_bytes: pragma("freelist_count")? * page_bytes,
            ..Sizes::default()
        })
    }

    /// Adds what the file system knows of the database at `path`, with all links resolved. The database file itself is not
    /// opened: closing it would drop SQLite's locks.
    pub(super) fn add_files(&mut self, path: &Path) {
        self.wal_bytes = fs::metadata(sibling(path, "-wal")).map_or(0, |file| file.len());
        self.disk_free_bytes = Disk::of(path).map(|disk| disk.free_bytes);
    }
}
