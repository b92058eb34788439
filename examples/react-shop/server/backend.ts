/**
 * The shop's own backend. It holds the key of entitled, knows who is signed in, and asks for itself
 * before it does anything: what the page hides is a courtesy, this is the protection.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { ProblemError, createEntitled } from '@entitled/client';
import { assignRole } from '@entitled/client/api';
import { createGatekeeper } from '@entitled/client/server';
import { guards } from '@entitled/client/server/express';
import type { Middleware } from '@entitled/client/server/express';
import { passOn } from './pass-on.ts';
import { sessionOf, signIn } from './session.ts';
import type { Session } from './session.ts';

type Next = (error?: unknown) => void;

export interface BackendOptions {
  /** Where entitled is. */
  url: string;
  /** A key with the role `service`. */
  key: string;
}

export function shopBackend({ url, key }: BackendOptions) {
  const entitled = createEntitled({ url, credential: key });
  const gatekeeper = createGatekeeper({ entitled, outage: { keys: { retail: 'last_known' } } });
  const { requireEntitlement } = guards({ gatekeeper, asker: sessionOf });

  /** `sam` administers every shop of the demo. */
  async function welcome({ tenant, user }: Session): Promise<void> {
    if (user !== 'sam') return;
    await assignRole({ client: entitled.client, path: { tenant }, body: { user, role: 'shop_admin' }, throwOnError: true });
  }

  const routes: Record<string, Middleware<IncomingMessage>[]> = {
    'GET /api/session': [
      async (request, response, next) => {
        const session = sessionOf(request);
        await welcome(session).then(() => json(response, 200, session), next);
      },
    ],
    'POST /api/session': [
      async (request, response, next) => {
        const session = (await bodyOf(request)) as Session;
        if (!signIn(response, session)) return json(response, 400, { detail: 'No such shop or user.' });
        await welcome(session).then(() => json(response, 200, session), next);
      },
    ],
    'GET /api/entitlements': [
      (request, response) => {
        const { tenant, user } = sessionOf(request);
        const path = `/api/v1/tenants/${encodeURIComponent(tenant)}/entitlements?user=${encodeURIComponent(user)}`;
        void passOn(request, response, url + path, key);
      },
    ],
    'GET /api/events': [
      (request, response) => {
        const { tenant } = sessionOf(request);
        void passOn(request, response, `${url}/api/v1/events?tenant=${encodeURIComponent(tenant)}`, key);
      },
    ],
    'POST /api/sales': [
      requireEntitlement({ module: 'retail' }),
      (_request, response) => json(response, 201, { sold: true }),
    ],
    'GET /api/reports': [
      requireEntitlement({ features: ['advanced_reports'] }),
      (_request, response) => json(response, 200, { revenue: 4200 }),
    ],
    'GET /api/staff': [
      requireEntitlement({ permission: 'users.manage' }),
      (_request, response) => json(response, 200, { staff: ['sam', 'kim'] }),
    ],
    'POST /api/branches': [
      async (request, response) => {
        const { tenant, user } = sessionOf(request);
        const { allowed, ...decision } = await entitled.consume({ tenant, user, feature: 'branches' });
        json(response, allowed ? 201 : decision.status, { allowed, ...decision });
      },
    ],
  };

  return (request: IncomingMessage, response: ServerResponse, next: Next): void => {
    const { pathname } = new URL(request.url ?? '/', 'http://shop');
    if (!pathname.startsWith('/api/')) return next();
    const handlers = routes[`${request.method} ${pathname}`];
    if (handlers === undefined) return json(response, 404, { detail: 'No such route.' });
    const failed = (error: unknown) => {
      const status = error instanceof ProblemError && error.status === 404 ? 404 : 502;
      json(response, status, { detail: error instanceof Error ? error.message : 'The shop has a problem.' });
    };
    void run(handlers, request, response).catch(failed);
  };
}

async function run(handlers: Middleware<IncomingMessage>[], request: IncomingMessage, response: ServerResponse): Promise<void> {
  for (const handler of handlers) {
    await new Promise<void>((resolve, reject) => {
      const next: Next = (error) => (error === undefined ? resolve() : reject(error));
      response.once('close', resolve);
      Promise.resolve(handler(request, response, next)).catch(reject);
    });
    if (response.writableEnded) return;
  }
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' }).end(JSON.stringify(body));
}

async function bodyOf(request: IncomingMessage): Promise<unknown> {
  let text = '';
  for await (const part of request) text += String(part);
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}
