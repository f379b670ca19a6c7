-- The contract with other programs, which insert into this table and read from it.
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
