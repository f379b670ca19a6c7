-- The contract with other programs, which insert into this table, read from it, and set the status.
--
--   unprocessed  its jobs are open, or not made yet. The last job that ends moves it to processed or error.
--   processed    every job has succeeded, or was cancelled or superseded, or there was none. Final, until it is replayed.
--   error        a job is dead. Final, until it is replayed, or delivered again.
--
-- The names of the columns are the contract, and not their order: what changes stands before the payload, on the first
-- page of the row.
CREATE TABLE webhook_events (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    source           TEXT NOT NULL,
    event_type       TEXT NOT NULL,
    delivery_id      TEXT NOT NULL,
    received_at      TEXT NOT NULL,             -- UTC, 2025-01-31T12:00:00+00:00
    processed_at     TEXT,
    status           TEXT NOT NULL,             -- unprocessed | processed | error
    padding          TEXT,                      -- spaces, so that a change of status does not change the row's length
    secret_position  INTEGER,                   -- which of the source's secrets matched, from 0; NULL: none was asked for
    duplicates       INTEGER NOT NULL DEFAULT 0, -- how often it came again
    renewed_at       TEXT,                      -- when it last came again after the dedup window, and was replayed
    body_digest      BLOB,                      -- the hash of the body, where the source ignores a repeated one
    headers_json     TEXT NOT NULL DEFAULT '{}',
    payload_json     TEXT NOT NULL,             -- the JSON exactly as received; other content as JSON that represents it
    body             BLOB,                      -- the exact bytes, where payload_json is not them
    UNIQUE (source, delivery_id)
);
