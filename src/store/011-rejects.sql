-- The latest rejects, so that a restart does not hide why nothing arrives. Nothing of what was sent is among them.
CREATE TABLE rejects (
    source    TEXT,                -- NULL where the path is that of none
    path      TEXT    NOT NULL,    -- only where there is no source
    reason    TEXT    NOT NULL,
    text      TEXT    NOT NULL,
    peer      TEXT    NOT NULL,    -- the network of the sender's address
    first_at  TEXT    NOT NULL,    -- of those that are alike
    last_at   TEXT    NOT NULL,
    count     INTEGER NOT NULL
);

-- How many there were in each hour of the last day.
CREATE TABLE reject_hours (
    hour      INTEGER PRIMARY KEY, -- since 1970
    count     INTEGER NOT NULL
);
