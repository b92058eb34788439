/**
 * Whether an answer has what is decided by. Only that is looked at: a newer server may send more,
 * and a reason or a kind that is not known here is still a string to show.
 */
import type { Decision, Entitlements } from '../generated/types.gen.js';

/** Whether `value` is an object with members. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Whether `value` has what every decision has. */
export function isDecision(value: unknown): value is Decision {
  return (
    isObject(value) &&
    typeof value.allowed === 'boolean' &&
    typeof value.reason === 'string' &&
    typeof value.version === 'number' &&
    Array.isArray(value.remedies)
  );
}

/** Whether `value` has what every entitlements payload has. */
export function isEntitlements(value: unknown): value is Entitlements {
  return (
    isObject(value) &&
    typeof value.version === 'number' &&
    typeof value.blocked === 'boolean' &&
    isObject(value.module_access) &&
    isObject(value.features) &&
    isObject(value.limits) &&
    Array.isArray(value.permissions) &&
    isInstantOrNull(value.valid_until)
  );
}

function isInstantOrNull(value: unknown): boolean {
  // One that can't be read would never pass, and what it ends would stay open.
  return value === null || (typeof value === 'string' && !Number.isNaN(Date.parse(value)));
}
