-- A key that is rotated keeps its id. The secret before the last one is good until then.
ALTER TABLE api_keys ADD COLUMN rotated_at INTEGER;
ALTER TABLE api_keys ADD COLUMN old_digest BLOB
    CHECK (old_digest IS NULL OR length(old_digest) = 32);
ALTER TABLE api_keys ADD COLUMN old_secret_until INTEGER
    CHECK ((old_digest IS NULL) = (old_secret_until IS NULL));
