-- How much the bearer of a key may send, where it differs from what the settings say.
ALTER TABLE api_keys ADD COLUMN rate_per_second INTEGER
    CHECK (rate_per_second BETWEEN 1 AND 1000000);
ALTER TABLE api_keys ADD COLUMN rate_burst INTEGER
    CHECK (rate_burst BETWEEN 1 AND 1000000)
    CHECK ((rate_burst IS NULL) = (rate_per_second IS NULL));
