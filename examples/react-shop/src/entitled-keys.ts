// Written by entitled-keys from the catalog. Don't edit: run it again.
export type { FeatureKey, ModuleKey, PermissionKey, Reason } from '@entitled/client/keys';

declare module '@entitled/client/keys' {
  interface Names {
    module:
      | 'accounting'
      | 'common'
      | 'dine'
      | 'ecom'
      | 'hr'
      | 'owner'
      | 'pay'
      | 'retail'
      | 'zf';
    feature:
      | 'advanced_reports'
      | 'branches'
      | 'devices'
      | 'multi_branch'
      | 'users';
    permission:
      | 'pos.refunds.create'
      | 'pos.sales.create'
      | 'settings.manage'
      | 'users.manage';
    reason:
      | 'active'
      | 'add_on'
      | 'always_on'
      | 'cancelled'
      | 'condition'
      | 'demo'
      | 'disabled'
      | 'feature_disabled'
      | 'gating_disabled'
      | 'grant'
      | 'limit_reached'
      | 'no_subscription'
      | 'not_granted'
      | 'overdue'
      | 'override'
      | 'permission_denied'
      | 'plan'
      | 'plan_limit'
      | 'rbac_only'
      | 'role'
      | 'seat_required'
      | 'super_admin_bypass'
      | 'suspended'
      | 'tier'
      | 'trial'
      | 'trial_expired'
      | 'user_entitlement';
  }
}
