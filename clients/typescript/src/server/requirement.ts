/** What a route needs, and how to read it off the route again. */
import type { Check } from '../generated/types.gen.js';
import type { FeatureKey, ModuleKey, PermissionKey } from '../keys/names.js';

/** What a route needs; all that is named. */
export interface Requirement {
  module?: ModuleKey;
  features?: readonly FeatureKey[];
  /** Whether all or any of the features; `all` if left out. */
  match?: 'all' | 'any';
  permission?: PermissionKey;
  /** A guard of the catalog. */
  guard?: string;
}

/** Who asks, read off a request. */
export interface Asker {
  tenant?: string;
  user?: string;
  mode?: NonNullable<Check['mode']>;
  /** Where a permission is needed. */
  context?: { type: string; id: string };
  /** What the guard's conditions look at. */
  resource?: Record<string, unknown>;
}

/** What a route says of itself: what it needs, or that everyone may use it. */
export type Declared = Requirement | 'public';

const DECLARED = Symbol.for('entitled.requirement');

/** Writes on a function what it needs. */
export function declare<F extends object>(handler: F, declared: Declared): F {
  return Object.assign(handler, { [DECLARED]: declared });
}

/** Reads what a guard, or a guarded handler, needs; null where it says nothing. */
export function requirementOf(handler: unknown): Declared | null {
  const may = typeof handler === 'function' || (typeof handler === 'object' && handler !== null);
  return may ? ((handler as { [DECLARED]?: Declared })[DECLARED] ?? null) : null;
}

/** A route of an application, with what it needs. */
export interface ListedRoute {
  method: string;
  path: string;
  /** Null where nothing was said: a route that was forgotten. */
  declared: Declared | null;
}

/** The routes that say nothing of what they need. An application's test holds this to be empty. */
export function forgotten(routes: readonly ListedRoute[]): string[] {
  return routes.filter((it) => it.declared === null).map((it) => `${it.method} ${it.path}`);
}

/** Refuses a requirement that needs nothing: it would be a route that looks guarded and is not. */
export function meaningful(requirement: Requirement): Requirement {
  const { module, features = [], permission, guard } = requirement;
  if (module === undefined && permission === undefined && guard === undefined && features.length === 0) {
    throw new TypeError('A requirement names a module, features, a permission or a guard.');
  }
  return requirement;
}
