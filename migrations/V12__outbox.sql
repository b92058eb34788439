-- What subscribers are told: one row for each tenant that a change concerns, or one without a tenant,
-- written together with the change. The newest row is never taken away, so that places don't repeat.
CREATE TABLE outbox (
    seq     INTEGER PRIMARY KEY CHECK (seq >= 1),
    at      INTEGER NOT NULL,
    -- Null where it concerns everyone, or no tenant at all.
    tenant  TEXT,
    -- The version that the change made.
    version INTEGER NOT NULL CHECK (version >= 0),
    -- The audit event's name, or `time`.
    cause   TEXT    NOT NULL,
    -- The modules and features that changed; empty where any may have.
    keys    TEXT    NOT NULL CHECK (json_type(keys) = 'array'),
    -- The users whose answers can be others now; null where anybody's can.
    users   TEXT    CHECK (users IS NULL OR json_type(users) = 'array'),
    -- Whether answers can be others now, or only the records.
    effect  TEXT    NOT NULL CHECK (effect IN ('answers', 'records'))
) STRICT;

-- How far subscribers were told of what ends and begins by itself.
CREATE TABLE boundaries (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    told_until INTEGER NOT NULL CHECK (told_until >= 0)
) STRICT;
-- What had ended before there was anybody to tell.
INSERT INTO boundaries (id, told_until) SELECT 1, latest_at FROM service_state WHERE id = 1;
