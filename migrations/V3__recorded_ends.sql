-- What ends by itself is recorded once. Each row says which of its ends were; the indexes hold those
-- that were not, in the order in which they come.

ALTER TABLE overrides ADD COLUMN announced INTEGER NOT NULL DEFAULT 0 CHECK (announced IN (0, 1));
DROP INDEX overrides_by_expiry;
CREATE INDEX overrides_by_expiry ON overrides (expires_at, tenant, id) WHERE ended IS NULL;
CREATE INDEX overrides_by_notice ON overrides (expires_at, tenant, id)
    WHERE ended IS NULL AND announced = 0;

ALTER TABLE subscriptions
    ADD COLUMN start_recorded INTEGER NOT NULL DEFAULT 0 CHECK (start_recorded IN (0, 1));
ALTER TABLE subscriptions
    ADD COLUMN trial_recorded INTEGER NOT NULL DEFAULT 0 CHECK (trial_recorded IN (0, 1));
ALTER TABLE subscriptions
    ADD COLUMN end_recorded INTEGER NOT NULL DEFAULT 0 CHECK (end_recorded IN (0, 1));
-- What began or ended with the change that said so has its event.
UPDATE subscriptions SET start_recorded = 1 WHERE effective_from <= created_at;
UPDATE subscriptions SET end_recorded = 1 WHERE effective_to <= updated_at;
CREATE INDEX subscriptions_by_start ON subscriptions (effective_from, tenant, id)
    WHERE start_recorded = 0;
CREATE INDEX subscriptions_by_end ON subscriptions (effective_to, tenant, id)
    WHERE end_recorded = 0 AND effective_to IS NOT NULL;
-- A trial that outlives its subscription has no end of its own.
CREATE INDEX subscriptions_by_trial ON subscriptions (trial_expires_at, tenant, id)
    WHERE trial_recorded = 0 AND status = 'trialing'
      AND (effective_to IS NULL OR effective_to > trial_expires_at);

ALTER TABLE grants
    ADD COLUMN trial_recorded INTEGER NOT NULL DEFAULT 0 CHECK (trial_recorded IN (0, 1));
CREATE INDEX grants_by_trial ON grants (trial_expires_at, tenant, key)
    WHERE trial_recorded = 0 AND state = 'trial';
