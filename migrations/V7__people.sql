-- People: the tree of contexts in each tenant, who holds which role where, who has which tier, whose
-- seats are used by whom, what a user is entitled to alone, and what users did in their roles.
-- What has ended by itself or by somebody is told by the audit trail; rows are what holds now, but
-- for user entitlements, whose history is kept.

CREATE TABLE contexts (
    tenant      TEXT    NOT NULL REFERENCES tenants (tenant),
    type        TEXT    NOT NULL,
    id          TEXT    NOT NULL,
    parent_type TEXT,
    parent_id   TEXT,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    revision    INTEGER NOT NULL CHECK (revision >= 1),
    PRIMARY KEY (tenant, type, id),
    FOREIGN KEY (tenant, parent_type, parent_id) REFERENCES contexts (tenant, type, id),
    CHECK ((parent_type IS NULL) = (parent_id IS NULL)),
    CHECK (parent_id IS NULL OR parent_type <> type OR parent_id <> id)
) STRICT, WITHOUT ROWID;
CREATE INDEX contexts_by_parent ON contexts (tenant, parent_type, parent_id)
    WHERE parent_id IS NOT NULL;

-- How many rows of `contexts` each tenant has, so that nobody has to count them.
CREATE TABLE context_counts (
    tenant   TEXT    NOT NULL PRIMARY KEY REFERENCES tenants (tenant),
    contexts INTEGER NOT NULL CHECK (contexts >= 0)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER contexts_are_counted_in AFTER INSERT ON contexts BEGIN
    INSERT INTO context_counts (tenant, contexts) VALUES (new.tenant, 1)
    ON CONFLICT (tenant) DO UPDATE SET contexts = contexts + 1;
END;
CREATE TRIGGER contexts_are_counted_out AFTER DELETE ON contexts BEGIN
    UPDATE context_counts SET contexts = contexts - 1 WHERE tenant = old.tenant;
END;

CREATE TABLE role_assignments (
    tenant       TEXT    NOT NULL REFERENCES tenants (tenant),
    id           TEXT    NOT NULL,
    user         TEXT    NOT NULL,
    role         TEXT    NOT NULL,
    -- Held on the tenant as a whole while unset.
    context_type TEXT,
    context_id   TEXT,
    expires_at   INTEGER,
    created_at   INTEGER NOT NULL,
    created_by   TEXT    NOT NULL,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, context_type, context_id) REFERENCES contexts (tenant, type, id),
    CHECK ((context_type IS NULL) = (context_id IS NULL))
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX role_assignments_by_user ON role_assignments
    (tenant, user, role, coalesce(context_type, ''), coalesce(context_id, ''));
CREATE INDEX role_assignments_by_context ON role_assignments (tenant, context_type, context_id)
    WHERE context_id IS NOT NULL;
CREATE INDEX role_assignments_by_expiry ON role_assignments (expires_at, tenant, id)
    WHERE expires_at IS NOT NULL;
CREATE INDEX role_assignments_by_role ON role_assignments (role);

-- Roles of the application's own staff, which cover every tenant.
CREATE TABLE platform_roles (
    id         TEXT    NOT NULL PRIMARY KEY,
    user       TEXT    NOT NULL,
    role       TEXT    NOT NULL,
    expires_at INTEGER,
    created_at INTEGER NOT NULL,
    created_by TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX platform_roles_by_user ON platform_roles (user, role);
CREATE INDEX platform_roles_by_expiry ON platform_roles (expires_at, id)
    WHERE expires_at IS NOT NULL;
CREATE INDEX platform_roles_by_role ON platform_roles (role);

-- A user's place on a plan for users; without a tenant it holds where no tenant says otherwise.
CREATE TABLE tiers (
    id             TEXT    NOT NULL PRIMARY KEY,
    tenant         TEXT    REFERENCES tenants (tenant),
    user           TEXT    NOT NULL,
    plan           TEXT    NOT NULL,
    plan_version   INTEGER NOT NULL,
    effective_from INTEGER NOT NULL,
    effective_to   INTEGER CHECK (effective_to IS NULL OR effective_to >= effective_from),
    -- Its end was recorded, or it was ended by somebody.
    is_over        INTEGER NOT NULL CHECK (is_over IN (0, 1)),
    change_reason  TEXT    NOT NULL,
    created_at     INTEGER NOT NULL,
    created_by     TEXT    NOT NULL,
    FOREIGN KEY (plan, plan_version) REFERENCES plan_versions (plan, version)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX tiers_in_effect ON tiers (user, coalesce(tenant, '')) WHERE is_over = 0;
CREATE INDEX tiers_by_end ON tiers (effective_to, id)
    WHERE is_over = 0 AND effective_to IS NOT NULL;
CREATE INDEX tiers_by_plan ON tiers (plan, plan_version) WHERE is_over = 0;

-- Seats in use. The pool is the tenant's that bought them; the holder may be below it in the tree.
CREATE TABLE seats (
    tenant       TEXT    NOT NULL REFERENCES tenants (tenant),
    key          TEXT    NOT NULL,
    holder       TEXT    NOT NULL REFERENCES tenants (tenant),
    user         TEXT    NOT NULL,
    expires_at   INTEGER,
    allocated_at INTEGER NOT NULL,
    allocated_by TEXT    NOT NULL,
    PRIMARY KEY (tenant, key, holder, user)
) STRICT, WITHOUT ROWID;
CREATE INDEX seats_by_holder ON seats (holder, user);
CREATE INDEX seats_by_age ON seats (tenant, key, allocated_at);
CREATE INDEX seats_by_expiry ON seats (expires_at, tenant, key, holder, user)
    WHERE expires_at IS NOT NULL;
CREATE INDEX seats_by_key ON seats (key);

-- How many rows of `seats` each pool has, so that nobody has to count them.
CREATE TABLE seat_counts (
    tenant    TEXT    NOT NULL REFERENCES tenants (tenant),
    key       TEXT    NOT NULL,
    allocated INTEGER NOT NULL CHECK (allocated >= 0),
    PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER seats_are_counted_in AFTER INSERT ON seats BEGIN
    INSERT INTO seat_counts (tenant, key, allocated) VALUES (new.tenant, new.key, 1)
    ON CONFLICT (tenant, key) DO UPDATE SET allocated = allocated + 1;
END;
CREATE TRIGGER seats_are_counted_out AFTER DELETE ON seats BEGIN
    UPDATE seat_counts SET allocated = allocated - 1
    WHERE tenant = old.tenant AND key = old.key;
END;

CREATE TABLE user_entitlements (
    id         TEXT    NOT NULL PRIMARY KEY,
    tenant     TEXT    REFERENCES tenants (tenant),
    user       TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    status     TEXT    NOT NULL CHECK (status IN ('active', 'suspended', 'revoked', 'expired')),
    expires_at INTEGER,
    reason     TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT    NOT NULL,
    updated_at INTEGER NOT NULL,
    updated_by TEXT    NOT NULL,
    revision   INTEGER NOT NULL CHECK (revision >= 1),
    -- Given by an admin of the tenant: it counts while the tenant itself is entitled.
    delegated  INTEGER NOT NULL CHECK (delegated IN (0, 1))
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX user_entitlements_open ON user_entitlements (user, key, coalesce(tenant, ''))
    WHERE status IN ('active', 'suspended');
CREATE INDEX user_entitlements_by_tenant ON user_entitlements (tenant, id)
    WHERE tenant IS NOT NULL;
CREATE INDEX user_entitlements_by_user ON user_entitlements (user, id);
CREATE INDEX user_entitlements_by_expiry ON user_entitlements (expires_at, id)
    WHERE status IN ('active', 'suspended') AND expires_at IS NOT NULL;
CREATE INDEX user_entitlements_by_key ON user_entitlements (key)
    WHERE status IN ('active', 'suspended');

-- What users did in their roles. Not part of the audit trail: it is pruned by age.
CREATE TABLE activity (
    seq          INTEGER PRIMARY KEY,
    tenant       TEXT    NOT NULL REFERENCES tenants (tenant),
    at           INTEGER NOT NULL,
    user         TEXT    NOT NULL,
    role         TEXT,
    action       TEXT    NOT NULL,
    context_type TEXT,
    context_id   TEXT,
    metadata     TEXT,
    CHECK ((context_type IS NULL) = (context_id IS NULL))
) STRICT;
CREATE INDEX activity_by_time ON activity (tenant, at);
CREATE INDEX activity_by_user ON activity (tenant, user, at);
CREATE INDEX activity_by_age ON activity (at);
