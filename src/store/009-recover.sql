-- How far the deliveries that a provider lists were compared with the events: a row once a source was compared.
CREATE TABLE recovery_marks (
    source       TEXT    PRIMARY KEY,
    compared_ms  INTEGER NOT NULL            -- Unix time, by the provider's clock
) WITHOUT ROWID;

-- What a provider lists and what was not stored, and what was deleted here and must not come back.
CREATE TABLE recoveries (
    source       TEXT    NOT NULL,
    delivery_id  TEXT    NOT NULL,
    item         TEXT    NOT NULL,           -- its id in the provider's list
    event_type   TEXT    NOT NULL,
    at_ms        INTEGER NOT NULL,           -- when it was first delivered
    state        TEXT    NOT NULL CHECK (state IN ('missing', 'recovered', 'lost', 'deleted')),
    asked        INTEGER NOT NULL DEFAULT 0, -- how often it was asked for, written before each request
    asked_ms     INTEGER,                    -- when it was last asked for
    status       TEXT    NOT NULL,           -- what the provider says about its last attempt
    PRIMARY KEY (source, delivery_id)
) WITHOUT ROWID;
