import { afterEach, expect, test, vi } from 'vitest';
import { createGatekeeper } from '../src/server/index.js';
import type { GatekeeperOptions } from '../src/server/index.js';
import { DecisionCache } from '../src/server/cache.js';
import { ProblemError, UnreachableError, UnreadableError } from '../src/index.js';
import type { Check, Decision, Entitled, Heard } from '../src/index.js';
import { decision, problem, refusal } from './fake.js';

type Answer = Decision | Error;
const NOON = Date.parse('2026-03-01T12:00:00Z');
const acme = { tenant: 'acme', user: 'u-1' };
const retail = { module: 'retail' };
const down = new UnreachableError('down');

function gate(answers: Answer[], options: Partial<GatekeeperOptions> = {}) {
  const asked: Check[] = [];
  let now = NOON;
  let hear: (heard: Heard) => void = () => undefined;
  const entitled = {
    check: (question: Check) => {
      asked.push(question);
      const answer = answers.length > 1 ? answers.shift()! : answers[0]!;
      return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
    },
    follow: ({ onHeard }: { onHeard: typeof hear }) => ((hear = onHeard), Promise.resolve()),
  } as unknown as Entitled;
  const gatekeeper = createGatekeeper({ entitled, clock: () => now, ...options });
  return { gatekeeper, asked, answers, pass: (ms: number) => (now += ms), hear: (it: Heard) => hear(it) };
}

afterEach(() => vi.restoreAllMocks());

test('a decision is used again for a short time, and then asked for anew', async () => {
  const { gatekeeper, asked, pass } = gate([decision()]);
  for (const ms of [0, 1999, 1]) {
    pass(ms);
    expect(await gatekeeper.decide(acme, retail)).toMatchObject({ allowed: true, fallback: null });
  }
  expect(asked).toHaveLength(2);
});

test('no decision is used past its end', async () => {
  const { gatekeeper, asked, pass } = gate([decision({ valid_until: '2026-03-01T12:00:01Z' })]);
  await gatekeeper.decide(acme, retail);
  pass(999);
  await gatekeeper.decide(acme, retail);
  expect(asked).toHaveLength(1);
  pass(1);
  await gatekeeper.decide(acme, retail);
  expect(asked).toHaveLength(2);
});

test('a newer version of the tenant makes its other decisions old, and nobody else’s', async () => {
  const { gatekeeper, asked } = gate([decision({ version: 7 }), decision({ version: 7 }), decision({ version: 8 })]);
  await gatekeeper.decide(acme, retail);
  await gatekeeper.decide({ tenant: 'globex' }, retail);
  await gatekeeper.decide(acme, { module: 'dine' });
  await gatekeeper.decide({ tenant: 'globex' }, retail);
  expect(asked).toHaveLength(3);
  await gatekeeper.decide(acme, retail);
  expect(asked).toHaveLength(4);
});

test('one asker never gets the decision of another', async () => {
  const { gatekeeper, asked } = gate([decision(), refusal()]);
  const mine = await gatekeeper.decide({ tenant: 'a', user: 'b' }, retail);
  const others = await gatekeeper.decide({ tenant: 'a","user":"b' }, retail);
  expect([mine.allowed, others.allowed, asked.length]).toEqual([true, false, 2]);
});

test.each([
  ['depends on usage', decision({ limit: { feature: 'b', limit: 5, unlimited: false, used: 1, requested: 1, remaining: 4, resets_at: null } }), acme, retail],
  ['is of a guard', decision(), acme, { guard: 'clubs.create' }],
  ['is a bypass, which is audited each time', decision(), { ...acme, mode: 'platform' as const }, retail],
])('what %s is asked for each time', async (_, answer, asker, requirement) => {
  const { gatekeeper, asked } = gate([answer]);
  await gatekeeper.decide(asker, requirement);
  await gatekeeper.decide(asker, requirement);
  expect(asked).toHaveLength(2);
});

test('the same question at the same time is asked once, and each time without a cache', async () => {
  const one = gate([decision()]);
  await Promise.all([one.gatekeeper.decide(acme, retail), one.gatekeeper.decide(acme, retail)]);
  expect(one.asked).toHaveLength(1);
  const two = gate([decision()], { cacheMs: 0 });
  await Promise.all([two.gatekeeper.decide(acme, retail), two.gatekeeper.decide(acme, retail)]);
  expect(two.asked).toHaveLength(2);
});

const change = (tenant: string | null, version: number, cause = 'grant.set'): Heard => ({
  kind: 'change',
  change: { seq: 1, at: '', tenant, version, keys: [], global: tenant === null, cause },
});

test.each<[string, Heard, number]>([
  ['a change of the tenant', change('acme', 8), 2],
  ['a change of everyone', change(null, 8), 2],
  ['a boundary of time', change('acme', 7, 'time'), 2],
  ['a resync', { kind: 'resync' }, 2],
  ['a change of another tenant', change('globex', 8), 1],
  ['a change that is known', change('acme', 7), 1],
])('%s is heard', async (_, heard, expected) => {
  const { gatekeeper, asked, hear } = gate([decision()]);
  const stop = gatekeeper.listen();
  await gatekeeper.decide(acme, retail);
  hear(heard);
  await gatekeeper.decide(acme, retail);
  expect(asked).toHaveLength(expected);
  stop();
});

test('an answer that was overtaken on its way is not kept', () => {
  const cache = new DecisionCache({ freshMs: 1000, keepMs: 1000, size: 10 });
  cache.put('k', 'acme', decision({ version: 7 }), NOON, cache.epoch);
  expect(cache.fresh('k', NOON)?.version).toBe(7);
  const before = cache.epoch;
  cache.clear();
  cache.put('k', 'acme', decision({ version: 7 }), NOON, before);
  expect(cache.fresh('k', NOON)).toBeNull();
});

test('the memory is bounded, the oldest goes first', () => {
  const cache = new DecisionCache({ freshMs: 1000, keepMs: 1000, size: 2 });
  for (const key of ['a', 'b', 'c']) cache.put(key, `tenant:${key}`, decision(), NOON, cache.epoch);
  expect(['a', 'b', 'c'].map((key) => cache.fresh(key, NOON) !== null)).toEqual([false, true, true]);
});

test.each([
  ['unreachable', down],
  ['500', new ProblemError(500, null)],
  ['429', new ProblemError(429, null)],
  ['unreadable', new UnreadableError('{')],
])('in an outage (%s) it is refused with 503, marked, if nothing else was said', async (_, error) => {
  const onOutage = vi.fn();
  const { gatekeeper } = gate([error], { onOutage });
  expect(await gatekeeper.decide(acme, retail)).toMatchObject({ allowed: false, status: 503, fallback: 'deny' });
  expect(onOutage).toHaveBeenCalledWith(error, 'deny');
});

test('`allow` allows in an outage, marked', async () => {
  const { gatekeeper } = gate([down], { outage: { keys: { retail: 'allow' } } });
  expect(await gatekeeper.decide(acme, retail)).toMatchObject({ allowed: true, fallback: 'allow', would_allow: false });
  expect(await gatekeeper.decide(acme, { module: 'dine' })).toMatchObject({ allowed: false, fallback: 'deny' });
});

test('`last_known` answers as last time, a refusal too, until its end', async () => {
  const outage = { default: 'last_known' } as const;
  const { gatekeeper, answers, pass } = gate([decision({ valid_until: '2026-03-01T12:30:00Z' })], { outage });
  await gatekeeper.decide(acme, retail);
  answers.splice(0, 1, refusal());
  await gatekeeper.decide(acme, { module: 'zf' });
  answers.splice(0, 1, down);
  pass(10 * 60_000);
  expect(await gatekeeper.decide(acme, retail)).toMatchObject({ allowed: true, reason: 'plan', fallback: 'last_known' });
  expect(await gatekeeper.decide(acme, { module: 'zf' })).toMatchObject({ allowed: false, reason: 'plan_limit', fallback: 'last_known' });
  expect(await gatekeeper.decide(acme, { module: 'new' })).toMatchObject({ allowed: false, fallback: 'deny' });
  pass(20 * 60_000);
  expect(await gatekeeper.decide(acme, retail)).toMatchObject({ allowed: false, fallback: 'deny' });
});

test('`last_known` goes back so far and no further', async () => {
  const { gatekeeper, answers, pass } = gate([decision()], { outage: { default: 'last_known' }, lastKnownMs: 60_000 });
  await gatekeeper.decide(acme, retail);
  answers.splice(0, 1, down);
  pass(59_999);
  expect((await gatekeeper.decide(acme, retail)).allowed).toBe(true);
  pass(1);
  expect((await gatekeeper.decide(acme, retail)).allowed).toBe(false);
});

test('where several keys are needed, the strictest rule holds', async () => {
  const outage = { default: 'allow', keys: { ai: 'last_known', pay: 'deny' } } as const;
  const { gatekeeper } = gate([down], { outage });
  const needs = (features: string[]) => gatekeeper.decide(acme, { module: 'retail', features });
  expect((await needs([])).fallback).toBe('allow');
  expect((await needs(['ai'])).allowed).toBe(false);
  expect((await needs(['ai', 'pay'])).fallback).toBe('deny');
  expect((await gatekeeper.decide(acme, { permission: 'constructor' })).fallback).toBe('allow');
});

test.each([401, 403, 404, 422])('a %i is a fault to be mended and no outage: it is thrown', async (status) => {
  const { gatekeeper } = gate([new ProblemError(status, problem(status, 'X'))], { outage: { default: 'allow' } });
  await expect(gatekeeper.decide(acme, retail)).rejects.toMatchObject({ status });
});
