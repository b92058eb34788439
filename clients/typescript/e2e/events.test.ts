import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { createEntitled } from '../src/index.js';
import type { Heard } from '../src/index.js';
import { createGatekeeper } from '../src/server/index.js';
import { asAdmin, startEntitled } from './world.js';
import type { Entitled } from './world.js';

let entitled: Entitled;
beforeAll(async () => {
  entitled = await startEntitled();
});
afterAll(() => entitled?.stop());

const grant = (tenant: string, key: string, state: 'enabled' | 'disabled') =>
  asAdmin(entitled, 'PUT', `/api/v1/admin/tenants/${tenant}/grants/${key}`, { state, reason: 'To be heard of' });

const seqs = (heard: readonly Heard[]) => heard.flatMap((it) => (it.kind === 'change' ? [it.change.seq] : []));

test('every change is heard once and in order, also those of a time without a connection', async () => {
  const heard: Heard[] = [];
  const stop = new AbortController();
  let cut = new AbortController();
  let connections = 0;
  // A connection that the test can break; while it is `down`, none can be made.
  let down = false;
  const breaking: typeof fetch = (input, init) => {
    if (down) return Promise.reject(new TypeError('no network'));
    connections += 1;
    cut = new AbortController();
    return fetch(input, { ...init, signal: AbortSignal.any([cut.signal, ...(init?.signal ? [init.signal] : [])]) });
  };
  const client = createEntitled({ url: entitled.url, credential: entitled.service, fetch: breaking });
  const sleep = () => new Promise<void>((done) => setTimeout(done, 5));
  const following = client.follow({ tenant: 'retail-only', signal: stop.signal, onHeard: (it) => heard.push(it), sleep });
  await vi.waitFor(() => expect(heard[0]?.kind).toBe('hello'), 10_000);

  await grant('retail-only', 'dine', 'enabled');
  await grant('mixed', 'pay', 'enabled');
  await vi.waitFor(() => expect(seqs(heard)).toHaveLength(1), 10_000);
  down = true;
  cut.abort();
  await vi.waitFor(() => expect(heard.at(-1)).toMatchObject({ kind: 'lost', final: false }), 10_000);
  await grant('retail-only', 'hr', 'enabled');
  await grant('retail-only', 'hr', 'disabled');
  down = false;
  await vi.waitFor(() => expect(seqs(heard)).toHaveLength(3), 10_000);
  await grant('retail-only', 'ecom', 'enabled');
  await vi.waitFor(() => expect(seqs(heard)).toHaveLength(4), 10_000);
  stop.abort();
  await following;

  const all = seqs(heard);
  expect(all).toEqual([...new Set(all)].sort((a, b) => a - b));
  expect(heard.filter((it) => it.kind === 'hello')).toHaveLength(1);
  expect(heard.flatMap((it) => (it.kind === 'change' ? [[it.change.tenant, it.change.keys]] : []))).toEqual([
    ['retail-only', ['dine']],
    ['retail-only', ['hr']],
    ['retail-only', ['hr']],
    ['retail-only', ['ecom']],
  ]);
  expect(connections).toBe(2);
});

test('a gatekeeper that listens asks again as soon as something has changed', async () => {
  const client = createEntitled({ url: entitled.url, credential: entitled.service });
  const gatekeeper = createGatekeeper({ entitled: client, cacheMs: 3_600_000 });
  const end = gatekeeper.listen();
  const decide = () => gatekeeper.decide({ tenant: 'dine-only' }, { module: 'zf' });
  expect((await decide()).allowed).toBe(false);
  await grant('dine-only', 'zf', 'enabled');
  await vi.waitFor(async () => expect((await decide()).allowed).toBe(true), 10_000);
  end();
});

test('a tenant that is not there ends it for good', async () => {
  const client = createEntitled({ url: entitled.url, credential: entitled.service });
  const heard: Heard[] = [];
  await client.follow({ tenant: 'nobody', signal: AbortSignal.timeout(20_000), onHeard: (it) => heard.push(it) });
  expect(heard).toEqual([{ kind: 'lost', final: true, status: 404 }]);
});
