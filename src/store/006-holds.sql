-- Actions whose destinations ask to wait: no job of them is claimed before that time. Kept over a restart, so that jobs stay
-- in order.
CREATE TABLE holds (
    action    TEXT PRIMARY KEY,
    until_ms  INTEGER NOT NULL      -- Unix time
) WITHOUT ROWID;

-- How long a job has been asked to wait since somebody last queued it. Up to backoff_max, such answers use up no attempt.
ALTER TABLE jobs ADD COLUMN waited_ms INTEGER NOT NULL DEFAULT 0;
