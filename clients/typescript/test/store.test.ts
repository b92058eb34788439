import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { EntitlementsStore } from '../src/react/store.js';
import type { StoreOptions } from '../src/react/store.js';
import { judge } from '../src/react/access.js';
import { answering, ok, status, unchanged } from './answers.js';
import type { Answer } from './answers.js';
import { payload } from './fake.js';

const NOON = new Date('2026-03-01T12:00:00Z');

beforeEach(() => vi.useFakeTimers({ now: NOON }));
const ends: (() => void)[] = [];
afterEach(() => {
  ends.splice(0).forEach((end) => end());
  vi.useRealTimers();
});

async function started(answers: Answer[], options: Partial<StoreOptions> = {}) {
  const server = answering(...answers);
  const store = new EntitlementsStore({ url: '/e', fetch: server.fetch, ...options });
  ends.push(store.start());
  await settle();
  return { store, server };
}

const settle = () => vi.advanceTimersByTimeAsync(0);
const retail = (store: EntitlementsStore) => judge(store.getSnapshot(), { module: 'retail' }).status;
const open = payload().module_access.retail!;
const trial = (valid_until: string) => ok({
  valid_until,
  module_access: { retail: { ...open, reason: 'trial', expires_at: valid_until } },
});
const ended = ok({ version: 8, module_access: { retail: { ...open, enabled: false, reason: 'trial_expired' } } }, '"b"');

test('the first answer is loading, then what the server says', async () => {
  const store = new EntitlementsStore({ url: '/e', fetch: answering(ok()).fetch });
  expect(retail(store)).toBe('loading');
  ends.push(store.start());
  await settle();
  expect(retail(store)).toBe('allowed');
});

test('a payload that came with the page is known at once', () => {
  const store = new EntitlementsStore({ url: '/e', initial: payload() });
  expect(retail(store)).toBe('allowed');
  expect(store.getServerSnapshot().payload?.version).toBe(7);
});

test('many who ask at the same time send one request, and one more for what came after', async () => {
  const { store, server } = await started([ok()]);
  const release = server.holdBack();
  const all = [store.refresh(), store.refresh(), store.refresh()];
  await settle();
  expect(server.asked).toHaveLength(2);
  release();
  await Promise.all(all);
  expect(server.asked).toHaveLength(3);
});

test('what is known stays while it is asked for again', async () => {
  const { store, server } = await started([ok()]);
  const release = server.holdBack();
  const again = store.refresh();
  await settle();
  expect(retail(store)).toBe('allowed');
  release();
  await again;
});

test('the tag is sent, and 304 keeps the very same payload', async () => {
  const { store, server } = await started([ok(), unchanged]);
  const before = store.getSnapshot().payload;
  await store.refresh();
  expect(server.asked[1]?.headers.get('if-none-match')).toBe('"a"');
  expect(store.getSnapshot().payload).toBe(before);
});

test('an answer that stays equal stays the same object', async () => {
  const { store, server } = await started([ok()]);
  const one = store.select('r', store.getSnapshot(), (it) => judge(it, { module: 'retail' }));
  server.now(ok({ version: 8 }, '"b"'));
  await store.refresh();
  expect(store.getSnapshot().payload?.version).toBe(8);
  expect(store.select('r', store.getSnapshot(), (it) => judge(it, { module: 'retail' }))).toBe(one);
});

test('at the end that the payload names it is asked for again, and locks', async () => {
  const { store, server } = await started([trial('2026-03-01T12:00:05Z'), ended]);
  await vi.advanceTimersByTimeAsync(4999);
  expect([retail(store), server.asked.length]).toEqual(['allowed', 1]);
  await vi.advanceTimersByTimeAsync(2);
  expect([retail(store), server.asked.length]).toEqual(['denied', 2]);
});

test('a trial that ends locks at once, before the server has answered', async () => {
  const { store, server } = await started([trial('2026-03-01T12:00:05Z'), ended]);
  const release = server.holdBack();
  await vi.advanceTimersByTimeAsync(5001);
  expect(judge(store.getSnapshot(), { module: 'retail' })).toMatchObject({ status: 'denied', reason: 'trial_expired' });
  expect(judge(store.getSnapshot(), { feature: 'multi_branch' }).status).toBe('allowed');
  release();
});

test('an end further away than a timer can count does not fire now', async () => {
  const { server } = await started([ok({ valid_until: '2027-03-01T12:00:00Z' })], { pollMs: 0 });
  await vi.advanceTimersByTimeAsync(60_000);
  expect(server.asked).toHaveLength(1);
});

test('without a stream it asks every minute', async () => {
  const { server } = await started([ok(), unchanged]);
  await vi.advanceTimersByTimeAsync(60_001);
  expect(server.asked).toHaveLength(2);
});

test.each<[string, Answer, string]>([
  ['an unreachable server', 'unreachable', 'unreachable'],
  ['a 500', status(500, 'oops'), 'server'],
  ['a 503', status(503, '{}', { 'retry-after': '7' }), 'server'],
  ['malformed JSON', status(200, '{"version": 8, "mod'), 'unreadable'],
  ['a page instead of JSON', status(200, '<html>'), 'unreadable'],
  ['a payload without modules', () => Response.json({ ...payload(), module_access: undefined }), 'unreadable'],
  ['an unreadable end', ok({ valid_until: 'soon' }), 'unreadable'],
])('%s keeps what is known, marked as stale, and opens nothing', async (_, answer, kind) => {
  const { store, server } = await started([ok(), answer]);
  await store.refresh();
  expect(store.getSnapshot()).toMatchObject({ stale: true, failure: { kind } });
  expect(retail(store)).toBe('allowed');
  expect(judge(store.getSnapshot(), { module: 'zf' }).status).toBe('denied');

  const nothing = await started([answer]);
  expect(nothing.store.getSnapshot()).toMatchObject({ payload: null, loading: false, failure: { kind } });
  expect(retail(nothing.store)).toBe('denied');

  server.now(ok({ version: 9 }, '"c"'));
  await vi.advanceTimersByTimeAsync(10_000);
  expect(store.getSnapshot()).toMatchObject({ stale: false, failure: null });
});

test.each<[number, string]>([[401, 'unauthorized'], [403, 'refused'], [404, 'refused']])(
  'a %i takes away what is known',
  async (code, kind) => {
    const { store } = await started([ok(), status(code)]);
    await store.refresh();
    expect(store.getSnapshot()).toMatchObject({ payload: null, failure: { kind, status: code } });
    expect(retail(store)).toBe('denied');
  },
);

test('an expired token is renewed once, without anything locking in between', async () => {
  const onUnauthorized = vi.fn(() => true);
  const { store, server } = await started([ok(), status(401), ok({ version: 8 }, '"b"')], { onUnauthorized });
  const seen: string[] = [];
  store.subscribe(() => seen.push(retail(store)));
  await store.refresh();
  expect(seen).toEqual(['allowed']);
  expect([onUnauthorized.mock.calls.length, server.asked.length]).toEqual([1, 3]);

  server.now(status(401));
  await store.refresh();
  expect(onUnauthorized).toHaveBeenCalledTimes(2);
  expect(retail(store)).toBe('denied');
});

test('what is known is given up at its end where the server can not be asked', async () => {
  const { store, server } = await started([ok({ valid_until: '2026-03-01T12:00:05Z' })]);
  server.now('unreachable');
  await vi.advanceTimersByTimeAsync(5001);
  expect(retail(store)).toBe('denied');
  expect(store.getSnapshot().payload).toBeNull();
});

test('in an outage the last answers hold for a while and no longer', async () => {
  const { store, server } = await started([ok()], { keepForMs: 300_000 });
  server.now('unreachable');
  await vi.advanceTimersByTimeAsync(240_000);
  expect(retail(store)).toBe('allowed');
  await vi.advanceTimersByTimeAsync(180_000);
  expect(retail(store)).toBe('denied');
});

test('with `deny` an outage denies at once', async () => {
  const { store, server } = await started([ok()], { outage: 'deny' });
  server.now('unreachable');
  await store.refresh();
  expect(retail(store)).toBe('denied');
});

test('a payload from a newer server is read for what is known here', async () => {
  const newer = { ...payload({ version: 2 ** 52 }), planets: [], modules: 'all' } as unknown as ReturnType<typeof payload>;
  newer.module_access = { retail: { ...open, reason: 'moon' as 'plan' }, zf: { on: true } as unknown as typeof open };
  const { store } = await started([() => Response.json(newer)]);
  expect(retail(store)).toBe('allowed');
  expect(judge(store.getSnapshot(), { module: 'zf' }).status).toBe('denied');
});

test('a clock of the computer that is wrong does not move the end', async () => {
  const date = new Date(NOON.getTime() + 3_600_000).toUTCString();
  const answer = () => Response.json(payload({ valid_until: '2026-03-01T13:00:05Z' }), { headers: { date } });
  const { store, server } = await started([answer, ended], { pollMs: 0 });
  await vi.advanceTimersByTimeAsync(6001);
  expect([retail(store), server.asked.length]).toEqual(['denied', 2]);
});

class Memory {
  readonly map = new Map<string, string>();
  getItem = (key: string) => this.map.get(key) ?? null;
  setItem = (key: string, value: string) => void this.map.set(key, value);
  removeItem = (key: string) => void this.map.delete(key);
}

test('what was kept is known at the next visit, to the same identity alone', async () => {
  const storage = new Memory();
  await started([ok()], { storage, identity: 'acme/u-1' });
  const next = (identity: string) => retail(new EntitlementsStore({ url: '/e', storage, identity }));
  expect(next('acme/u-1')).toBe('allowed');
  expect(next('globex/u-1')).toBe('loading');
});

test('what was kept is not used past its end or its age', async () => {
  const storage = new Memory();
  await started([ok({ valid_until: '2026-03-01T12:30:00Z' })], { storage, identity: 'a', pollMs: 0 });
  const next = () => retail(new EntitlementsStore({ url: '/e', storage, identity: 'a' }));
  vi.setSystemTime(new Date('2026-03-01T12:29:59Z'));
  expect(next()).toBe('allowed');
  vi.setSystemTime(new Date('2026-03-01T12:30:01Z'));
  expect(next()).toBe('loading');
  // A clock that was put back would make it last longer.
  vi.setSystemTime(new Date('2026-03-01T11:00:00Z'));
  expect(next()).toBe('loading');
});

test.each([
  ['another form', (text: string) => text.replace('"format":1', '"format":2')],
  ['half of it', (text: string) => text.slice(0, 90)],
  ['no payload', (text: string) => text.replace('module_access', 'x')],
])('what was kept in %s is not used', async (_, spoil) => {
  const storage = new Memory();
  await started([ok()], { storage, identity: 'a' });
  for (const [key, text] of storage.map) storage.map.set(key, spoil(text));
  expect(retail(new EntitlementsStore({ url: '/e', storage, identity: 'a' }))).toBe('loading');
});

test('storage that throws costs nothing', async () => {
  const refuse = () => {
    throw new Error('switched off');
  };
  const storage = { getItem: refuse, setItem: refuse, removeItem: refuse };
  const { store } = await started([ok()], { storage, identity: 'a' });
  expect(retail(store)).toBe('allowed');
});

test('after the last user has stopped nothing is asked any more', async () => {
  const { server } = await started([ok({ valid_until: '2026-03-01T12:00:05Z' })]);
  ends.splice(0).forEach((end) => end());
  await vi.advanceTimersByTimeAsync(3_600_000);
  expect(server.asked).toHaveLength(1);
});
