-- An index and counts for the commands and pages that show the database, so that none of them reads a million rows. The
-- receiver pays for them with pages written to the card, hence one table for all counts: most of them share a page,
-- which a commit writes once for all its deliveries.

-- One index for every combination of filters: there are few partitions of the same (status, source, event_type), each
-- is found by one seek, and its rows are in the order of their ids. An index for each filter would triple the writes.
DROP INDEX webhook_events_status;
CREATE INDEX webhook_events_kind ON webhook_events (status, source, event_type);

-- Counts, maintained by triggers because other programs write here too.
--
--   about    name        what
--   source   the source  received, duplicates, repeated: since the beginning, also of events that were deleted
--   status   the source  unprocessed, processed, error: the events there are
--   action   the action  open (queued or running), succeeded, dead, cancelled: the jobs there are
--   hour     2025-01-31T12 (UTC)  received, duplicates, repeated, failed: of all sources in that hour, of the last day
CREATE TABLE tallies (
    about  TEXT NOT NULL CHECK (about IN ('source', 'status', 'action', 'hour')),
    name   TEXT NOT NULL,
    what   TEXT NOT NULL,
    count  INTEGER NOT NULL,
    PRIMARY KEY (about, name, what)
) WITHOUT ROWID;

INSERT INTO tallies SELECT 'status', source, status, count(*) FROM webhook_events GROUP BY source, status;
INSERT INTO tallies SELECT 'source', name, 'received', sum(count) FROM tallies WHERE about = 'status' GROUP BY name;
INSERT INTO tallies SELECT 'source', source, 'duplicates', sum(provenance.duplicates)
    FROM provenance JOIN webhook_events ON id = event_id WHERE provenance.duplicates > 0 GROUP BY source;
INSERT INTO tallies
    SELECT 'action', action, CASE WHEN state IN ('queued', 'running') THEN 'open' ELSE state END AS what, count(*)
    FROM jobs GROUP BY action, what;

-- Only the sum of all duplicates was read from it.
DROP INDEX provenance_duplicates;

-- The minute of the latest reception in each block of 1,024 ids. Ids are nearly in the order of time, but not always
-- (clocks jump, other programs import): all events received since a time are in the blocks that have it or a later one.
-- Written when the minute changes, and not with each event. Events of other programs without a readable time are not
-- counted.
CREATE TABLE blocks (
    block   INTEGER PRIMARY KEY,
    latest  TEXT NOT NULL      -- 2025-01-31T12:00
);

INSERT INTO blocks
    SELECT id >> 10 AS block, max(strftime('%Y-%m-%dT%H:%M', received_at)) AS minute FROM webhook_events
    GROUP BY block HAVING minute IS NOT NULL;

-- Suspends the trigger below: its four statements for each row would take longer than the row itself. The receiver sets
-- it within its transaction, in which nothing else can write, and counts the whole batch at the end.
CREATE TABLE counting (
    by_hand  INTEGER NOT NULL CHECK (by_hand IN (0, 1))
);

INSERT INTO counting VALUES (0);

CREATE TRIGGER webhook_event_counted AFTER INSERT ON webhook_events
WHEN (SELECT by_hand FROM counting) = 0
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
WHEN NEW.status <> OLD.status OR NEW.source <> OLD.source
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
BEGIN
    UPDATE tallies SET count = count - 1 WHERE about = 'status' AND name = OLD.source AND what = OLD.status;
END;

-- A new hour takes the place of the one a day before.
CREATE TRIGGER tally_hour_begun AFTER INSERT ON tallies
WHEN NEW.about = 'hour'
BEGIN
    DELETE FROM tallies WHERE about = 'hour' AND name < strftime('%Y-%m-%dT%H', NEW.name || ':00', '-1 day');
END;

-- A claim and a retry leave a job open: they change no count, and write no page here.
CREATE TRIGGER job_counted AFTER INSERT ON jobs
BEGIN
    INSERT INTO tallies
        VALUES ('action', NEW.action, CASE WHEN NEW.state IN ('queued', 'running') THEN 'open' ELSE NEW.state END, 1)
        ON CONFLICT (about, name, what) DO UPDATE SET count = count + 1;
END;

CREATE TRIGGER job_moved AFTER UPDATE OF state ON jobs
WHEN NEW.state <> OLD.state AND NOT (NEW.state IN ('queued', 'running') AND OLD.state IN ('queued', 'running'))
BEGIN
    UPDATE tallies SET count = count - 1 WHERE about = 'action' AND name = OLD.action
        AND what = CASE WHEN OLD.state IN ('queued', 'running') THEN 'open' ELSE OLD.state END;
    INSERT INTO tallies
        VALUES ('action', NEW.action, CASE WHEN NEW.state IN ('queued', 'running') THEN 'open' ELSE NEW.state END, 1)
        ON CONFLICT (about, name, what) DO UPDATE SET count = count + 1;
END;

CREATE TRIGGER job_uncounted AFTER DELETE ON jobs
BEGIN
    UPDATE tallies SET count = count - 1 WHERE about = 'action' AND name = OLD.action
        AND what = CASE WHEN OLD.state IN ('queued', 'running') THEN 'open' ELSE OLD.state END;
END;
