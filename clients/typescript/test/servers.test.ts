import { createServer } from 'node:http';
import type { IncomingMessage, RequestListener } from 'node:http';
import express from 'express';
// @ts-expect-error: the older version under another name comes without types.
import express4 from 'express4';
import fastify from 'fastify';
import type { FastifyRequest } from 'fastify';
import { Hono } from 'hono';
import type { Context } from 'hono';
import { afterEach, describe, expect, test } from 'vitest';
import * as forExpress from '../src/server/express.js';
import * as forFastify from '../src/server/fastify.js';
import * as forHono from '../src/server/hono.js';
import * as forNext from '../src/server/next.js';
import { ProblemError } from '../src/index.js';
import type { Asker, Gatekeeper, Requirement, Verdict } from '../src/server/index.js';
import { close, decision, listen, problem, refusal } from './fake.js';

const ends: (() => unknown)[] = [];
afterEach(async () => {
  await Promise.all(ends.splice(0).map((end) => end()));
});

/** Decides by the module: what is called `open` is, `out` is so by a fallback, `wrong` throws. */
const asked: [Asker, Requirement][] = [];
const gatekeeper: Gatekeeper = {
  decide(asker, requirement) {
    asked.push([asker, requirement]);
    const { module, features = [] } = requirement;
    if (module === 'wrong') return Promise.reject(new ProblemError(422, problem(422, 'UNKNOWN_KEY')));
    const verdict: Verdict =
      features.length > 0
        ? { ...refusal({ status: 402, code: 'FEATURE_NOT_ENTITLED' }), fallback: null }
        : module === 'open'
          ? { ...decision(), fallback: null }
          : module === 'out'
            ? { ...decision(), fallback: 'last_known' }
            : { ...refusal(), fallback: null };
    return Promise.resolve(verdict);
  },
  listen: () => () => undefined,
  clear: () => undefined,
};

const tenantOf = (value: string | null | undefined): Asker | null => (value ? { tenant: value } : null);
const askerOfNode = (request: IncomingMessage) => tenantOf(request.headers['x-tenant'] as string | undefined);

async function serve(listener: RequestListener): Promise<(path: string, tenant?: string) => Promise<Response>> {
  const server = createServer(listener);
  ends.push(() => close(server));
  const url = await listen(server);
  return (path, tenant = 'acme') => fetch(url + path, { headers: tenant === '' ? {} : { 'x-tenant': tenant } });
}

type Get = (path: string, tenant?: string) => Promise<Response>;

async function expressApp(): Promise<Get> {
  const { requireEntitlement } = forExpress.guards({ gatekeeper, asker: askerOfNode });
  const app = express();
  const reply = (request: IncomingMessage & forExpress.Guarded, response: express.Response) => void response.json(request.entitlement?.reason);
  for (const module of ['open', 'shut', 'out', 'wrong']) app.get(`/${module}`, requireEntitlement({ module }), reply);
  app.get('/pay', requireEntitlement({ features: ['a', 'b'], match: 'any' }), reply);
  app.use(((_error, _request, response, _next) => void response.status(500).end()) as express.ErrorRequestHandler);
  return serve(app);
}

async function fastifyApp(): Promise<Get> {
  const asker = (request: FastifyRequest) => tenantOf(request.headers['x-tenant'] as string | undefined);
  const { requireEntitlement } = forFastify.guards({ gatekeeper, asker });
  const app = fastify();
  const reply = (request: FastifyRequest) => JSON.stringify((request as { entitlement?: Verdict }).entitlement?.reason);
  for (const module of ['open', 'shut', 'out', 'wrong']) app.get(`/${module}`, { preHandler: requireEntitlement({ module }) }, reply);
  app.get('/pay', { preHandler: requireEntitlement({ features: ['a', 'b'], match: 'any' }) }, reply);
  app.setErrorHandler((_error, _request, response) => response.code(500).send());
  ends.push(() => app.close());
  await app.ready();
  return serve((request, response) => void app.routing(request, response));
}

async function honoApp(): Promise<Get> {
  const { requireEntitlement } = forHono.guards({ gatekeeper, asker: (context: Context) => tenantOf(context.req.header('x-tenant')) });
  const app = new Hono<{ Variables: { entitlement: Verdict } }>();
  for (const module of ['open', 'shut', 'out', 'wrong']) app.get(`/${module}`, requireEntitlement({ module }), (it) => it.json(it.get('entitlement').reason));
  app.get('/pay', requireEntitlement({ features: ['a', 'b'], match: 'any' }), (it) => it.json(''));
  app.onError((_error, context) => context.body(null, 500));
  return async (path, tenant = 'acme') => app.request(path, { headers: tenant === '' ? {} : { 'x-tenant': tenant } });
}

async function nextApp(): Promise<Get> {
  const { requireEntitlement } = forNext.guards({ gatekeeper, asker: (request) => tenantOf(request.headers.get('x-tenant')) });
  const reply = (_request: Request, _context: unknown, verdict: Verdict) => Response.json(verdict.reason);
  const handlers: Record<string, forNext.Handler<Request, unknown>> = { '/pay': requireEntitlement({ features: ['a', 'b'], match: 'any' }, reply) };
  for (const module of ['open', 'shut', 'out', 'wrong']) handlers[`/${module}`] = requireEntitlement({ module }, reply);
  return async (path, tenant = 'acme') => {
    const request = new Request(`http://a${path}`, { headers: tenant === '' ? {} : { 'x-tenant': tenant } });
    // What a handler throws, Next answers with 500.
    return Promise.resolve(handlers[path]!(request, {})).catch(() => new Response(null, { status: 500 }));
  };
}

describe.each([
  ['Express', expressApp],
  ['Fastify', fastifyApp],
  ['Hono', honoApp],
  ['Next', nextApp],
])('%s', (_, start) => {
  test('lets pass what is allowed, with the decision', async () => {
    const get = await start();
    const response = await get('/open');
    expect([response.status, await response.json()]).toEqual([200, 'plan']);
    expect(response.headers.get('x-entitled-fallback')).toBeNull();
    expect(asked.at(-1)).toEqual([{ tenant: 'acme' }, { module: 'open' }]);
  });

  test('refuses with the status of the decision, as a problem', async () => {
    const get = await start();
    const response = await get('/shut');
    expect([response.status, response.headers.get('content-type')?.split(';')[0]]).toEqual([403, 'application/problem+json']);
    expect(await response.json()).toMatchObject({ code: 'MODULE_NOT_ENTITLED', reason: 'plan_limit', status: 403, fallback: null });
    const lacking = await get('/pay');
    expect(lacking.status).toBe(402);
    expect(await lacking.json()).toMatchObject({ remedies: [{ kind: 'upgrade_plan', plans: ['enterprise'] }] });
  });

  test('marks what an outage allowed', async () => {
    const response = await (await start())('/out');
    expect([response.status, response.headers.get('x-entitled-fallback')]).toEqual([200, 'last_known']);
  });

  test('answers 401 to nobody, without asking', async () => {
    const before = asked.length;
    const response = await (await start())('/open', '');
    expect([response.status, asked.length - before]).toEqual([401, 0]);
  });

  test('hands a fault to the framework and never lets it pass', async () => {
    expect((await (await start())('/wrong')).status).toBe(500);
  });
});

test('a requirement of nothing is refused when the route is made', () => {
  const { requireEntitlement } = forExpress.guards({ gatekeeper, asker: askerOfNode });
  expect(() => requireEntitlement({ features: [] })).toThrow('names a module');
});

test.each([
  ['5', express],
  ['4', express4 as typeof express],
])('Express %s: routes are listed with what they need, and those that were forgotten', (_, make) => {
  const { requireEntitlement, openToAll } = forExpress.guards({ gatekeeper, asker: askerOfNode });
  const done: express.RequestHandler = (_request, response) => void response.end();
  const app = make();
  const covered = make.Router();
  covered.get('/early', done);
  covered.use(requireEntitlement({ module: 'retail' }));
  covered.get('/late', done);
  app.get('/zf', requireEntitlement({ module: 'zf' }), done).post('/forgotten', done).get('/healthz', openToAll(), done);
  app.use('/pos', covered);
  expect(forExpress.routesWithoutRequirement(app)).toEqual(['POST /forgotten', 'GET /*/early']);
  expect(forExpress.listRoutes(app)).toContainEqual({ method: 'GET', path: '/zf', declared: { module: 'zf' } });
  expect(forExpress.listRoutes(app)).toContainEqual({ method: 'GET', path: '/*/late', declared: { module: 'retail' } });
});

test('Fastify: routes are listed with what they need, and those that were forgotten', async () => {
  const { requireEntitlement, openToAll } = forFastify.guards({ gatekeeper, asker: () => null });
  const app = fastify();
  ends.push(() => app.close());
  const routes = forFastify.watchRoutes(app);
  app.get('/zf', { preHandler: [requireEntitlement({ module: 'zf' })] }, () => '');
  app.get('/healthz', { onRequest: openToAll() }, () => '');
  await app.register((part, _options, done) => (part.post('/forgotten', () => ''), done()), { prefix: '/pos' });
  await app.ready();
  expect(routes.withoutRequirement()).toEqual(['POST /pos/forgotten']);
  expect(routes.list()).toContainEqual({ method: 'GET', path: '/zf', declared: { module: 'zf' } });
});

test('Hono: routes are listed with what they need, and those that were forgotten', () => {
  const { requireEntitlement, openToAll } = forHono.guards({ gatekeeper, asker: () => null });
  const app = new Hono();
  const part = new Hono().get('/forgotten', (it) => it.text(''));
  app.get('/pos/early', (it) => it.text(''));
  app.use('/pos/*', requireEntitlement({ module: 'retail' }));
  app.get('/pos/late', (it) => it.text('')).get('/positions', (it) => it.text('')).get('/healthz', openToAll(), (it) => it.text(''));
  app.route('/part', part);
  expect(forHono.routesWithoutRequirement(app)).toEqual(['GET /pos/early', 'GET /positions', 'GET /part/forgotten']);
});

test('Next: handlers are listed with what they need, and those that were forgotten', () => {
  const { requireEntitlement, openToAll } = forNext.guards({ gatekeeper, asker: () => null });
  const files = {
    '/api/reports': { GET: requireEntitlement({ features: ['advanced_reports'] }, () => new Response()), POST: () => new Response(), dynamic: 'force' },
    '/api/health': { GET: openToAll(() => new Response()) },
  };
  expect(forNext.routesWithoutRequirement(files)).toEqual(['POST /api/reports']);
  expect(forNext.requirementOf(files['/api/reports'].GET)).toEqual({ features: ['advanced_reports'] });
});
