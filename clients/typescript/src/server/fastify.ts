/** Guards for Fastify: hooks for `preHandler`. */
import { FALLBACK_HEADER, anonymous, refusalOf } from './answer.js';
import type { Refusal } from './answer.js';
import type { Gatekeeper, Verdict } from './gatekeeper.js';
import { declare, forgotten, meaningful, requirementOf } from './requirement.js';
import type { Asker, Declared, ListedRoute, Requirement } from './requirement.js';

/** As much of a Fastify reply as is used. */
export interface ReplyLike {
  /** Sets the status. */
  code(status: number): ReplyLike;
  /** Sets a header. */
  header(name: string, value: string): ReplyLike;
  /** Sends the answer. */
  send(body: string): ReplyLike;
}

/** A hook for `preHandler`. */
export type Hook<Req> = (request: Req, reply: ReplyLike) => Promise<unknown>;

/** What guards are made of. */
export interface GuardOptions<Req> {
  gatekeeper: Gatekeeper;
  /** Who asks, from the session or token of the request; null for nobody, who gets 401. */
  asker: (request: Req) => Asker | null | Promise<Asker | null>;
}

/**
 * Makes the guards of an application.
 *
 * ```ts
 * const { requireEntitlement } = guards({ gatekeeper, asker: (request: FastifyRequest) => request.session });
 * app.get('/reports', { preHandler: requireEntitlement({ features: ['advanced_reports'] }) }, handler);
 * ```
 */
export function guards<Req extends object>({ gatekeeper, asker }: GuardOptions<Req>) {
  return {
    /** Lets a request pass that may do what the route needs. */
    requireEntitlement(requirement: Requirement): Hook<Req> {
      meaningful(requirement);
      const hook: Hook<Req> = async (request, reply) => {
        const who = await asker(request);
        if (who === null) return send(reply, anonymous());
        const verdict = await gatekeeper.decide(who, requirement);
        if (!verdict.allowed) return send(reply, refusalOf(verdict));
        (request as { entitlement?: Verdict }).entitlement = verdict;
        if (verdict.fallback !== null) reply.header(FALLBACK_HEADER, verdict.fallback);
        return undefined;
      };
      return declare(hook, requirement);
    },
    /** Says that a route needs nothing, so that it doesn't count as forgotten. */
    openToAll(): Hook<Req> {
      return declare((() => Promise.resolve(undefined)) as Hook<Req>, 'public');
    },
  };
}

function send(reply: ReplyLike, { status, headers, body }: Refusal): ReplyLike {
  for (const [name, value] of Object.entries(headers)) reply.header(name, value);
  return reply.code(status).send(body);
}

interface RouteLike {
  method: string | string[];
  url: string;
  preHandler?: unknown;
  onRequest?: unknown;
  preValidation?: unknown;
}

/** As much of a Fastify application as is used. */
export interface AppLike {
  /** Adds a hook. */
  addHook(name: 'onRoute', hook: (route: RouteLike) => void): unknown;
}

/** What was noted so far. */
export interface WatchedRoutes {
  /** The routes with what they need. */
  list: () => ListedRoute[];
  /** The routes that say nothing of what they need. */
  withoutRequirement: () => string[];
}

/** Notes an application's routes; call it before they are added. */
export function watchRoutes(app: AppLike): WatchedRoutes {
  const routes: ListedRoute[] = [];
  app.addHook('onRoute', ({ method, url, preHandler, onRequest, preValidation }) => {
    const hooks = [onRequest, preValidation, preHandler].flat();
    const declared = hooks.map(requirementOf).find((it): it is Declared => it !== null) ?? null;
    for (const each of [method].flat()) {
      // Fastify adds these itself beside a GET, with the same hooks.
      if (each !== 'HEAD') routes.push({ method: each, path: url, declared });
    }
  });
  return { list: () => [...routes], withoutRequirement: () => forgotten(routes) };
}

export { requirementOf } from './requirement.js';
