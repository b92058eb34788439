/** Guards for Hono. */
import { FALLBACK_HEADER, anonymous, refusalOf } from './answer.js';
import type { Refusal } from './answer.js';
import type { Gatekeeper } from './gatekeeper.js';
import { declare, forgotten, meaningful, requirementOf } from './requirement.js';
import type { Asker, Declared, ListedRoute, Requirement } from './requirement.js';

/** As much of a Hono context as is used. */
export interface ContextLike {
  /** Sets a header of the answer. */
  header(name: string, value: string): void;
}

/** A middleware. */
export type Middleware<C> = (context: C, next: () => Promise<void>) => Promise<Response | void>;

/** What guards are made of. */
export interface GuardOptions<C> {
  gatekeeper: Gatekeeper;
  /** Who asks, from the session or token of the request; null for nobody, who gets 401. */
  asker: (context: C) => Asker | null | Promise<Asker | null>;
}

/**
 * Makes the guards of an application. The decision is `context.get('entitlement')` behind one.
 *
 * ```ts
 * const { requireEntitlement } = guards({ gatekeeper, asker: (context: Context) => context.get('session') });
 * app.get('/reports', requireEntitlement({ features: ['advanced_reports'] }), handler);
 * ```
 */
export function guards<C extends ContextLike>({ gatekeeper, asker }: GuardOptions<C>) {
  return {
    /** Lets a request pass that may do what the route needs. */
    requireEntitlement(requirement: Requirement): Middleware<C> {
      meaningful(requirement);
      const middleware: Middleware<C> = async (context, next) => {
        const who = await asker(context);
        if (who === null) return respond(anonymous());
        const verdict = await gatekeeper.decide(who, requirement);
        if (!verdict.allowed) return respond(refusalOf(verdict));
        (context as unknown as { set(name: string, value: unknown): void }).set('entitlement', verdict);
        if (verdict.fallback !== null) context.header(FALLBACK_HEADER, verdict.fallback);
        return next();
      };
      return declare(middleware, requirement);
    },
    /** Says that a route needs nothing, so that it doesn't count as forgotten. */
    openToAll(): Middleware<C> {
      return declare(((_context, next) => next()) as Middleware<C>, 'public');
    },
  };
}

function respond({ status, headers, body }: Refusal): Response {
  return new Response(body, { status, headers });
}

/** As much of a Hono application as is used. */
export interface AppLike {
  routes: readonly { method: string; path: string; handler: unknown }[];
}

/** The routes of an application with what they need. A guard that `use` put before them counts. */
export function listRoutes(app: AppLike): ListedRoute[] {
  const covering: { under: string; declared: Declared }[] = [];
  const found = new Map<string, ListedRoute>();
  for (const { method, path, handler } of app.routes) {
    const declared = requirementOf(handler);
    if (method === 'ALL' && path.endsWith('*')) {
      if (declared !== null) covering.push({ under: path.slice(0, -1), declared });
      continue;
    }
    const name = `${method} ${path}`;
    const before = found.get(name)?.declared ?? covering.find(({ under }) => `${path}/`.startsWith(under))?.declared;
    found.set(name, { method, path, declared: before ?? declared });
  }
  return [...found.values()];
}

/** The routes that say nothing of what they need. */
export function routesWithoutRequirement(app: AppLike): string[] {
  return forgotten(listRoutes(app));
}

export { requirementOf } from './requirement.js';
