-- Where an operator wants to be told of audit events.
CREATE TABLE webhooks (
    id              TEXT    NOT NULL PRIMARY KEY,
    url             TEXT    NOT NULL,
    description     TEXT    NOT NULL,
    -- Beginnings of names of audit events; all events where there is none.
    events          TEXT    NOT NULL CHECK (json_type(events) = 'array'),
    -- Only events about this tenant; null for all.
    tenant          TEXT    REFERENCES tenants (tenant),
    -- Base64. Deliveries are signed with it, so it is kept as it is.
    secret          TEXT    NOT NULL,
    -- The one before, with which deliveries are signed too until then.
    old_secret      TEXT,
    old_until       INTEGER,
    disabled_at     INTEGER,
    disabled_reason TEXT    CHECK (disabled_reason IN ('by_hand', 'exhausted', 'gone', 'backlog')),
    created_at      INTEGER NOT NULL,
    created_by      TEXT    NOT NULL,
    updated_at      INTEGER NOT NULL,
    revision        INTEGER NOT NULL CHECK (revision >= 1),
    CHECK ((old_secret IS NULL) = (old_until IS NULL)),
    CHECK ((disabled_at IS NULL) = (disabled_reason IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX webhooks_by_tenant ON webhooks (tenant) WHERE tenant IS NOT NULL;

-- One message to one webhook, with what became of it.
CREATE TABLE webhook_deliveries (
    -- Rises in the order of commits.
    seq        INTEGER PRIMARY KEY,
    -- The same in each attempt.
    id         TEXT    NOT NULL UNIQUE,
    webhook    TEXT    NOT NULL REFERENCES webhooks (id),
    event      TEXT    NOT NULL,
    tenant     TEXT,
    -- Those of one lane are delivered one after the other: the tenant, or the own id where it stands
    -- outside of the order.
    lane       TEXT    NOT NULL,
    body       TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    state      TEXT    NOT NULL CHECK (state IN ('waiting', 'delivered', 'failed')),
    -- Attempts of the present round; more were made where it was sent again.
    tries      INTEGER NOT NULL CHECK (tries >= 0),
    -- What became of the latest attempts.
    attempts   TEXT    NOT NULL CHECK (json_type(attempts) = 'array'),
    -- Null where it is over, or where another one of its lane comes first.
    next_at    INTEGER,
    ended_at   INTEGER,
    CHECK ((ended_at IS NULL) = (state = 'waiting')),
    CHECK (next_at IS NULL OR state = 'waiting')
) STRICT;
CREATE INDEX webhook_deliveries_by_webhook ON webhook_deliveries (webhook, seq);
CREATE INDEX webhook_deliveries_waiting ON webhook_deliveries (webhook, lane, seq)
    WHERE state = 'waiting';
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (webhook, next_at)
    WHERE next_at IS NOT NULL;
CREATE INDEX webhook_deliveries_ended ON webhook_deliveries (ended_at) WHERE ended_at IS NOT NULL;
