CREATE TABLE webhook_events (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    source        TEXT NOT NULL,
    event_type    TEXT NOT NULL,
    delivery_id   TEXT NOT NULL,
    payload_json  TEXT NOT NULL,
    received_at   TEXT NOT NULL,
    processed_at  TEXT,
    status        TEXT NOT NULL,
    headers_json  TEXT NOT NULL DEFAULT '{}',
    body          BLOB,
    UNIQUE (source, delivery_id)
);
