-- What was counted of a limit feature in the present period. The empty text stands for none: no user
-- for the tenant as a whole, no tenant for a user without one.
CREATE TABLE usage (
    tenant       TEXT    NOT NULL,
    user         TEXT    NOT NULL,
    feature      TEXT    NOT NULL,
    -- A counter belongs to this period; a gauge goes on through all of them.
    period_start INTEGER NOT NULL,
    period_end   INTEGER,
    used         INTEGER NOT NULL CHECK (used >= 0),
    -- The most that was used at once in the period.
    peak         INTEGER NOT NULL CHECK (peak >= used),
    -- Units of the period that were taken past a limit that only warns.
    over         INTEGER NOT NULL CHECK (over >= 0),
    -- How full it was told to be, in percent.
    level        INTEGER NOT NULL CHECK (level IN (0, 80, 100)),
    updated_at   INTEGER NOT NULL,
    PRIMARY KEY (tenant, user, feature),
    CHECK (tenant <> '' OR user <> '')
) STRICT, WITHOUT ROWID;
-- A counter that was told to be full recovers when its period ends.
CREATE INDEX usage_by_recovery ON usage (period_end, tenant, user, feature)
    WHERE level > 0 AND period_end IS NOT NULL;

-- Periods that are over, for reports.
CREATE TABLE usage_history (
    tenant       TEXT    NOT NULL,
    user         TEXT    NOT NULL,
    feature      TEXT    NOT NULL,
    period_start INTEGER NOT NULL,
    period_end   INTEGER NOT NULL,
    used         INTEGER NOT NULL CHECK (used >= 0),
    peak         INTEGER NOT NULL CHECK (peak >= used),
    over         INTEGER NOT NULL CHECK (over >= 0),
    PRIMARY KEY (tenant, user, feature, period_start),
    CHECK (tenant <> '' OR user <> '')
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_history_by_age ON usage_history (period_end);

-- Units that are set aside. An open one counts as used until it expires.
CREATE TABLE reservations (
    tenant     TEXT    NOT NULL,
    user       TEXT    NOT NULL,
    feature    TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    amount     INTEGER NOT NULL CHECK (amount > 0),
    expires_at INTEGER NOT NULL,
    state      TEXT    NOT NULL CHECK (state IN ('open', 'settled', 'released', 'expired')),
    -- How many of them were used in the end.
    settled    INTEGER CHECK (settled BETWEEN 0 AND amount),
    created_at INTEGER NOT NULL,
    created_by TEXT    NOT NULL,
    ended_at   INTEGER,
    PRIMARY KEY (id),
    CHECK (tenant <> '' OR user <> ''),
    CHECK ((state = 'open') = (ended_at IS NULL)),
    CHECK ((state = 'settled') = (settled IS NOT NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX reservations_open ON reservations (tenant, user, feature, expires_at, id)
    WHERE state = 'open';
CREATE INDEX reservations_by_expiry ON reservations (expires_at, tenant, id) WHERE state = 'open';
CREATE INDEX reservations_by_end ON reservations (ended_at) WHERE ended_at IS NOT NULL;

-- Tenants, or users in them, whose limits may have changed: how full they are is worked out anew.
CREATE TABLE usage_rechecks (
    tenant        TEXT    NOT NULL,
    user          TEXT    NOT NULL,
    queued_at     INTEGER NOT NULL,
    -- How far it has come.
    after_user    TEXT    NOT NULL,
    after_feature TEXT    NOT NULL,
    PRIMARY KEY (tenant, user)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_rechecks_by_age ON usage_rechecks (queued_at, tenant, user);

-- How many requests of a tenant wait, whatever it has asked for in its life.
CREATE INDEX requests_waiting ON requests (tenant, lapses_at) WHERE state = 'open';

-- What the planner is to expect, the same on every installation: without it, it takes a tenant for
-- ten rows, and walks through all of a tenant's users to find one.
ANALYZE sqlite_schema;
DELETE FROM sqlite_stat1;
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('role_assignments', 'role_assignments', '1000000 10000 1'),
    ('role_assignments', 'role_assignments_by_user', '1000000 10000 2 2 1 1'),
    ('role_assignments', 'role_assignments_by_context', '900000 9000 300 10'),
    ('role_assignments', 'role_assignments_by_expiry', '100000 1 1 1'),
    ('role_assignments', 'role_assignments_by_role', '1000000 50000'),
    ('contexts', 'contexts', '100000 10000 1000 1'),
    ('contexts', 'contexts_by_parent', '100000 10000 1000 10'),
    ('seats', 'seats', '1000000 10000 1000 100 1'),
    ('seats', 'seats_by_holder', '1000000 10000 2'),
    ('seats', 'seats_by_age', '1000000 10000 1000 1'),
    ('seats', 'seats_by_expiry', '100000 1 1 1 1 1'),
    ('seats', 'seats_by_key', '1000000 100000'),
    ('usage', 'usage', '1000000 10000 3 1'),
    ('usage', 'usage_by_recovery', '10000 10 1 1 1'),
    ('usage_history', 'usage_history', '10000000 100000 30 12 1'),
    ('usage_history', 'usage_history_by_age', '10000000 10000'),
    ('reservations', 'reservations', '1000000 1'),
    ('reservations', 'reservations_open', '10000 100 3 3 1 1'),
    ('reservations', 'reservations_by_expiry', '10000 1 1 1'),
    ('reservations', 'reservations_by_end', '990000 2');
