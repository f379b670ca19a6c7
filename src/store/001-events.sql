-- The contract with other programs, which insert into this table, read from it, and set the status.
--
--   unprocessed  its jobs are open, or not made yet. The last job that ends moves it to processed or error.
--   processed    every job has succeeded or was cancelled, or there was none. Final, until it is replayed.
--   error        a job is dead. Final, until it is replayed, or delivered again.
CREATE TABLE webhook_events (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    source        TEXT NOT NULL,
    event_type    TEXT NOT NULL,
    delivery_id   TEXT NOT NULL,
    payload_json  TEXT NOT NULL,               -- the JSON exactly as received; other content as JSON that represents it
    received_at   TEXT NOT NULL,               -- UTC, 2025-01-31T12:00:00+00:00
    processed_at  TEXT,
    status        TEXT NOT NULL,               -- unprocessed | processed | error
    headers_json  TEXT NOT NULL DEFAULT '{}',
    body          BLOB,                        -- the exact bytes, where payload_json is not them
    UNIQUE (source, delivery_id)
);
