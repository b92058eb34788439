/**
 * Reads an answer out of a payload: loading, allowed or denied.
 *
 * Invariants: allowed only where the payload says so in as many words, and only until the end that
 * it names; the module before the features, these before the permission, the limit last.
 */
import { isObject } from '../client/shapes.js';
import type { Entitlements, Remedy } from '../generated/types.gen.js';
import type { FeatureKey, ModuleKey, PermissionKey } from '../keys/names.js';

/** Where a permission is needed. */
export interface ContextRef {
  type: string;
  id: string;
}

/** What something needs; all that is named, in this order. */
export interface Need {
  module?: ModuleKey | undefined;
  feature?: FeatureKey | undefined;
  features?: readonly FeatureKey[] | undefined;
  /** Whether all or any of the features; `all` if left out. */
  match?: 'all' | 'any' | undefined;
  permission?: PermissionKey | undefined;
  /** Where; the tenant as a whole if left out. A path, innermost first, also finds what is held above. */
  context?: ContextRef | readonly ContextRef[] | undefined;
  /** A limit that must have room. */
  limit?: FeatureKey | undefined;
  /** How much room; 1 if left out. */
  requested?: number | undefined;
}

/** What kind of thing was decisive. */
export type Kind = 'module' | 'feature' | 'permission' | 'limit';

/** An answer in one of three states. */
export interface Access {
  status: 'loading' | 'allowed' | 'denied';
  allowed: boolean;
  loading: boolean;
  denied: boolean;
  /** Why: the server's reason; `unavailable`, `unknown_key` or `expired` where it gave none. Null while loading. */
  reason: string | null;
  /** What was decisive. */
  kind: Kind | null;
  key: string | null;
  /** What would help. */
  remedies: Remedy[];
  /** When what decided ends. */
  expiresAt: string | null;
  /** The answer is the last one that is known; the server can't be asked now. */
  stale: boolean;
}

/** What is known at an instant. */
export interface View {
  payload: Entitlements | null;
  /** Nothing is known yet, and nothing has failed. */
  loading: boolean;
  stale: boolean;
  /** The instant to judge by, in milliseconds. */
  asOf: number;
}

/** Judges one need. */
export function judge(view: View, need: Need): Access {
  const { payload } = view;
  if (payload === null) return view.loading ? access('loading') : denied('unavailable', ...first(need));
  const stale = view.stale;
  const answers = steps(payload, need, view.asOf).map((it) => ({ ...it, stale }));
  const refused = answers.find((it) => !it.allowed);
  // Nothing that was asked for is nothing that was allowed.
  return refused ?? answers.at(-1) ?? { ...denied('unavailable', null, null), stale };
}

/** What is judged first: what a refusal is about where nothing is known. */
function first({ module, feature, features = [], permission, limit }: Need): [Kind | null, string | null] {
  const named = feature ?? features[0];
  if (module !== undefined) return ['module', module];
  if (named !== undefined) return ['feature', named];
  if (permission !== undefined) return ['permission', permission];
  return limit === undefined ? [null, null] : ['limit', limit];
}

function steps(payload: Entitlements, need: Need, asOf: number): Access[] {
  const found: Access[] = [];
  if (need.module !== undefined) found.push(moduleAccess(payload, need.module, asOf));
  const features = [...(need.feature === undefined ? [] : [need.feature]), ...(need.features ?? [])];
  if (features.length > 0) {
    const each = features.map((key) => featureAccess(payload, key, asOf));
    const open = need.match === 'any' ? each.find((it) => it.allowed) : undefined;
    found.push(...(open === undefined ? each : [open]));
  }
  if (need.permission !== undefined) found.push(permissionAccess(payload, need));
  if (need.limit !== undefined) found.push(limitAccess(payload, need.limit, need.requested ?? 1));
  return found;
}

function moduleAccess(payload: Entitlements, key: string, asOf: number): Access {
  return entry('module', key, own(payload.module_access, key), asOf);
}

function featureAccess(payload: Entitlements, key: string, asOf: number): Access {
  const limit = own(payload.limits, key);
  // A limit that is asked for as a feature counts as one that is above 0.
  return entry('feature', key, own(payload.features, key) ?? limit, asOf);
}

function entry(kind: Kind, key: string, value: unknown, asOf: number): Access {
  if (value === undefined) return denied('unknown_key', kind, key);
  if (!isObject(value)) return denied('unavailable', kind, key);
  const reason = typeof value.reason === 'string' ? value.reason : 'unavailable';
  const expiresAt = typeof value.expires_at === 'string' ? value.expires_at : null;
  const plans = Array.isArray(value.upgrade_plans) ? value.upgrade_plans.filter((it) => typeof it === 'string') : [];
  if (value.enabled !== true) return { ...denied(reason, kind, key, remedies(reason, plans)), expiresAt };
  // An end that can't be read counts as passed.
  if (expiresAt !== null && !(Date.parse(expiresAt) > asOf)) {
    return { ...denied(reason === 'trial' ? 'trial_expired' : 'expired', kind, key), expiresAt };
  }
  return { ...access('allowed'), reason, kind, key, expiresAt };
}

function permissionAccess(payload: Entitlements, need: Need): Access {
  const key = need.permission ?? '';
  // A blocked tenant's people may do nothing but what a module allows that stays open.
  const blocked = payload.blocked && (payload.enforced || payload.status === 'suspended');
  if (blocked && (need.module === undefined || payload.status === 'suspended')) {
    const reason = payload.blocked_reason ?? 'unavailable';
    return denied(reason, 'permission', key, remedies(reason, []));
  }
  const path = need.context === undefined ? [] : [need.context].flat();
  const held = payload.permissions.some((it) => {
    if (!isObject(it) || it.name !== key) return false;
    const { context } = it;
    return context === null || path.some(({ type, id }) => type === context?.type && id === context.id);
  });
  if (!held) return denied('permission_denied', 'permission', key);
  return { ...access('allowed'), reason: 'role', kind: 'permission', key };
}

function limitAccess(payload: Entitlements, key: string, requested: number): Access {
  const value = own(payload.limits, key);
  if (value === undefined) return denied('unknown_key', 'limit', key);
  const { enabled, reason, unlimited, remaining } = value;
  if (enabled !== true) return denied(reason, 'limit', key, remedies(reason, []));
  const room = unlimited === true || (typeof remaining === 'number' && remaining >= requested);
  if (!room) return denied('limit_reached', 'limit', key, remedies('limit_reached', []));
  return { ...access('allowed'), reason, kind: 'limit', key };
}

/** What a payload says of remedies: plans, and else what the reason itself calls for. */
function remedies(reason: string, plans: readonly string[]): Remedy[] {
  if (plans.length > 0) return [{ kind: 'upgrade_plan', plans: [...plans] }];
  switch (reason) {
    case 'overdue':
      return [{ kind: 'settle_invoice' }];
    case 'seat_required':
      return [{ kind: 'assign_seat' }];
    case 'feature_disabled':
    case 'permission_denied':
      return [];
    default:
      return [{ kind: 'contact_admin' }];
  }
}

/** A member of its own; never one that every object has, such as `constructor`. */
export function own<T>(map: Record<string, T>, key: string): T | undefined {
  return Object.hasOwn(map, key) ? map[key] : undefined;
}

function access(status: Access['status']): Access {
  return {
    status,
    allowed: status === 'allowed',
    loading: status === 'loading',
    denied: status === 'denied',
    reason: null,
    kind: null,
    key: null,
    remedies: [],
    expiresAt: null,
    stale: false,
  };
}

function denied(reason: string, kind: Kind | null, key: string | null, helping: Remedy[] = []): Access {
  return { ...access('denied'), reason, kind, key, remedies: helping };
}
