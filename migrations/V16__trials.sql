-- Trials that began and have not become the real thing yet: the trial of a grant by its module or
-- feature, that of a subscription by its plan.
CREATE TABLE open_trials (
    tenant     TEXT    NOT NULL REFERENCES tenants (tenant),
    kind       TEXT    NOT NULL CHECK (kind IN ('grant', 'subscription')),
    key        TEXT    NOT NULL,
    started_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, kind, key)
) STRICT, WITHOUT ROWID;
INSERT INTO open_trials (tenant, kind, key, started_at)
    SELECT tenant, 'grant', key, updated_at FROM grants WHERE state = 'trial';
INSERT OR IGNORE INTO open_trials (tenant, kind, key, started_at)
    SELECT tenant, 'subscription', plan, effective_from FROM subscriptions
    WHERE status = 'trialing' AND effective_to IS NULL AND start_recorded = 1;

-- How many trials began, became the real thing, and ended, hour by hour.
CREATE TABLE trial_hours (
    tenant TEXT    NOT NULL REFERENCES tenants (tenant),
    -- The start of the hour.
    hour   INTEGER NOT NULL CHECK (hour % 3600000000 = 0),
    kind   TEXT    NOT NULL CHECK (kind IN ('grant', 'subscription')),
    key    TEXT    NOT NULL,
    step   TEXT    NOT NULL CHECK (step IN ('started', 'converted', 'expired')),
    trials INTEGER NOT NULL CHECK (trials > 0),
    PRIMARY KEY (tenant, hour, kind, key, step)
) STRICT, WITHOUT ROWID;
CREATE INDEX trial_hours_by_hour ON trial_hours (hour, tenant, kind, key, step, trials);
