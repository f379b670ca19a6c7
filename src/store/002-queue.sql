-- One job is one action for one event; or, where dead_action is not empty, an action that reports the dead job of
-- another action for that event. A report does not change the event's status: one that cannot be delivered must not
-- make what it reports worse, nor hide it.
--
--   queued     waits until due_at_ms. A worker's claim moves it to running.
--   running    an attempt is under way. The worker's record moves it to succeeded, dead, or back to queued; if `serve` ends
--              before the attempt does, its end or its next start moves it back to queued.
--   succeeded  final, until a replay of the event moves it to queued.
--   dead       no attempt is left. Final, until a replay, or the same delivery again, moves it to queued.
--   cancelled  by a command, or because another program has marked the event as done. Final, until a replay, or the same
--              delivery of an event in error, moves it to queued.
CREATE TABLE jobs (
    event_id    INTEGER NOT NULL,
    action      TEXT    NOT NULL,
    dead_action TEXT    NOT NULL DEFAULT '',
    state       TEXT    NOT NULL CHECK (state IN ('queued', 'running', 'succeeded', 'dead', 'cancelled')),
    attempts    INTEGER NOT NULL DEFAULT 0,    -- over the whole life of the job: the number of the latest attempt
    tries       INTEGER NOT NULL DEFAULT 0,    -- since somebody last queued it: what the retry policy counts
    due_at_ms   INTEGER,                       -- Unix time; 0 for "at once", so that a clock set back delays nothing
    last_error  TEXT,
    PRIMARY KEY (event_id, action, dead_action),
    CHECK (0 <= tries AND tries <= attempts),
    CHECK ((state = 'queued') = (due_at_ms IS NOT NULL)),
    CHECK (state <> 'running' OR tries > 0)
) WITHOUT ROWID;

CREATE INDEX jobs_queued ON jobs (action, due_at_ms, event_id) WHERE state = 'queued';
CREATE INDEX jobs_running ON jobs (event_id) WHERE state = 'running';

CREATE TABLE attempts (
    event_id     INTEGER NOT NULL,
    action       TEXT    NOT NULL,
    dead_action  TEXT    NOT NULL DEFAULT '',
    number       INTEGER NOT NULL CHECK (number > 0),
    started_at   TEXT    NOT NULL,
    duration_ms  INTEGER NOT NULL CHECK (duration_ms >= 0),
    outcome      TEXT    NOT NULL CHECK (outcome IN ('success', 'retry', 'give_up')),
    detail       TEXT    NOT NULL,
    PRIMARY KEY (event_id, action, dead_action, number)
) WITHOUT ROWID;

-- Actions of which no job is claimed until they are resumed.
CREATE TABLE paused (
    action  TEXT PRIMARY KEY,
    since   TEXT NOT NULL
) WITHOUT ROWID;

-- Events that have yet to be routed. Triggers maintain the list, because other programs insert events too and set them
-- back to unprocessed; and because a search for such events among a million others that wait for a dead destination is
-- slow.
CREATE TABLE unrouted (
    event_id INTEGER PRIMARY KEY
);

INSERT INTO unrouted SELECT id FROM webhook_events WHERE status = 'unprocessed';

CREATE INDEX webhook_events_status ON webhook_events (status);

CREATE TRIGGER webhook_event_arrived AFTER INSERT ON webhook_events
WHEN NEW.status = 'unprocessed'
BEGIN
    INSERT INTO unrouted VALUES (NEW.id);
END;

CREATE TRIGGER webhook_event_reopened AFTER UPDATE OF status ON webhook_events
WHEN NEW.status = 'unprocessed' AND OLD.status <> 'unprocessed'
BEGIN
    INSERT OR IGNORE INTO unrouted VALUES (NEW.id);
END;

-- Not the jobs that report a dead one: they run when the event is in error.
CREATE TRIGGER webhook_event_done AFTER UPDATE OF status ON webhook_events
WHEN NEW.status <> 'unprocessed'
BEGIN
    UPDATE jobs SET state = 'cancelled', due_at_ms = NULL
    WHERE event_id = NEW.id AND dead_action = '' AND state IN ('queued', 'running');
END;

CREATE TRIGGER webhook_event_deleted AFTER DELETE ON webhook_events
BEGIN
    DELETE FROM unrouted WHERE event_id = OLD.id;
    DELETE FROM jobs WHERE event_id = OLD.id;
    DELETE FROM attempts WHERE event_id = OLD.id;
END;
