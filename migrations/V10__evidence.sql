-- What checks were answered, hour by hour. The tenant is '' for a user without one, and '*' for what
-- found no room under a tenant of its own; a tenant's key can be neither.
CREATE TABLE check_hours (
    tenant  TEXT    NOT NULL,
    -- The start of the hour.
    hour    INTEGER NOT NULL CHECK (hour % 3600000000 = 0),
    -- Of the requirement that decided; '' for none.
    module  TEXT    NOT NULL,
    reason  TEXT    NOT NULL,
    outcome TEXT    NOT NULL CHECK (outcome IN ('allowed', 'refused', 'would_be_refused')),
    checks  INTEGER NOT NULL CHECK (checks > 0),
    PRIMARY KEY (tenant, hour, module, reason, outcome)
) STRICT, WITHOUT ROWID;
-- Holds every column: a report over all tenants reads nothing but its hours.
CREATE INDEX check_hours_by_hour ON check_hours (hour, tenant, module, reason, outcome, checks);
