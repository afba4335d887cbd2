-- A circle is what its members' requests are checked against; the key opens no message.
CREATE TABLE circles (
    id          INTEGER PRIMARY KEY,
    hint        BLOB    NOT NULL UNIQUE CHECK (length(hint) = 32),
    signing_key BLOB    NOT NULL CHECK (length(signing_key) = 32),
    created_at  INTEGER NOT NULL
) STRICT;

-- seq is the cursor: one count for the whole relay, assigned by the one writer and never given out twice; see
-- meta.next_seq. Rows lie in reading order, so that a post touches one page here and one of the index.
-- msg_id: of author and id together, see Item in store/mod.rs; of rows from before that, the id.
CREATE TABLE messages (
    circle    INTEGER NOT NULL REFERENCES circles (id),
    seq       INTEGER NOT NULL,
    msg_id    BLOB    NOT NULL,
    envelope  BLOB    NOT NULL,
    stored_at INTEGER NOT NULL,
    PRIMARY KEY (circle, seq)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX messages_by_id ON messages (circle, msg_id);

-- next_seq: written whenever messages are removed, so that a cursor is not given out twice.
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
