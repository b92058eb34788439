/** The reasons that the server itself gives. A guard's condition has a reason of its own beside these. */
import type { ModuleAccess } from '../generated/types.gen.js';

type Server = ModuleAccess['reason'];

// A record, so that one which the server adds is missing here until it is added.
const ALL: Record<Server, true> = {
  suspended: true,
  demo: true,
  gating_disabled: true,
  no_subscription: true,
  cancelled: true,
  overdue: true,
  feature_disabled: true,
  always_on: true,
  rbac_only: true,
  override: true,
  disabled: true,
  grant: true,
  trial: true,
  trial_expired: true,
  plan: true,
  add_on: true,
  plan_limit: true,
  not_granted: true,
  user_entitlement: true,
  seat_required: true,
  role: true,
  tier: true,
  permission_denied: true,
  super_admin_bypass: true,
  limit_reached: true,
  condition: true,
  active: true,
};

/** All of them. */
export const REASONS = Object.keys(ALL) as readonly Server[];
