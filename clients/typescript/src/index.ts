/**
 * `@entitled/client`: asks an entitled server what a tenant, or a user in it, may use.
 *
 * - `@entitled/client` has {@link createEntitled} and the errors,
 * - `@entitled/client/api` every operation of the server, generated from its document,
 * - `@entitled/client/react` the provider, hooks and gates,
 * - `@entitled/client/server` a gatekeeper with a short memory, and `/server/express`, `/fastify`,
 *   `/next` and `/hono` the guards,
 * - `@entitled/client/keys` the types of the names of a catalog.
 */
export { createEntitled } from './client/entitled.js';
export type {
  BatchResult,
  CallOptions,
  Entitled,
  EntitledOptions,
  Subject,
  TaggedEntitlements,
} from './client/entitled.js';
export { EntitledError, ProblemError, UnreachableError, UnreadableError, isOutage } from './client/errors.js';
export type { Change, FollowOptions, Heard } from './client/events.js';
export type { TransportOptions } from './client/transport.js';
export type {
  Check,
  Consumed,
  Consumption,
  Decision,
  Entitlements,
  FeatureAccess,
  LimitAccess,
  ModuleAccess,
  Problem,
  Remedy,
  Source,
} from './generated/types.gen.js';
