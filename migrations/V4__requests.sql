-- Requests for overrides: what a tenant asks for, and what waits for a second person. That nobody
-- approves their own holds here too, whatever the program does.

CREATE TABLE requests (
    tenant            TEXT    NOT NULL REFERENCES tenants (tenant),
    id                TEXT    NOT NULL,
    -- Asked for, or written by somebody who may, and waiting for a second person.
    kind              TEXT    NOT NULL CHECK (kind IN ('request', 'create', 'update')),
    key               TEXT    NOT NULL,
    enabled           INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    value             TEXT,
    expires_at        INTEGER NOT NULL,
    reason            TEXT    NOT NULL,
    -- The override that is to change, or that came of it.
    override_id       TEXT,
    -- The revision that the change was written for.
    override_revision INTEGER CHECK (override_revision >= 1),
    state             TEXT    NOT NULL
        CHECK (state IN ('open', 'approved', 'declined', 'withdrawn', 'expired')),
    requested_by      TEXT    NOT NULL,
    requested_role    TEXT    NOT NULL,
    -- Who really sat behind an impersonated caller.
    requested_through TEXT,
    requested_at      INTEGER NOT NULL,
    -- Not to be decided from here on.
    lapses_at         INTEGER NOT NULL,
    decided_by        TEXT,
    decided_role      TEXT,
    decided_through   TEXT,
    decided_at        INTEGER,
    comment           TEXT,
    PRIMARY KEY (tenant, id),
    CHECK ((kind = 'update') = (override_revision IS NOT NULL)),
    CHECK (kind <> 'update' OR override_id IS NOT NULL),
    CHECK ((state = 'open') = (decided_at IS NULL)),
    -- What would have ended already is not worth a decision.
    CHECK (state <> 'open' OR lapses_at <= expires_at),
    -- What nobody decided has run out.
    CHECK ((decided_by IS NULL) = (state IN ('open', 'expired'))),
    CHECK ((decided_by IS NULL) = (decided_role IS NULL)),
    CHECK (state <> 'approved' OR override_id IS NOT NULL),
    CHECK (state <> 'declined' OR comment IS NOT NULL),
    -- Nobody approves their own, neither as themselves nor in somebody's place.
    CHECK (state <> 'approved' OR (
        decided_by <> requested_by
        AND decided_by IS NOT requested_through
        AND (decided_through IS NULL
            OR (decided_through <> requested_by AND decided_through IS NOT requested_through))))
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX requests_by_id ON requests (id);
-- One person asks once for the same thing.
CREATE UNIQUE INDEX requests_open ON requests (tenant, key, requested_by, requested_role)
    WHERE state = 'open';
CREATE INDEX requests_by_lapse ON requests (lapses_at, tenant, id) WHERE state = 'open';

-- Else somebody could approve their own by becoming another asker first.
CREATE TRIGGER requests_keep_their_asker
BEFORE UPDATE OF tenant, id, kind, key, requested_by, requested_role, requested_through ON requests
BEGIN SELECT RAISE(ABORT, 'who asked for what never changes'); END;
CREATE TRIGGER requests_are_decided_once BEFORE UPDATE ON requests WHEN old.state <> 'open'
BEGIN SELECT RAISE(ABORT, 'a request is decided once'); END;

-- Its present form took effect at once, where a second person should have been asked.
ALTER TABLE overrides ADD COLUMN break_glass INTEGER NOT NULL DEFAULT 0
    CHECK (break_glass IN (0, 1));
-- When it last decided a check, to the minute.
ALTER TABLE overrides ADD COLUMN last_used_at INTEGER;
