-- The hash of the body, only of events whose source ignores a repeated one: other events have no entry in the index.
ALTER TABLE provenance ADD COLUMN body_digest BLOB;

CREATE INDEX provenance_bodies ON provenance (body_digest) WHERE body_digest IS NOT NULL;
