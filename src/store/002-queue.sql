-- One job is one action for one event; or, where dead_action is not empty, an action that tells of the death of another
-- action's job for that event. The latter has no say in the event's status: a message that cannot be delivered must not
-- make what it tells of look worse, nor hide it.
--
--   queued     waits until due_at_ms. A worker's claim moves it to running.
--   running    an attempt is being made. Its record moves it to succeeded, dead, or back to queued; the next start of
--              `serve` moves it back to queued if the attempt never came to its end.
--   succeeded  final, until somebody replays the event.
--   dead       the attempts are used up. Final, until the event is replayed or delivered again.
--   cancelled  given up by a person, or the event was marked as done by another program. Final, until it is replayed.
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

-- Actions of which no job is claimed until somebody resumes them.
CREATE TABLE paused (
    action  TEXT PRIMARY KEY,
    since   TEXT NOT NULL
) WITHOUT ROWID;

-- Events whose jobs are to be made. Triggers keep the list, because other programs insert events too and set them back
-- to unprocessed; and because looking for such events behind a million others that wait for a dead destination is slow.
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

-- A word about a death is still to be said when the event has long been in error.
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
