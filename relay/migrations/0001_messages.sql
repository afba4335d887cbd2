-- A circle is what its members' requests are checked against; the key opens no message.
CREATE TABLE circles (
    id          INTEGER PRIMARY KEY,
    hint        BLOB    NOT NULL UNIQUE CHECK (length(hint) = 32),
    signing_key BLOB    NOT NULL CHECK (length(signing_key) = 32),
    created_at  INTEGER NOT NULL
) STRICT;

-- One log for the whole relay: seq is the cursor. It is assigned by the one writer and never reused; see meta.next_seq.
CREATE TABLE messages (
    seq       INTEGER PRIMARY KEY,
    circle    INTEGER NOT NULL REFERENCES circles (id),
    msg_id    BLOB    NOT NULL,
    envelope  BLOB    NOT NULL,
    stored_at INTEGER NOT NULL
) STRICT;

-- An index holds the row's seq as its last column, so this one serves paging within a circle.
CREATE INDEX messages_by_circle ON messages (circle);
CREATE UNIQUE INDEX messages_by_id ON messages (circle, msg_id);

-- next_seq: written whenever messages are removed, so that a cursor is not given out twice.
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
