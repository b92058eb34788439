/** Guards for the route handlers of Next (`app/…/route.ts`), and whatever else takes a `Request`. */
import { FALLBACK_HEADER, anonymous, refusalOf } from './answer.js';
import type { Refusal } from './answer.js';
import type { Gatekeeper, Verdict } from './gatekeeper.js';
import { declare, forgotten, meaningful, requirementOf } from './requirement.js';
import type { Asker, ListedRoute, Requirement } from './requirement.js';

/** A route handler; a guarded one gets the decision as its third argument. */
export type Handler<Req extends Request, Ctx, Rest extends unknown[] = []> = (
  request: Req,
  context: Ctx,
  ...rest: Rest
) => Response | Promise<Response>;

/** What guards are made of. */
export interface GuardOptions<Req extends Request> {
  gatekeeper: Gatekeeper;
  /** Who asks, from the session or token of the request; null for nobody, who gets 401. */
  asker: (request: Req) => Asker | null | Promise<Asker | null>;
}

/**
 * Makes the guards of an application.
 *
 * ```ts
 * export const GET = requireEntitlement({ features: ['advanced_reports'] }, async () => Response.json(reports));
 * ```
 */
export function guards<Req extends Request = Request>({ gatekeeper, asker }: GuardOptions<Req>) {
  return {
    /** A handler that runs where the request may do what the route needs. */
    requireEntitlement<Ctx = unknown>(
      requirement: Requirement,
      handler: Handler<Req, Ctx, [verdict: Verdict]>,
    ): Handler<Req, Ctx> {
      meaningful(requirement);
      const guarded: Handler<Req, Ctx> = async (request, context) => {
        const who = await asker(request);
        if (who === null) return respond(anonymous());
        const verdict = await gatekeeper.decide(who, requirement);
        if (!verdict.allowed) return respond(refusalOf(verdict));
        const response = await handler(request, context, verdict);
        return verdict.fallback === null ? response : marked(response, verdict.fallback);
      };
      return declare(guarded, requirement);
    },
    /** Says that a handler needs nothing, so that it doesn't count as forgotten. */
    openToAll<Ctx = unknown>(handler: Handler<Req, Ctx>): Handler<Req, Ctx> {
      const open: Handler<Req, Ctx> = (request, context) => handler(request, context);
      return declare(open, 'public');
    },
  };
}

function respond({ status, headers, body }: Refusal): Response {
  return new Response(body, { status, headers });
}

function marked(response: Response, fallback: string): Response {
  // The headers of some responses can't be changed.
  const headers = new Headers(response.headers);
  headers.set(FALLBACK_HEADER, fallback);
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];

/** The handlers of route files with what they need, by path: `{ '/api/reports': await import('./route') }`. */
export function listRoutes(files: Readonly<Record<string, object>>): ListedRoute[] {
  return Object.entries(files).flatMap(([path, file]) =>
    METHODS.filter((method) => method in file).map((method) => {
      const declared = requirementOf((file as Record<string, unknown>)[method]);
      return { method, path, declared };
    }),
  );
}

/** The handlers that say nothing of what they need. */
export function routesWithoutRequirement(files: Readonly<Record<string, object>>): string[] {
  return forgotten(listRoutes(files));
}

export { requirementOf } from './requirement.js';
