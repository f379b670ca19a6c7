-- What does not work, from its beginning until it works again: at most one row for an action, for a source and its fault, and
-- for the disk. Kept over a restart, so that each is reported once.
CREATE TABLE troubles (
    about     TEXT    NOT NULL CHECK (about IN ('action', 'rejecting', 'silent', 'disk')),
    name      TEXT    NOT NULL,             -- of the action or the source; empty for the disk
    since_ms  INTEGER NOT NULL,             -- Unix time
    told_ms   INTEGER,                      -- when it became news
    failures  INTEGER NOT NULL DEFAULT 0,   -- of an action, in a row, counted until it became news
    error     TEXT,                         -- the first
    PRIMARY KEY (about, name)
) WITHOUT ROWID;

-- Dead jobs of an action within a minute, counted so that a flood of them becomes one event.
CREATE TABLE deaths (
    action       TEXT    PRIMARY KEY,
    since_ms     INTEGER NOT NULL,
    count        INTEGER NOT NULL,
    untold       INTEGER NOT NULL DEFAULT 0,  -- how many of them are to become one event
    first_event  INTEGER,                     -- the first and the last of those
    last_event   INTEGER,
    error        TEXT                         -- that of the last
) WITHOUT ROWID;
