-- Recovering that does not work, and what is missing, are troubles too; so is a time off line that was longer than the provider
-- lists its deliveries. SQLite cannot change a CHECK.
ALTER TABLE troubles RENAME TO earlier_troubles;

CREATE TABLE troubles (
    about     TEXT    NOT NULL CHECK (about IN
                  ('action', 'rejecting', 'silent', 'disk', 'recovery', 'missing', 'offline')),
    name      TEXT    NOT NULL,             -- of the action or the source; empty for the disk
    since_ms  INTEGER NOT NULL,             -- Unix time
    told_ms   INTEGER,                      -- when it became news
    failures  INTEGER NOT NULL DEFAULT 0,   -- of an action, in a row, counted until it became news
    error     TEXT,                         -- the first
    PRIMARY KEY (about, name)
) WITHOUT ROWID;

INSERT INTO troubles SELECT about, name, since_ms, told_ms, failures, error FROM earlier_troubles;
DROP TABLE earlier_troubles;

-- When hookbox was last known to run, written at a stop.
ALTER TABLE recovery_marks ADD COLUMN ran_ms INTEGER;
-- How many were recovered whose rows are deleted by now.
ALTER TABLE recovery_marks ADD COLUMN recovered_before INTEGER NOT NULL DEFAULT 0;
