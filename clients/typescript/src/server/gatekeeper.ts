/**
 * Asks the server for what a route needs, with a short memory and a rule for outages.
 *
 * Invariants: an error of the question (an unknown key, a wrong credential) is thrown, never an
 * answer; in an outage nothing is allowed but by the rule that was set for each key it needs.
 */
import { isOutage } from '../client/errors.js';
import type { Entitled } from '../client/entitled.js';
import type { Check, Decision } from '../generated/types.gen.js';
import { DecisionCache } from './cache.js';
import type { Asker, Requirement } from './requirement.js';

/** What holds in an outage: refuse, allow, or the last decision until its end. */
export type OutagePolicy = 'deny' | 'last_known' | 'allow';

/** What may be said of a gatekeeper. */
export interface GatekeeperOptions {
  entitled: Entitled;
  outage?: {
    /** For every key that isn't named; `deny` if left out. */
    default?: OutagePolicy;
    /** For modules, features, permissions and guards by name. A route that needs several has the strictest. */
    keys?: Readonly<Record<string, OutagePolicy>>;
  };
  /** For how long a decision is used again, in milliseconds; 2,000 if left out, 0 for never. */
  cacheMs?: number;
  /** How many decisions are remembered; 10,000 if left out. */
  cacheSize?: number;
  /** For how long `last_known` goes back; an hour if left out. */
  lastKnownMs?: number;
  /** Called with each error that a fallback stood in for, to log or count it. */
  onOutage?: (error: unknown, policy: OutagePolicy) => void;
  /** The time; for tests. */
  clock?: () => number;
}

/** A decision, and whether an outage made it. */
export interface Verdict extends Decision {
  /** The rule that decided because the server could not be asked; null where it was asked. */
  fallback: OutagePolicy | null;
}

/** See the head of this file. */
export interface Gatekeeper {
  /** Decides. */
  decide(asker: Asker, requirement: Requirement): Promise<Verdict>;
  /**
   * Listens to the server's events, so that what changed is asked for again at once. Returns how to
   * end it.
   */
  listen(): () => void;
  /** Forgets every decision. */
  clear(): void;
}

/** Makes one; an application has one. */
export function createGatekeeper(options: GatekeeperOptions): Gatekeeper {
  const { entitled, cacheMs = 2000, cacheSize = 10_000, lastKnownMs = 3_600_000, clock = Date.now } = options;
  const cache = new DecisionCache({ freshMs: cacheMs, keepMs: Math.max(cacheMs, lastKnownMs), size: cacheSize });
  const asking = new Map<string, Promise<Decision>>();

  async function ask(question: Check, key: string, owner: string): Promise<Decision> {
    const { epoch } = cache;
    const decision = await entitled.check(question);
    if (keepable(question, decision)) cache.put(key, owner, decision, clock(), epoch);
    else cache.seen(owner, decision.version);
    return decision;
  }

  /** Who asks the same at the same time gets the same answer, where answers may be used again at all. */
  function shared(question: Check, key: string, owner: string): Promise<Decision> {
    const running = cacheMs > 0 && question.mode !== 'platform' ? asking.get(key) : undefined;
    if (running !== undefined) return running;
    const mine = ask(question, key, owner).finally(() => {
      if (asking.get(key) === mine) asking.delete(key);
    });
    asking.set(key, mine);
    return mine;
  }

  function forget(): void {
    cache.clear();
    asking.clear();
  }

  return {
    async decide(asker, requirement) {
      const question = questionOf(asker, requirement);
      const key = JSON.stringify(question);
      const owner = ownerOf(asker);
      const known = cache.fresh(key, clock());
      if (known !== null) return { ...known, fallback: null };
      try {
        return { ...(await shared(question, key, owner)), fallback: null };
      } catch (error) {
        if (!isOutage(error)) throw error;
        const policy = strictest(requirement, options.outage);
        const verdict = withoutServer(policy, policy === 'last_known' ? cache.lastKnown(key, clock()) : null);
        options.onOutage?.(error, verdict.fallback ?? policy);
        return verdict;
      }
    },
    listen() {
      const stop = new AbortController();
      void entitled.follow({
        signal: stop.signal,
        onHeard: (heard) => {
          if (heard.kind === 'resync' || heard.kind === 'hello') return forget();
          if (heard.kind !== 'change') return;
          const { tenant, version, global, cause } = heard.change;
          // A boundary of time is no new version.
          if (cause === 'time' || (tenant === null && !global)) return forget();
          asking.clear();
          if (tenant === null) cache.seenByAll(version);
          else cache.seen(`tenant:${tenant}`, version);
        },
      });
      return () => stop.abort();
    },
    clear: forget,
  };
}

function questionOf(asker: Asker, { module, features, match, permission, guard }: Requirement): Check {
  const { tenant, user, mode, context, resource } = asker;
  return {
    ...(tenant !== undefined && { tenant }),
    ...(user !== undefined && { user }),
    ...(mode !== undefined && { mode }),
    ...(module !== undefined && { module }),
    ...(features !== undefined && features.length > 0 && { features: [...features] }),
    ...(match !== undefined && { match }),
    ...(permission !== undefined && { permission }),
    ...(context !== undefined && (permission !== undefined || guard !== undefined) && { context }),
    ...(guard !== undefined && { guard }),
    ...(resource !== undefined && guard !== undefined && { resource }),
  };
}

/** Whose version a decision carries. */
function ownerOf({ tenant, user }: Asker): string {
  return tenant === undefined ? `user:${user ?? ''}` : `tenant:${tenant}`;
}

/**
 * Usage doesn't raise the version, so what depends on it is not kept; nor what looks at a resource,
 * nor a bypass, each of which is written into the audit trail.
 */
function keepable(question: Check, decision: Decision): boolean {
  if (question.resource !== undefined || question.mode === 'platform') return false;
  return question.guard === undefined && decision.limit === null;
}

const ORDER: readonly OutagePolicy[] = ['deny', 'last_known', 'allow'];

function strictest(requirement: Requirement, outage: GatekeeperOptions['outage'] = {}): OutagePolicy {
  const { module, features = [], permission, guard } = requirement;
  const names = [module, ...features, permission, guard].filter((it) => it !== undefined);
  const { default: usual = 'deny', keys = {} } = outage;
  const policies = names.map((name) => (Object.hasOwn(keys, name) ? (keys[name] ?? usual) : usual));
  return ORDER.find((it) => policies.includes(it)) ?? 'deny';
}

function withoutServer(policy: OutagePolicy, known: Decision | null): Verdict {
  if (policy === 'last_known' && known !== null) return { ...known, fallback: 'last_known' };
  const allowed = policy === 'allow';
  return {
    allowed,
    reason: 'unavailable',
    code: allowed ? null : 'UNAVAILABLE',
    status: allowed ? 200 : 503,
    message: allowed ? 'Allowed without a check.' : 'It could not be checked whether this is allowed. Try again shortly.',
    fields: {},
    enforced: true,
    would_allow: false,
    source: { kind: 'none' },
    remedies: [],
    limit: null,
    data: null,
    valid_until: null,
    version: 0,
    fallback: allowed ? 'allow' : 'deny',
  };
}
