-- What an older application knows as `enabled_modules`: one map for each tenant, kept beside the grants
-- until nobody reads it any more.
CREATE TABLE legacy_modules (
    tenant  TEXT    NOT NULL REFERENCES tenants (tenant),
    module  TEXT    NOT NULL,
    enabled INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    PRIMARY KEY (tenant, module)
) STRICT, WITHOUT ROWID;
CREATE INDEX legacy_modules_by_module ON legacy_modules (module);

-- How it is kept. One row: it is the same for all.
CREATE TABLE legacy_settings (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    dual_write INTEGER NOT NULL CHECK (dual_write IN (0, 1)),
    -- The old name of a module, where it is another than its key.
    names      TEXT    NOT NULL CHECK (json_type(names) = 'object'),
    -- Null while nobody has changed it.
    updated_at INTEGER,
    updated_by TEXT,
    revision   INTEGER NOT NULL CHECK (revision >= 1),
    CHECK ((updated_at IS NULL) = (updated_by IS NULL))
) STRICT;
INSERT INTO legacy_settings (id, dual_write, names, updated_at, updated_by, revision)
VALUES (1, 0, '{}', NULL, NULL, 1);
