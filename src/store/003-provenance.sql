-- How events came in. The table of events is shared with other programs; events that these inserted have no row here.
CREATE TABLE provenance (
    event_id         INTEGER PRIMARY KEY,
    secret_position  INTEGER,                     -- which of the source's secrets matched, from 0; NULL: none was asked for
    duplicates       INTEGER NOT NULL DEFAULT 0,  -- how often it came again
    renewed_at       TEXT,                        -- when it last came again after the dedup window, and was replayed
    CHECK (secret_position >= 0),
    CHECK (duplicates >= 0)
);

-- For counting duplicates without reading every row.
CREATE INDEX provenance_duplicates ON provenance (duplicates) WHERE duplicates > 0;

CREATE TRIGGER webhook_event_forgotten AFTER DELETE ON webhook_events
BEGIN
    DELETE FROM provenance WHERE event_id = OLD.id;
END;
