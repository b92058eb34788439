import { expect, test } from 'vitest';
import { judge } from '../src/react/access.js';
import type { Need, View } from '../src/react/access.js';
import type { Entitlements } from '../src/index.js';
import { payload } from './fake.js';

const NOON = Date.parse('2026-03-01T12:00:00Z');

function view(changes: Partial<Entitlements> = {}): View {
  return { payload: payload(changes), loading: false, stale: false, asOf: NOON };
}

const said = (need: Need, changes: Partial<Entitlements> = {}) => {
  const { status, reason, kind, key } = judge(view(changes), need);
  return [status, reason, kind, key];
};

const retail = payload().module_access.retail!;

test('what the payload enables is allowed, and what it refuses is denied with the reason', () => {
  expect(said({ module: 'retail' })).toEqual(['allowed', 'plan', 'module', 'retail']);
  expect(said({ module: 'zf' })).toEqual(['denied', 'plan_limit', 'module', 'zf']);
  expect(said({ feature: 'multi_branch' })).toEqual(['allowed', 'plan', 'feature', 'multi_branch']);
});

test('a refusal names the plans that would help', () => {
  expect(judge(view(), { module: 'zf' }).remedies).toEqual([{ kind: 'upgrade_plan', plans: ['enterprise'] }]);
});

test('before anything is known it is loading, and after a failure denied', () => {
  const nothing = { payload: null, stale: false, asOf: NOON };
  expect(judge({ ...nothing, loading: true }, { module: 'retail' }).status).toBe('loading');
  expect(judge({ ...nothing, loading: false }, { module: 'retail' })).toMatchObject({ status: 'denied', reason: 'unavailable' });
});

test('the module is judged before the permission', () => {
  const need = { module: 'zf', permission: 'nobody.has.this' };
  expect(said(need)).toEqual(['denied', 'plan_limit', 'module', 'zf']);
  expect(said({ ...need, module: 'retail' })).toEqual(['denied', 'permission_denied', 'permission', 'nobody.has.this']);
});

test('all features are needed, unless any is enough', () => {
  const features = ['advanced_reports', 'multi_branch'];
  expect(said({ features })[0]).toBe('denied');
  expect(said({ features, match: 'any' })[0]).toBe('allowed');
  expect(said({ features: ['advanced_reports'], match: 'any' })[0]).toBe('denied');
});

test.each(['constructor', '__proto__', 'toString', 'retial'])('the unknown key %s is denied', (key) => {
  expect(said({ module: key })).toEqual(['denied', 'unknown_key', 'module', key]);
  expect(said({ feature: key })[0]).toBe('denied');
  expect(said({ limit: key })[0]).toBe('denied');
});

test('a need of nothing is not allowed', () => {
  expect(said({})[0]).toBe('denied');
  expect(said({ features: [], match: 'any' })[0]).toBe('denied');
});

test('what ends is allowed before its end and not at it', () => {
  const until = (expires_at: string) => ({ module_access: { retail: { ...retail, reason: 'trial' as const, expires_at } } });
  expect(said({ module: 'retail' }, until('2026-03-01T12:00:00.001Z'))[0]).toBe('allowed');
  expect(said({ module: 'retail' }, until('2026-03-01T12:00:00Z'))).toEqual(['denied', 'trial_expired', 'module', 'retail']);
  expect(said({ module: 'retail' }, until('soon'))[0]).toBe('denied');
});

test.each([['text', 'true'], ['a number', 1], ['nothing', undefined]])('an entry whose `enabled` is %s is denied', (_, enabled) => {
  const module_access = { retail: { ...retail, enabled } } as unknown as Entitlements['module_access'];
  expect(said({ module: 'retail' }, { module_access })[0]).toBe('denied');
});

test('a permission holds where it is held, and in the tenant everywhere', () => {
  const club = { type: 'club', id: 'c9' };
  const store = { type: 'store', id: 's1' };
  const permissions = [{ name: 'CAN_LOCK', context: store, inherited: false }];
  expect(said({ permission: 'CAN_LOCK' }, { permissions })[0]).toBe('denied');
  expect(said({ permission: 'CAN_LOCK', context: store }, { permissions })[0]).toBe('allowed');
  expect(said({ permission: 'CAN_LOCK', context: club }, { permissions })[0]).toBe('denied');
  expect(said({ permission: 'CAN_LOCK', context: [club, store] }, { permissions })[0]).toBe('allowed');
  expect(said({ permission: 'pos.sales.create', context: club })[0]).toBe('allowed');
});

test('a blocked tenant refuses a permission, but for a module that stays open', () => {
  const blocked = { blocked: true, blocked_reason: 'overdue' } as const;
  const permission = 'pos.sales.create';
  expect(said({ permission }, blocked)).toEqual(['denied', 'overdue', 'permission', permission]);
  expect(said({ module: 'retail', permission }, blocked)[0]).toBe('allowed');
  expect(said({ module: 'retail', permission }, { ...blocked, status: 'suspended' })[0]).toBe('denied');
  expect(said({ permission }, { ...blocked, enforced: false })[0]).toBe('allowed');
});

test('a limit has room for what is asked, and no more', () => {
  expect(said({ limit: 'branches' })[0]).toBe('allowed');
  expect(said({ limit: 'branches', requested: 3 })[0]).toBe('allowed');
  expect(said({ limit: 'branches', requested: 4 })).toEqual(['denied', 'limit_reached', 'limit', 'branches']);
});
