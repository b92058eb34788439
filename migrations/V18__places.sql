-- Users who are known in a tenant, and those without one, by key: what a preview of a write walks
-- through, page by page.
CREATE INDEX tiers_by_tenant ON tiers (tenant, user) WHERE is_over = 0;
CREATE INDEX user_entitlements_by_tenant_and_user ON user_entitlements (tenant, user)
    WHERE status = 'active';
