-- A sandbox tenant has a clock of its own: how far it is ahead of the service's, in microseconds.
ALTER TABLE tenants ADD COLUMN clock_ahead INTEGER NOT NULL DEFAULT 0
    CHECK (clock_ahead >= 0 AND (clock_ahead = 0 OR sandbox = 1));
CREATE INDEX tenants_ahead ON tenants (tenant) WHERE clock_ahead > 0;
