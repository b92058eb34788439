-- How far enforcement is rolled out. One row: it is the same for all.
CREATE TABLE rollout (
    id                 INTEGER PRIMARY KEY CHECK (id = 1),
    mode               TEXT    NOT NULL CHECK (mode IN ('off', 'shadow', 'enforce')),
    percent            INTEGER NOT NULL CHECK (percent BETWEEN 0 AND 100),
    -- Sorted lists of keys.
    include            TEXT    NOT NULL CHECK (json_type(include) = 'array'),
    exclude            TEXT    NOT NULL CHECK (json_type(exclude) = 'array'),
    unenforced_modules TEXT    NOT NULL CHECK (json_type(unenforced_modules) = 'array'),
    auto_rollback      TEXT    CHECK (auto_rollback IS NULL OR json_type(auto_rollback) = 'object'),
    -- Null while nobody has changed it.
    updated_at         INTEGER,
    updated_by         TEXT,
    revision           INTEGER NOT NULL CHECK (revision >= 1),
    CHECK ((updated_at IS NULL) = (updated_by IS NULL))
) STRICT;
-- Whoever had no rollout enforced everywhere.
INSERT INTO rollout (id, mode, percent, include, exclude, unenforced_modules, auto_rollback,
                     updated_at, updated_by, revision)
VALUES (1, 'enforce', 100, '[]', '[]', '[]', NULL, NULL, NULL, 1);
