-- Instants are INTEGER microseconds since 1970 in UTC. Every row that belongs to a tenant has the
-- tenant first in its primary key. `version` is the service-wide sequence of changes; `revision`
-- counts the changes of one row, for ETag.

CREATE TABLE service_state (
    id             INTEGER PRIMARY KEY CHECK (id = 1),
    -- The latest version given out.
    version        INTEGER NOT NULL CHECK (version >= 0),
    -- The version of the latest change that concerns every tenant.
    global_version INTEGER NOT NULL CHECK (global_version >= 0 AND global_version <= version),
    -- The latest instant used in a write: time never goes back, not even over a restart.
    latest_at      INTEGER NOT NULL CHECK (latest_at >= 0)
) STRICT;
INSERT INTO service_state (id, version, global_version, latest_at) VALUES (1, 0, 0, 0);

CREATE TABLE catalogs (
    version    INTEGER PRIMARY KEY CHECK (version >= 1),
    -- The document as it was sent, comments and all.
    document   TEXT    NOT NULL,
    format     TEXT    NOT NULL CHECK (format IN ('yaml', 'json')),
    -- SHA-256 of the canonical form, to recognise the same catalog.
    digest     BLOB    NOT NULL CHECK (length(digest) = 32),
    applied_at INTEGER NOT NULL,
    applied_by TEXT    NOT NULL
) STRICT;

CREATE TABLE plan_versions (
    plan            TEXT    NOT NULL,
    version         INTEGER NOT NULL CHECK (version >= 1),
    name            TEXT    NOT NULL,
    -- What a subscription is pinned to, as JSON.
    content         TEXT    NOT NULL,
    catalog_version INTEGER NOT NULL REFERENCES catalogs (version),
    PRIMARY KEY (plan, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE tenants (
    tenant           TEXT    NOT NULL PRIMARY KEY CHECK (length(tenant) BETWEEN 1 AND 128),
    name             TEXT    NOT NULL,
    parent           TEXT    REFERENCES tenants (tenant),
    suspended_by     TEXT,
    suspended_at     INTEGER,
    suspended_reason TEXT,
    billing          TEXT    NOT NULL CHECK (billing IN ('subscription', 'direct')),
    demo             INTEGER NOT NULL CHECK (demo IN (0, 1)),
    sandbox          INTEGER NOT NULL CHECK (sandbox IN (0, 1)),
    attributes       TEXT    NOT NULL,
    created_at       INTEGER NOT NULL,
    updated_at       INTEGER NOT NULL,
    revision         INTEGER NOT NULL CHECK (revision >= 1),
    version          INTEGER NOT NULL,
    CHECK ((suspended_at IS NULL) = (suspended_by IS NULL)),
    CHECK ((suspended_at IS NULL) = (suspended_reason IS NULL)),
    CHECK (parent IS NULL OR parent <> tenant)
) STRICT, WITHOUT ROWID;
CREATE INDEX tenants_by_parent ON tenants (parent) WHERE parent IS NOT NULL;

CREATE TABLE subscriptions (
    tenant           TEXT    NOT NULL REFERENCES tenants (tenant),
    id               TEXT    NOT NULL,
    kind             TEXT    NOT NULL CHECK (kind IN ('base', 'add_on')),
    plan             TEXT    NOT NULL,
    plan_version     INTEGER NOT NULL,
    status           TEXT    NOT NULL
        CHECK (status IN ('trialing', 'active', 'overdue', 'suspended', 'cancelled')),
    effective_from   INTEGER NOT NULL,
    effective_to     INTEGER CHECK (effective_to IS NULL OR effective_to >= effective_from),
    trial_expires_at INTEGER,
    fallback_plan    TEXT,
    fallback_version INTEGER,
    overdue_since    INTEGER,
    quantity         INTEGER NOT NULL CHECK (quantity >= 1),
    change_reason    TEXT    NOT NULL,
    created_at       INTEGER NOT NULL,
    updated_at       INTEGER NOT NULL,
    revision         INTEGER NOT NULL CHECK (revision >= 1),
    -- It was assigned as a trial: the tenant has tried the plan.
    tried            INTEGER NOT NULL CHECK (tried IN (0, 1)),
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (plan, plan_version) REFERENCES plan_versions (plan, version),
    FOREIGN KEY (fallback_plan, fallback_version) REFERENCES plan_versions (plan, version),
    CHECK (status <> 'trialing' OR trial_expires_at IS NOT NULL),
    CHECK (status <> 'overdue' OR overdue_since IS NOT NULL),
    CHECK ((fallback_plan IS NULL) = (fallback_version IS NULL))
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX subscriptions_open_base ON subscriptions (tenant)
    WHERE kind = 'base' AND effective_to IS NULL;
CREATE INDEX subscriptions_by_plan ON subscriptions (plan, plan_version);
CREATE INDEX subscriptions_by_fallback ON subscriptions (fallback_plan, fallback_version)
    WHERE fallback_plan IS NOT NULL;

CREATE TABLE grants (
    tenant           TEXT    NOT NULL REFERENCES tenants (tenant),
    key              TEXT    NOT NULL,
    state            TEXT    NOT NULL CHECK (state IN ('enabled', 'disabled', 'trial')),
    value            TEXT,
    seats            INTEGER CHECK (seats IS NULL OR seats >= 0),
    trial_expires_at INTEGER,
    reason           TEXT    NOT NULL,
    created_at       INTEGER NOT NULL,
    updated_at       INTEGER NOT NULL,
    revision         INTEGER NOT NULL CHECK (revision >= 1),
    PRIMARY KEY (tenant, key),
    CHECK ((state = 'trial') = (trial_expires_at IS NOT NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX grants_by_key ON grants (key);

CREATE TABLE overrides (
    tenant     TEXT    NOT NULL REFERENCES tenants (tenant),
    id         TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    enabled    INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    value      TEXT,
    expires_at INTEGER NOT NULL,
    reason     TEXT    NOT NULL,
    -- How it ended; open while unset.
    ended      TEXT    CHECK (ended IN ('expired', 'removed')),
    ended_at   INTEGER,
    created_at INTEGER NOT NULL,
    created_by TEXT    NOT NULL,
    updated_at INTEGER NOT NULL,
    revision   INTEGER NOT NULL CHECK (revision >= 1),
    PRIMARY KEY (tenant, id),
    CHECK ((ended IS NULL) = (ended_at IS NULL))
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX overrides_open ON overrides (tenant, key) WHERE ended IS NULL;
CREATE INDEX overrides_open_by_key ON overrides (key) WHERE ended IS NULL;

CREATE TABLE api_keys (
    id           TEXT    NOT NULL PRIMARY KEY,
    name         TEXT    NOT NULL,
    role         TEXT    NOT NULL
        CHECK (role IN ('super_admin', 'support', 'auditor', 'service', 'tenant_admin', 'tenant_user')),
    tenant       TEXT    REFERENCES tenants (tenant),
    -- SHA-256 of the secret part; the secret itself is shown once and kept nowhere.
    digest       BLOB    NOT NULL CHECK (length(digest) = 32),
    created_at   INTEGER NOT NULL,
    created_by   TEXT    NOT NULL,
    expires_at   INTEGER,
    revoked_at   INTEGER,
    last_used_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX api_keys_by_tenant ON api_keys (tenant) WHERE tenant IS NOT NULL;

CREATE TABLE idempotency (
    -- The caller and the key that it chose.
    caller      TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    -- SHA-256 over method, path and body.
    fingerprint BLOB    NOT NULL CHECK (length(fingerprint) = 32),
    -- What was answered, as JSON; secrets are left out.
    result      TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (caller, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_by_age ON idempotency (created_at);

CREATE TABLE audit (
    seq          INTEGER PRIMARY KEY,
    at           INTEGER NOT NULL,
    event        TEXT    NOT NULL,
    actor        TEXT    NOT NULL,
    role         TEXT    NOT NULL,
    mode         TEXT    NOT NULL,
    impersonator TEXT,
    tenant       TEXT,
    subject      TEXT    NOT NULL,
    before       TEXT    NOT NULL,
    after        TEXT    NOT NULL,
    reason       TEXT,
    request_id   TEXT,
    ip           TEXT,
    -- SHA-256 over the hash of the row before and everything above.
    hash         BLOB    NOT NULL CHECK (length(hash) = 32)
) STRICT;
CREATE INDEX audit_by_tenant ON audit (tenant, seq) WHERE tenant IS NOT NULL;
CREATE INDEX audit_by_event ON audit (event, seq);
CREATE INDEX audit_by_actor ON audit (actor, seq);
CREATE INDEX audit_by_time ON audit (at);

CREATE TRIGGER audit_is_append_only_update BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_is_append_only_delete BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
