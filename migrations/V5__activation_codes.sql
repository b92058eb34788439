-- Codes that put a tenant on a plan. The code itself is shown once and kept nowhere: only its SHA-256
-- is stored, by which it is found.

CREATE TABLE activation_codes (
    id              TEXT    NOT NULL PRIMARY KEY,
    digest          BLOB    NOT NULL CHECK (length(digest) = 32),
    plan            TEXT    NOT NULL,
    -- For people.
    note            TEXT,
    max_redemptions INTEGER NOT NULL CHECK (max_redemptions >= 1),
    -- How often it was redeemed: one row of activation_redemptions for each.
    redeemed        INTEGER NOT NULL CHECK (redeemed BETWEEN 0 AND max_redemptions),
    -- A trial of so many days; an active subscription where unset.
    duration_days   INTEGER CHECK (duration_days >= 1),
    -- Not redeemed from here on.
    expires_at      INTEGER,
    revoked_at      INTEGER,
    created_at      INTEGER NOT NULL,
    created_by      TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX activation_codes_by_digest ON activation_codes (digest);
CREATE INDEX activation_codes_by_plan ON activation_codes (plan, id);

CREATE TABLE activation_redemptions (
    tenant       TEXT    NOT NULL REFERENCES tenants (tenant),
    code         TEXT    NOT NULL REFERENCES activation_codes (id),
    subscription TEXT    NOT NULL,
    redeemed_at  INTEGER NOT NULL,
    redeemed_by  TEXT    NOT NULL,
    -- Once for each tenant.
    PRIMARY KEY (tenant, code),
    FOREIGN KEY (tenant, subscription) REFERENCES subscriptions (tenant, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX activation_redemptions_by_code ON activation_redemptions (code, redeemed_at, tenant);
