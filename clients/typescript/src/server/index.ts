/** `@entitled/client/server`: what the guards for each framework stand on. */
export { createGatekeeper } from './gatekeeper.js';
export type { Gatekeeper, GatekeeperOptions, OutagePolicy, Verdict } from './gatekeeper.js';
export { forgotten, requirementOf } from './requirement.js';
export type { Asker, Declared, ListedRoute, Requirement } from './requirement.js';
export { FALLBACK_HEADER } from './answer.js';
