/** Guards for Express 4 and 5, and for Connect. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { FALLBACK_HEADER, anonymous, refusalOf } from './answer.js';
import type { Refusal } from './answer.js';
import type { Gatekeeper, Verdict } from './gatekeeper.js';
import { declare, forgotten, meaningful, requirementOf } from './requirement.js';
import type { Asker, Declared, ListedRoute, Requirement } from './requirement.js';

/** A middleware. */
export type Middleware<Req> = (request: Req, response: ServerResponse, next: (error?: unknown) => void) => void;

/** What guards are made of. */
export interface GuardOptions<Req> {
  gatekeeper: Gatekeeper;
  /** Who asks, from the session or token of the request; null for nobody, who gets 401. */
  asker: (request: Req) => Asker | null | Promise<Asker | null>;
}

/** A request that passed a guard. */
export interface Guarded {
  /** The decision that let it pass. */
  entitlement?: Verdict;
}

/**
 * Makes the guards of an application.
 *
 * ```ts
 * const { requireEntitlement, openToAll } = guards({ gatekeeper, asker: (request) => request.session });
 * app.get('/reports', requireEntitlement({ features: ['advanced_reports'] }), handler);
 * ```
 */
export function guards<Req extends IncomingMessage = IncomingMessage>(options: GuardOptions<Req>) {
  const { gatekeeper, asker } = options;
  return {
    /** Lets a request pass that may do what the route needs. */
    requireEntitlement(requirement: Requirement): Middleware<Req> {
      meaningful(requirement);
      const middleware: Middleware<Req> = (request, response, next) => {
        const decide = async () => {
          const who = await asker(request);
          if (who === null) return send(response, anonymous());
          const verdict = await gatekeeper.decide(who, requirement);
          if (!verdict.allowed) return send(response, refusalOf(verdict));
          (request as Guarded).entitlement = verdict;
          if (verdict.fallback !== null) response.setHeader(FALLBACK_HEADER, verdict.fallback);
          return true;
        };
        // What the handler behind throws is not ours to catch.
        decide().then((passed) => passed && next(), next);
      };
      return declare(middleware, requirement);
    },
    /** Says that a route needs nothing, so that it doesn't count as forgotten. */
    openToAll(): Middleware<Req> {
      return declare(((_request, _response, next) => next()) as Middleware<Req>, 'public');
    },
  };
}

function send(response: ServerResponse, { status, headers, body }: Refusal): false {
  response.writeHead(status, headers).end(body);
  return false;
}

interface Layer {
  handle?: unknown;
  route?: { path?: unknown; methods?: Record<string, boolean>; stack?: Layer[] };
  /** Mounted at `/`: in Express 5, and in Express 4. */
  slash?: boolean;
  regexp?: { fast_slash?: boolean };
}

/**
 * The routes of an Express application with what they need. What a router was mounted under can't
 * be read from Express, so its routes begin with `*`; a guard that covers a whole router is found
 * where the router itself uses it.
 */
export function listRoutes(app: unknown): ListedRoute[] {
  return walk(stackOf(app), '', null);
}

/** The routes that say nothing of what they need. */
export function routesWithoutRequirement(app: unknown): string[] {
  return forgotten(listRoutes(app));
}

function walk(stack: readonly Layer[], prefix: string, above: Declared | null): ListedRoute[] {
  let covering = above;
  const found: ListedRoute[] = [];
  for (const layer of stack) {
    const whole = layer.slash === true || layer.regexp?.fast_slash === true;
    if (layer.route !== undefined) {
      const { path, methods = {}, stack: handlers = [] } = layer.route;
      const declared = handlers.map((it) => requirementOf(it.handle)).find((it) => it !== null) ?? covering;
      for (const method of Object.keys(methods)) {
        found.push({ method: method.replace('_', '').toUpperCase(), path: `${prefix}${String(path)}`, declared });
      }
    } else if (stackOf(layer.handle).length > 0) {
      found.push(...walk(stackOf(layer.handle), whole ? prefix : `${prefix}/*`, covering));
    } else if (whole) {
      // It stands before what follows, and not before what came earlier.
      covering = requirementOf(layer.handle) ?? covering;
    }
  }
  return found;
}

function stackOf(app: unknown): readonly Layer[] {
  const it = app as { stack?: unknown; router?: { stack?: unknown }; _router?: { stack?: unknown } } | undefined;
  // Express 4 has a getter of this name that throws.
  const stack = it?._router?.stack ?? it?.stack ?? routerOf(it)?.stack;
  return Array.isArray(stack) ? (stack as Layer[]) : [];
}

function routerOf(app: { router?: { stack?: unknown } } | undefined): { stack?: unknown } | undefined {
  try {
    return app?.router;
  } catch {
    return undefined;
  }
}

export { requirementOf } from './requirement.js';
