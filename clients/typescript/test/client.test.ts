import { afterEach, expect, test } from 'vitest';
import { listTenants } from '../src/generated/sdk.gen.js';
import { ProblemError, UnreachableError, UnreadableError, createEntitled, isOutage } from '../src/index.js';
import type { EntitledOptions } from '../src/index.js';
import { decision, fake, payload, problem, refusal } from './fake.js';
import type { Reply } from './fake.js';

const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  await Promise.all(ends.splice(0).map((end) => end()));
});

async function against(replies: Reply[], options: Partial<EntitledOptions> = {}) {
  const server = await fake(...replies);
  ends.push(server.close);
  const slept: number[] = [];
  const sleep = (ms: number) => Promise.resolve(void slept.push(ms));
  const entitled = createEntitled({ url: server.url, credential: 'ent_key', sleep, ...options });
  return { entitled, seen: server.seen, slept };
}

const busy = { status: 503, headers: { 'retry-after': '1' }, body: problem(503, 'OVERLOADED') };

test('a check sends the question with the credential and gives the decision', async () => {
  const { entitled, seen } = await against([{ body: decision() }]);
  const { allowed } = await entitled.check({ tenant: 'acme', module: 'retail' });
  expect(allowed).toBe(true);
  expect(seen[0]).toMatchObject({ method: 'POST', path: '/api/v1/check', body: { tenant: 'acme', module: 'retail' } });
  expect(seen[0]?.headers.authorization).toBe('Bearer ent_key');
});

test('a refusal is an answer and not an error', async () => {
  const { entitled } = await against([{ body: refusal() }]);
  const answer = await entitled.check({ tenant: 'acme', module: 'zf' });
  expect(answer).toMatchObject({ allowed: false, reason: 'plan_limit' });
  expect(answer.remedies).toEqual([{ kind: 'upgrade_plan', plans: ['enterprise'] }]);
});

test('a credential that is a function is asked for each call', async () => {
  let token = 0;
  const { entitled, seen } = await against([{ body: decision() }], { credential: () => `t${(token += 1)}` });
  await entitled.check({ module: 'retail' });
  await entitled.check({ module: 'retail' });
  expect(seen.map((it) => it.headers.authorization)).toEqual(['Bearer t1', 'Bearer t2']);
});

test('a problem becomes a typed error with its code and fields', async () => {
  const fields = { module: ['Unknown; did you mean retail?'] };
  const { entitled } = await against([{ status: 422, body: problem(422, 'UNKNOWN_KEY', { fields }) }]);
  const error = await entitled.check({ tenant: 'acme', module: 'retial' }).catch((it: unknown) => it);
  expect(error).toBeInstanceOf(ProblemError);
  expect(error).toMatchObject({ kind: 'problem', status: 422, code: 'UNKNOWN_KEY', fields, requestId: 'r-1' });
  expect(isOutage(error)).toBe(false);
});

test('an expired token is a problem with the status 401', async () => {
  const { entitled } = await against([{ status: 401, body: problem(401, 'UNAUTHENTICATED') }]);
  await expect(entitled.entitlements()).rejects.toMatchObject({ kind: 'problem', status: 401 });
});

test('a 500 is an outage, also where a proxy answers with a page', async () => {
  const { entitled, seen } = await against([{ status: 500, body: '<html>oops' }]);
  const error = await entitled.check({ module: 'retail' }).catch((it: unknown) => it);
  expect(error).toMatchObject({ kind: 'problem', status: 500, code: 'HTTP_500', problem: null });
  expect(isOutage(error)).toBe(true);
  expect(seen).toHaveLength(1);
});

test('a 503 that says when is tried again then', async () => {
  const { entitled, seen, slept } = await against([busy, busy, { body: decision() }]);
  expect(await entitled.check({ module: 'retail' })).toMatchObject({ allowed: true });
  expect(seen).toHaveLength(3);
  expect(slept).toEqual([1000, 1000]);
});

test('retries end', async () => {
  const { entitled, seen } = await against([busy]);
  await expect(entitled.check({ module: 'retail' })).rejects.toMatchObject({ status: 503, retryAfterMs: 1000 });
  expect(seen).toHaveLength(3);
});

test.each([
  ['a 503 that does not say when', { status: 503, body: problem(503, 'UNAVAILABLE') }],
  ['a 503 that says too late', { ...busy, headers: { 'retry-after': '3600' } }],
  ['a 429', { status: 429, headers: { 'retry-after': '1' }, body: problem(429, 'RATE_LIMITED') }],
  ['a 502', { status: 502, headers: { 'retry-after': '1' }, body: problem(502, 'BAD_GATEWAY') }],
])('%s is not tried again', async (_, reply) => {
  const { entitled, seen, slept } = await against([reply, { body: decision() }]);
  await expect(entitled.check({ module: 'retail' })).rejects.toMatchObject({ status: reply.status });
  expect(seen).toHaveLength(1);
  expect(slept).toEqual([]);
});

test('what is consumed carries one key through all tries', async () => {
  const { entitled, seen } = await against([busy, { body: { ...decision(), taken: 1 } }]);
  expect(await entitled.consume({ tenant: 'acme', feature: 'branches' })).toMatchObject({ taken: 1 });
  const keys = seen.map(({ body }) => (body as { idempotency_key: string }).idempotency_key);
  expect(keys[0]).toMatch(/^[0-9a-f-]{36}$/);
  expect(keys[1]).toBe(keys[0]);
});

test('a server that is not there is unreachable', async () => {
  const server = await fake({});
  await server.close();
  const entitled = createEntitled({ url: server.url, credential: 'k' });
  const error = await entitled.check({ module: 'retail' }).catch((it: unknown) => it);
  expect(error).toBeInstanceOf(UnreachableError);
  expect(isOutage(error)).toBe(true);
});

test('a server that does not answer in time is unreachable', async () => {
  const never: typeof fetch = (input) =>
    new Promise((_, reject) => {
      const { signal } = input as Request;
      signal.addEventListener('abort', () => reject(signal.reason as Error));
    });
  const entitled = createEntitled({ url: 'http://127.0.0.1:1', credential: 'k', fetch: never, timeoutMs: 1 });
  await expect(entitled.check({ module: 'retail' })).rejects.toBeInstanceOf(UnreachableError);
});

test('what the caller cancels is not an outage', async () => {
  const { entitled } = await against([{ body: decision() }]);
  const error = await entitled.check({ module: 'retail' }, { signal: AbortSignal.abort() }).catch((it: unknown) => it);
  expect(error).toMatchObject({ name: 'AbortError' });
  expect(isOutage(error)).toBe(false);
});

test.each([
  ['no JSON', '{"allowed": tr'],
  ['an empty object', {}],
  ['an answer whose `allowed` is text', { ...decision(), allowed: 'false' }],
  ['an array', [decision()]],
])('%s is unreadable and never an allow', async (_, body) => {
  const { entitled } = await against([{ body }]);
  await expect(entitled.check({ module: 'retail' })).rejects.toBeInstanceOf(UnreadableError);
});

test('an answer from a newer server is read, with what is not known here', async () => {
  const newer = { ...refusal(), reason: 'moon_phase', remedies: [{ kind: 'wait_for_moon' }], epoch: { n: 1 } };
  const { entitled } = await against([{ body: newer }]);
  expect(await entitled.check({ module: 'zf' })).toMatchObject({ allowed: false, reason: 'moon_phase' });
});

test('a payload is asked for with its tag, and 304 keeps it', async () => {
  const { entitled, seen } = await against([
    { body: payload(), headers: { etag: '"a"' } },
    { status: 304, headers: { etag: '"a"' } },
  ]);
  const first = await entitled.entitlementsUnless(null, { tenant: 'acme', user: 'u-1' });
  expect(first).toMatchObject({ etag: '"a"', entitlements: { version: 7 } });
  expect(await entitled.entitlementsUnless(first.etag, { tenant: 'acme' })).toEqual({ entitlements: null, etag: '"a"' });
  expect(seen.map((it) => it.path)).toEqual(['/api/v1/tenants/acme/entitlements?user=u-1', '/api/v1/tenants/acme/entitlements']);
  expect(seen[1]?.headers['if-none-match']).toBe('"a"');
});

test('nobody named means oneself, and a user alone the user', async () => {
  const { entitled, seen } = await against([{ body: payload() }]);
  await entitled.entitlements();
  await entitled.entitlements({ user: 'rita' });
  expect(seen.map((it) => it.path)).toEqual(['/api/v1/me/entitlements', '/api/v1/users/rita/entitlements']);
});

test('a batch gives a decision or a problem for each question', async () => {
  const results = [{ decision: decision() }, { problem: problem(422, 'UNKNOWN_KEY') }];
  const { entitled } = await against([{ body: { results } }]);
  const answers = await entitled.checkAll([{ module: 'retail' }, { module: 'x' }]);
  expect(answers[0]?.decision?.allowed).toBe(true);
  expect(answers[1]?.problem?.code).toBe('UNKNOWN_KEY');
});

test('a batch with too few results is unreadable', async () => {
  const { entitled } = await against([{ body: { results: [{ decision: decision() }] } }]);
  await expect(entitled.checkAll([{ module: 'a' }, { module: 'b' }])).rejects.toBeInstanceOf(UnreadableError);
});

test('generated operations throw the same errors through the same client', async () => {
  const { entitled } = await against([{ status: 403, body: problem(403, 'FORBIDDEN') }]);
  const call = listTenants({ client: entitled.client, throwOnError: true });
  await expect(call).rejects.toMatchObject({ kind: 'problem', code: 'FORBIDDEN' });
});
