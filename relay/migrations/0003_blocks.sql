-- Messages lie in blocks of up to 64 KiB (store/block.rs): a row and an index entry for each of them cost more than all else
-- that storing it takes. What comes one by one is merged. Which are there already, the writer reads from the names and remembers.
CREATE TABLE blocks (
    last      INTEGER PRIMARY KEY, -- highest seq in it; no two blocks have the same
    circle    INTEGER NOT NULL REFERENCES circles (id),
    first     INTEGER NOT NULL,    -- lowest seq
    count     INTEGER NOT NULL,    -- messages
    bytes     INTEGER NOT NULL,    -- of their envelopes
    stored_at INTEGER NOT NULL,    -- of the newest; all are of the same day (UTC)
    names     BLOB    NOT NULL,
    data      BLOB    NOT NULL
) STRICT;

-- All but the blobs, in reading order. As the key of the table itself, each step of a search would read whole rows.
CREATE INDEX blocks_by_circle ON blocks (circle, last, first, count, bytes, stored_at);
