-- What is written under it in the journal is the relay's own: what lies there of members' making cannot be taken for a record.
CREATE TABLE journal_key (
    key BLOB NOT NULL CHECK (length(key) = 32)
) STRICT;

INSERT INTO journal_key VALUES (randomblob(32));
