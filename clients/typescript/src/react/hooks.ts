/** What components ask. An answer that stays equal stays the same object, and renders nothing anew. */
import { useMemo, useSyncExternalStore } from 'react';
import type { Entitlements, PlanStanding } from '../generated/types.gen.js';
import type { FeatureKey, ModuleKey, PermissionKey } from '../keys/names.js';
import { judge, own } from './access.js';
import type { Access, ContextRef, Need } from './access.js';
import { useProvided } from './provider.js';
import type { Snapshot } from './store.js';
import type { Failure } from './source.js';

function useSelected<T>(name: string, compute: (snapshot: Snapshot) => T): T {
  const { store } = useProvided();
  return useSyncExternalStore(
    store.subscribe,
    () => store.select(name, store.getSnapshot(), compute),
    () => store.select(`server:${name}`, store.getServerSnapshot(), compute),
  );
}

/** Judges any need: the module first, then features, the permission, the limit. */
export function useAccess(need: Need): Access {
  return useSelected(`access:${JSON.stringify(need)}`, (snapshot) => judge(snapshot, need));
}

/** Whether a module may be used. */
export function useModule(module: ModuleKey): Access {
  return useAccess({ module });
}

/** An answer about a feature. */
export interface FeatureAnswer extends Access {
  /** The value of a config feature; null where it is not allowed. */
  value: unknown;
}

/** Whether a feature may be used, and the value of one that has a value. */
export function useFeature(feature: FeatureKey): FeatureAnswer {
  return useSelected(`feature:${feature}`, (snapshot) => {
    const access = judge(snapshot, { feature });
    const entry = snapshot.payload === null ? undefined : own(snapshot.payload.features, feature);
    return { ...access, value: access.allowed ? (entry?.value ?? null) : null };
  });
}

/**
 * Whether the user has a permission: in the tenant as a whole, or in `context`. What a role gives
 * on a context holds below it; to find that, give the path, innermost first.
 */
export function usePermission(permission: PermissionKey, context?: ContextRef | readonly ContextRef[]): Access {
  return useAccess({ permission, context });
}

/** An answer about a limit. */
export interface LimitAnswer extends Access {
  /** Null where unlimited, or not known. */
  limit: number | null;
  unlimited: boolean;
  used: number;
  remaining: number | null;
  resetsAt: string | null;
}

/** How much of a limit is used; allowed where there is room for `requested`, 1 if left out. */
export function useLimit(limit: FeatureKey, requested = 1): LimitAnswer {
  return useSelected(`limit:${requested}:${limit}`, (snapshot) => {
    const entry = snapshot.payload === null ? undefined : own(snapshot.payload.limits, limit);
    return {
      ...judge(snapshot, { limit, requested }),
      limit: entry?.limit ?? null,
      unlimited: entry?.unlimited === true,
      used: entry?.used ?? 0,
      remaining: entry?.remaining ?? null,
      resetsAt: entry?.resets_at ?? null,
    };
  });
}

/** Everything at once. */
export interface EntitlementsView {
  /** `failed` means that nothing is known, and everything is denied. */
  status: 'loading' | 'ready' | 'failed';
  payload: Entitlements | null;
  plan: PlanStanding | null;
  blocked: boolean;
  blockedReason: string | null;
  /** These are the last answers; the server can't be asked now. */
  stale: boolean;
  /** What went wrong last; null once an answer came. */
  failure: Failure | null;
  /** Judges any need. */
  can: (need: Need) => Access;
  /** Asks again now. */
  refresh: () => Promise<void>;
}

/** Everything at once, for components that look at several things. */
export function useEntitlements(): EntitlementsView {
  const { store } = useProvided();
  const snapshot = useSyncExternalStore(store.subscribe, store.getSnapshot, store.getServerSnapshot);
  return useMemo(() => {
    const { payload, loading, stale, failure } = snapshot;
    return {
      status: loading ? 'loading' : payload === null ? 'failed' : 'ready',
      payload,
      plan: payload?.plan ?? null,
      blocked: payload?.blocked ?? false,
      blockedReason: payload?.blocked_reason ?? null,
      stale,
      failure,
      can: (need: Need) => judge(snapshot, need),
      refresh: () => store.refresh(),
    };
  }, [snapshot, store]);
}
