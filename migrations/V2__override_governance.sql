-- What the governance of overrides needs beside what the decision reads: finding one by its id alone,
-- the next one to expire, and how often one was renewed.

ALTER TABLE overrides ADD COLUMN renewals INTEGER NOT NULL DEFAULT 0 CHECK (renewals >= 0);
CREATE UNIQUE INDEX overrides_by_id ON overrides (id);
CREATE INDEX overrides_by_expiry ON overrides (expires_at) WHERE ended IS NULL;
