-- Fewer pages for each delivery: a commit writes whole pages to the card. SCHEMA.md has the reasons.

-- Their replacements are below.
DROP TRIGGER IF EXISTS webhook_event_arrived;
DROP TRIGGER IF EXISTS webhook_event_reopened;
DROP TRIGGER IF EXISTS webhook_event_done;
DROP TRIGGER IF EXISTS webhook_event_deleted;
DROP TRIGGER IF EXISTS webhook_event_forgotten;
DROP TRIGGER IF EXISTS webhook_event_counted;
DROP TRIGGER IF EXISTS webhook_event_moved;
DROP TRIGGER IF EXISTS webhook_event_failed;
DROP TRIGGER IF EXISTS webhook_event_uncounted;
DROP TRIGGER IF EXISTS job_counted;
DROP TRIGGER IF EXISTS job_moved;
DROP TRIGGER IF EXISTS job_uncounted;
DROP TABLE counting;
DROP TABLE provenance;

ALTER TABLE jobs RENAME TO old_jobs;
ALTER TABLE attempts RENAME TO old_attempts;
DROP INDEX jobs_queued;
DROP INDEX jobs_running;

-- One job is one action for one event.
--
--   queued      waits until due_at_ms. A worker's claim moves it to running on the disk only where its loss could do harm;
--               otherwise `serve` remembers the claim, and the job is queued here until the outcome is recorded.
--   running     an attempt is under way. The worker's record moves it to succeeded, dead, or back to queued; if `serve` ends
--               before the attempt does, its end or its next start moves it back to queued.
--   succeeded   final, until a replay of the event moves it to queued.
--   dead        no attempt is left. Final, until a replay, or the same delivery again, moves it to queued.
--   cancelled   by a command, or because another program has marked the event as done. Final, until a replay, or the same
--               delivery of an event in error, moves it to queued.
--   superseded  by a later event with the same key, when that was claimed. Final, until a replay moves it to queued.
--
-- The latest attempt is in the job's own row, which its record writes anyway.
CREATE TABLE jobs (
    event_id       INTEGER NOT NULL,
    action         TEXT    NOT NULL,
    state          TEXT    NOT NULL CHECK (state IN ('queued', 'running', 'succeeded', 'dead', 'cancelled', 'superseded')),
    attempts       INTEGER NOT NULL DEFAULT 0,  -- over the whole life of the job: the number of the latest attempt
    tries          INTEGER NOT NULL DEFAULT 0,  -- since somebody last queued it: what the retry policy counts
    round          INTEGER NOT NULL DEFAULT 0,  -- how often all of it was asked for again: a part of the idempotency key
    due_at_ms      INTEGER,                     -- Unix time; 0 for "at once", so that a clock set back delays nothing
    waited_ms      INTEGER NOT NULL DEFAULT 0,  -- how long its destination has asked it to wait, since somebody queued it
    key            TEXT,                        -- jobs of one action and key are done one after the other
    is_behind      INTEGER NOT NULL DEFAULT 0,  -- an open job of an earlier event has the same key: a trigger keeps it true
    is_replayed    INTEGER NOT NULL DEFAULT 0,  -- a person has queued it: it supersedes none, and none supersedes it
    superseded_by  INTEGER,                     -- the event whose job has taken its place
    started_at     TEXT,                        -- of the latest attempt, as the rest
    duration_ms    INTEGER,
    outcome        TEXT CHECK (outcome IN ('success', 'retry', 'give_up', 'interrupted', 'wait')),  -- wait: not counted
    detail         TEXT,
    last_error     TEXT GENERATED ALWAYS AS (CASE WHEN outcome <> 'success' THEN detail END) VIRTUAL,
    PRIMARY KEY (event_id, action),
    CHECK (0 <= tries AND tries <= attempts),
    CHECK ((state = 'queued') = (due_at_ms IS NOT NULL)),
    CHECK (state <> 'running' OR tries > 0)
) WITHOUT ROWID;

-- The last attempt, where the last error is its own. Otherwise that is of one that was not put on record, because the process
-- ended before it did (started_at is not known), or was not counted.
INSERT INTO jobs (event_id, action, state, attempts, tries, due_at_ms, waited_ms, started_at, duration_ms, outcome, detail)
    SELECT job.event_id, job.action, state, attempts, tries, due_at_ms, waited_ms, started_at, duration_ms,
           CASE WHEN state = 'running' THEN NULL WHEN outcome IS NOT NULL THEN outcome
               WHEN last_error IS NULL THEN NULL WHEN last_error = 'hookbox ended before the attempt did' THEN 'interrupted'
               ELSE 'wait' END,
           CASE WHEN state <> 'running' THEN coalesce(last_error, detail) END
    FROM old_jobs AS job LEFT JOIN old_attempts AS attempt
        ON attempt.event_id = job.event_id AND attempt.action = job.action AND attempt.dead_action = '' AND number = attempts
        AND coalesce(last_error = detail, TRUE)
    WHERE job.dead_action = '';

CREATE INDEX jobs_queued ON jobs (action, due_at_ms, event_id) WHERE state = 'queued' AND is_behind = 0;
CREATE INDEX jobs_running ON jobs (event_id) WHERE state = 'running';
CREATE INDEX jobs_cancelled ON jobs (event_id) WHERE state = 'cancelled';
CREATE INDEX jobs_keyed ON jobs (action, key, event_id) WHERE key IS NOT NULL AND state IN ('queued', 'running');

-- All attempts but the latest, which is in the job's row.
CREATE TABLE earlier_attempts (
    event_id     INTEGER NOT NULL,
    action       TEXT    NOT NULL,
    number       INTEGER NOT NULL CHECK (number > 0),
    started_at   TEXT    NOT NULL,
    duration_ms  INTEGER CHECK (duration_ms >= 0),  -- NULL: the process ended before the attempt did
    outcome      TEXT    NOT NULL CHECK (outcome IN ('success', 'retry', 'give_up', 'interrupted')),
    detail       TEXT    NOT NULL,
    PRIMARY KEY (event_id, action, number)
) WITHOUT ROWID;

INSERT INTO earlier_attempts
    SELECT event_id, action, number, started_at, duration_ms, outcome, detail FROM old_attempts AS attempt
    WHERE dead_action = '' AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.event_id = attempt.event_id
        AND jobs.action = attempt.action AND jobs.attempts = attempt.number AND jobs.started_at IS NOT NULL);

DROP TABLE old_attempts;
DROP TABLE old_jobs;

-- Of the open jobs of a key only that of the earliest event is not behind. So a claim finds it at once, however many wait.
CREATE TRIGGER job_key_added AFTER INSERT ON jobs
WHEN NEW.key IS NOT NULL
BEGIN
    UPDATE jobs SET is_behind = EXISTS (
        SELECT 1 FROM jobs AS earlier WHERE earlier.action = NEW.action AND earlier.key = NEW.key
        AND earlier.state IN ('queued', 'running') AND earlier.event_id < jobs.event_id)
    WHERE action = NEW.action AND event_id IN (SELECT NEW.event_id UNION ALL SELECT event_id FROM (
        SELECT event_id FROM jobs WHERE action = NEW.action AND key = NEW.key AND state IN ('queued', 'running')
        ORDER BY event_id LIMIT 2));
END;

CREATE TRIGGER job_key_moved AFTER UPDATE OF state ON jobs
WHEN NEW.key IS NOT NULL AND (NEW.state IN ('queued', 'running')) <> (OLD.state IN ('queued', 'running'))
BEGIN
    UPDATE jobs SET is_behind = EXISTS (
        SELECT 1 FROM jobs AS earlier WHERE earlier.action = NEW.action AND earlier.key = NEW.key
        AND earlier.state IN ('queued', 'running') AND earlier.event_id < jobs.event_id)
    WHERE action = NEW.action AND event_id IN (SELECT NEW.event_id UNION ALL SELECT event_id FROM (
        SELECT event_id FROM jobs WHERE action = NEW.action AND key = NEW.key AND state IN ('queued', 'running')
        ORDER BY event_id LIMIT 2));
END;

CREATE TRIGGER job_key_freed AFTER DELETE ON jobs
WHEN OLD.key IS NOT NULL AND OLD.state IN ('queued', 'running')
BEGIN
    UPDATE jobs SET is_behind = 0
    WHERE action = OLD.action AND event_id = (
        SELECT event_id FROM jobs WHERE action = OLD.action AND key = OLD.key AND state IN ('queued', 'running')
        ORDER BY event_id LIMIT 1);
END;

CREATE VIEW attempts AS
    SELECT event_id, action, number, started_at, duration_ms, outcome, detail FROM earlier_attempts
    UNION ALL
    SELECT event_id, action, attempts, started_at, duration_ms, outcome, detail FROM jobs
    WHERE outcome IS NOT NULL AND outcome <> 'wait' AND started_at IS NOT NULL;

CREATE INDEX webhook_events_body ON webhook_events (body_digest) WHERE body_digest IS NOT NULL;
CREATE INDEX webhook_events_duplicated ON webhook_events (id) WHERE duplicates > 0;

-- The receiver makes the jobs of an event before the event, where it can decide them; such an event need not be routed.
CREATE TRIGGER webhook_event_arrived AFTER INSERT ON webhook_events
WHEN NEW.status = 'unprocessed'
    AND NOT EXISTS (SELECT 1 FROM jobs WHERE event_id = NEW.id AND state IN ('queued', 'running'))
BEGIN
    INSERT OR IGNORE INTO unrouted VALUES (NEW.id);
END;

CREATE TRIGGER webhook_event_reopened AFTER UPDATE OF status ON webhook_events
WHEN NEW.status = 'unprocessed' AND OLD.status <> 'unprocessed'
BEGIN
    INSERT OR IGNORE INTO unrouted VALUES (NEW.id);
END;

CREATE TRIGGER webhook_event_done AFTER UPDATE OF status ON webhook_events
WHEN NEW.status <> 'unprocessed'
BEGIN
    UPDATE jobs SET state = 'cancelled', due_at_ms = NULL
    WHERE event_id = NEW.id AND state IN ('queued', 'running');
END;

CREATE TRIGGER webhook_event_deleted AFTER DELETE ON webhook_events
BEGIN
    DELETE FROM unrouted WHERE event_id = OLD.id;
    DELETE FROM jobs WHERE event_id = OLD.id;
    DELETE FROM earlier_attempts WHERE event_id = OLD.id;
END;

-- The events up to this id, and their jobs, are counted in `tallies` and `blocks`. Those after it, at most some thousand,
-- are counted when they are asked for: a lone delivery, and what is done with it, write no count.
CREATE TABLE counted (
    up_to  INTEGER NOT NULL
);

INSERT INTO counted SELECT coalesce(max(id), 0) FROM webhook_events;

-- Those that came long enough ago that most are done. By their ids: SQLite would read a whole index to group them.
CREATE TRIGGER webhook_events_counted AFTER INSERT ON webhook_events
WHEN NEW.id > (SELECT up_to + 1280 FROM counted)
BEGIN
    INSERT INTO tallies
        SELECT 'status', source, status, count(*) FROM webhook_events NOT INDEXED
        WHERE id > (SELECT up_to FROM counted) AND id <= NEW.id - 256 GROUP BY source, status
        ON CONFLICT (about, name, what) DO UPDATE SET count = count + excluded.count;
    INSERT INTO tallies
        SELECT 'source', source, 'received', count(*) FROM webhook_events NOT INDEXED
        WHERE id > (SELECT up_to FROM counted) AND id <= NEW.id - 256 AND source <> 'hookbox' GROUP BY source
        ON CONFLICT (about, name, what) DO UPDATE SET count = count + excluded.count;
    INSERT INTO tallies
        SELECT 'hour', hour, 'received', count(*) FROM (
            SELECT strftime('%Y-%m-%dT%H', received_at) AS hour FROM webhook_events NOT INDEXED
            WHERE id > (SELECT up_to FROM counted) AND id <= NEW.id - 256 AND source <> 'hookbox')
        WHERE hour IS NOT NULL GROUP BY hour
        ON CONFLICT (about, name, what) DO UPDATE SET count = count + excluded.count;
    INSERT INTO tallies
        SELECT 'action', action, CASE WHEN state IN ('queued', 'running') THEN 'open' ELSE state END AS what, count(*)
        FROM jobs WHERE event_id > (SELECT up_to FROM counted) AND event_id <= NEW.id - 256 GROUP BY action, what
        ON CONFLICT (about, name, what) DO UPDATE SET count = count + excluded.count;
    INSERT INTO blocks
        SELECT id >> 10 AS block, max(strftime('%Y-%m-%dT%H:%M', received_at)) AS minute FROM webhook_events NOT INDEXED
        WHERE id > (SELECT up_to FROM counted) AND id <= NEW.id - 256 GROUP BY block HAVING minute IS NOT NULL
        ON CONFLICT (block) DO UPDATE SET latest = max(latest, excluded.latest);
    UPDATE counted SET up_to = NEW.id - 256;
END;

-- Another program has chosen the id.
CREATE TRIGGER webhook_event_counted AFTER INSERT ON webhook_events
WHEN NEW.id <= (SELECT up_to FROM counted)
BEGIN
    INSERT INTO tallies VALUES ('source', NEW.source, 'received', 1)
        ON CONFLICT (about, name, what) DO UPDATE SET count = count + 1;
    INSERT INTO tallies VALUES ('status', NEW.source, NEW.status, 1)
        ON CONFLICT (about, name, what) DO UPDATE SET count = count + 1;
    INSERT INTO tallies
        SELECT 'hour', hour, 'received', 1 FROM (SELECT strftime('%Y-%m-%dT%H', NEW.received_at) AS hour)
        WHERE hour IS NOT NULL
        ON CONFLICT (about, name, what) DO UPDATE SET count = count + 1;
    INSERT INTO blocks
        SELECT NEW.id >> 10, minute FROM (SELECT strftime('%Y-%m-%dT%H:%M', NEW.received_at) AS minute)
        WHERE minute IS NOT NULL
        ON CONFLICT (block) DO UPDATE SET latest = excluded.latest WHERE excluded.latest > latest;
END;

CREATE TRIGGER webhook_event_moved AFTER UPDATE OF status, source ON webhook_events
WHEN (NEW.status <> OLD.status OR NEW.source <> OLD.source) AND OLD.id <= (SELECT up_to FROM counted)
BEGIN
    UPDATE tallies SET count = count - 1 WHERE about = 'status' AND name = OLD.source AND what = OLD.status;
    INSERT INTO tallies VALUES ('status', NEW.source, NEW.status, 1)
        ON CONFLICT (about, name, what) DO UPDATE SET count = count + 1;
END;

-- By the clock of the machine and not by processed_at, which another program may leave empty.
CREATE TRIGGER webhook_event_failed AFTER UPDATE OF status ON webhook_events
WHEN NEW.status = 'error' AND OLD.status <> 'error'
BEGIN
    INSERT INTO tallies VALUES ('hour', strftime('%Y-%m-%dT%H', 'now'), 'failed', 1)
        ON CONFLICT (about, name, what) DO UPDATE SET count = count + 1;
END;

CREATE TRIGGER webhook_event_uncounted AFTER DELETE ON webhook_events
WHEN OLD.id <= (SELECT up_to FROM counted)
BEGIN
    UPDATE tallies SET count = count - 1 WHERE about = 'status' AND name = OLD.source AND what = OLD.status;
END;

-- It has been received, although it is gone before it was counted.
CREATE TRIGGER webhook_event_deleted_uncounted AFTER DELETE ON webhook_events
WHEN OLD.id > (SELECT up_to FROM counted) AND OLD.source <> 'hookbox'
BEGIN
    INSERT INTO tallies VALUES ('source', OLD.source, 'received', 1)
        ON CONFLICT (about, name, what) DO UPDATE SET count = count + 1;
    INSERT INTO tallies
        SELECT 'hour', hour, 'received', 1 FROM (SELECT strftime('%Y-%m-%dT%H', OLD.received_at) AS hour)
        WHERE hour IS NOT NULL
        ON CONFLICT (about, name, what) DO UPDATE SET count = count + 1;
END;

-- A claim and a retry leave a job open: they change no count, and write no page here.
CREATE TRIGGER job_counted AFTER INSERT ON jobs
WHEN NEW.event_id <= (SELECT up_to FROM counted)
BEGIN
    INSERT INTO tallies
        VALUES ('action', NEW.action, CASE WHEN NEW.state IN ('queued', 'running') THEN 'open' ELSE NEW.state END, 1)
        ON CONFLICT (about, name, what) DO UPDATE SET count = count + 1;
END;

CREATE TRIGGER job_moved AFTER UPDATE OF state ON jobs
WHEN NEW.state <> OLD.state AND NOT (NEW.state IN ('queued', 'running') AND OLD.state IN ('queued', 'running'))
    AND NEW.event_id <= (SELECT up_to FROM counted)
BEGIN
    UPDATE tallies SET count = count - 1 WHERE about = 'action' AND name = OLD.action
        AND what = CASE WHEN OLD.state IN ('queued', 'running') THEN 'open' ELSE OLD.state END;
    INSERT INTO tallies
        VALUES ('action', NEW.action, CASE WHEN NEW.state IN ('queued', 'running') THEN 'open' ELSE NEW.state END, 1)
        ON CONFLICT (about, name, what) DO UPDATE SET count = count + 1;
END;

CREATE TRIGGER job_uncounted AFTER DELETE ON jobs
WHEN OLD.event_id <= (SELECT up_to FROM counted)
BEGIN
    UPDATE tallies SET count = count - 1 WHERE about = 'action' AND name = OLD.action
        AND what = CASE WHEN OLD.state IN ('queued', 'running') THEN 'open' ELSE OLD.state END;
END;

-- The migration has made the jobs before their triggers.
DELETE FROM tallies WHERE about = 'action';
INSERT INTO tallies
    SELECT 'action', action, CASE WHEN state IN ('queued', 'running') THEN 'open' ELSE state END AS what, count(*)
    FROM jobs GROUP BY action, what;
