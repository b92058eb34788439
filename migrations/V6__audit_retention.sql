-- Pruning of the audit trail, and what it leaves behind: the place and hash of the last pruned row, to
-- which the first one that is left is chained. The event of that pruning, which is always among the
-- rows that are left, says the same, so that a forged checkpoint is found.

CREATE TABLE audit_checkpoint (
    id   INTEGER PRIMARY KEY CHECK (id = 1),
    -- The last pruned row. Places have no gaps, so this is also how many were pruned in all.
    seq  INTEGER NOT NULL CHECK (seq >= 1),
    hash BLOB    NOT NULL CHECK (length(hash) = 32),
    -- The last pruning: when, and how many rows.
    at   INTEGER NOT NULL,
    rows INTEGER NOT NULL CHECK (rows BETWEEN 1 AND seq)
) STRICT;

-- It names a row that is there, and only moves forward.
CREATE TRIGGER audit_checkpoint_is_a_row_insert BEFORE INSERT ON audit_checkpoint
WHEN EXISTS (SELECT 1 FROM audit_checkpoint)
  OR NOT EXISTS (SELECT 1 FROM audit WHERE seq = new.seq AND hash = new.hash)
BEGIN SELECT RAISE(ABORT, 'a checkpoint names a row of the audit trail'); END;
CREATE TRIGGER audit_checkpoint_is_a_row_update BEFORE UPDATE ON audit_checkpoint
WHEN new.seq <= old.seq
  OR NOT EXISTS (SELECT 1 FROM audit WHERE seq = new.seq AND hash = new.hash)
BEGIN SELECT RAISE(ABORT, 'a checkpoint only moves forward'); END;
CREATE TRIGGER audit_checkpoint_stays BEFORE DELETE ON audit_checkpoint
BEGIN SELECT RAISE(ABORT, 'a checkpoint stays'); END;

-- Only what lies behind the checkpoint may go.
DROP TRIGGER audit_is_append_only_delete;
CREATE TRIGGER audit_is_append_only_delete BEFORE DELETE ON audit
WHEN NOT EXISTS (SELECT 1 FROM audit_checkpoint WHERE seq >= old.seq)
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;

-- INSERT OR REPLACE would take the place of a row without asking the triggers above.
CREATE TRIGGER audit_is_append_only_insert BEFORE INSERT ON audit
WHEN new.seq <= (SELECT coalesce(max(seq), 0) FROM audit)
  OR EXISTS (SELECT 1 FROM audit_checkpoint WHERE seq >= new.seq)
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
