// @vitest-environment happy-dom
import { act, cleanup, fireEvent, render, screen } from '@testing-library/react';
import { StrictMode } from 'react';
import type { ReactNode } from 'react';
import { renderToString } from 'react-dom/server';
import { afterEach, expect, test, vi } from 'vitest';
import * as ui from '../src/react/index.js';
import { answering, ok, status, unchanged } from './answers.js';
import type { Answer } from './answers.js';
import { payload, problem, refusal } from './fake.js';

afterEach(cleanup);

const { EntitlementsProvider, EntitlementGate, FeatureGate, RequireModule, RequirePermission } = ui;
const open = payload().module_access.retail!;
const closed = payload().module_access.zf!;
const names = { zf: 'Automation', enterprise: 'Enterprise', growth: 'Growth', retail: 'Retail', branches: 'Branches' };

/** Renders below a provider that is answered so, and waits for the answer. */
async function shown(children: ReactNode, answers: Answer[] = [ok()], props: Partial<ui.EntitlementsProviderProps> = {}) {
  const server = answering(...answers);
  const tree = (more: Partial<ui.EntitlementsProviderProps> = {}) => (
    <EntitlementsProvider url="/e" fetch={server.fetch} names={names} {...props} {...more}>
      {children}
    </EntitlementsProvider>
  );
  const view = render(tree());
  await act(async () => {});
  return { server, view, again: (more: Partial<ui.EntitlementsProviderProps>) => view.rerender(tree(more)) };
}

const focus = () => act(async () => void window.dispatchEvent(new Event('focus')));
const text = () => document.body.textContent ?? '';

function Probe({ need, log }: { need: ui.Need; log: string[] }) {
  const { status: state, reason } = ui.useAccess(need);
  log.push(state);
  return <i>{`${state}:${reason ?? ''}`}</i>;
}

test('a gate shows nothing until it is known, then what may be used', async () => {
  const server = answering(ok());
  const release = server.holdBack();
  render(
    <EntitlementsProvider url="/e" fetch={server.fetch}>
      <EntitlementGate module="retail" loading="wait">
        Till
      </EntitlementGate>
      <EntitlementGate module="zf" loading="wait">
        Robots
      </EntitlementGate>
    </EntitlementsProvider>,
  );
  expect(text()).toBe('waitwait');
  await act(async () => release());
  expect(text()).toBe('Till');
});

test('a known answer never flickers while it is refreshed, and does not render anew', async () => {
  const log: string[] = [];
  const { server } = await shown(<Probe need={{ module: 'retail' }} log={log} />);
  const before = log.length;
  server.now(ok({ version: 8 }, '"b"'), unchanged, 'unreachable', status(500), ok({ version: 9 }));
  for (let i = 0; i < 3; i += 1) await focus();
  expect(log.slice(before).filter((it) => it !== 'allowed')).toEqual([]);
  expect(log.length - before).toBeLessThanOrEqual(1);
});

test('a hundred components send one request', async () => {
  const many = Array.from({ length: 100 }, (_, i) => <FeatureGate key={i} feature="multi_branch">x</FeatureGate>);
  const { server } = await shown(<StrictMode>{many}</StrictMode>);
  expect(text()).toBe('x'.repeat(100));
  expect(server.asked).toHaveLength(1);
});

test('StrictMode starts and stops without losing the answer', async () => {
  const server = answering(ok());
  render(
    <StrictMode>
      <EntitlementsProvider url="/e" fetch={server.fetch}>
        <FeatureGate feature="multi_branch">open</FeatureGate>
      </EntitlementsProvider>
    </StrictMode>,
  );
  await act(async () => {});
  expect(text()).toBe('open');
});

test('the focus of the window refreshes, and unlocks without a reload', async () => {
  const { server } = await shown(<EntitlementGate module="zf" mode="lock">Robots</EntitlementGate>);
  expect(text()).toContain('Automation is not part of your plan');
  server.now(ok({ version: 8, module_access: { zf: { ...open, reason: 'override' } } }));
  await focus();
  expect(text()).toBe('Robots');
});

test('the page of a server is rendered with the payload that came with it', () => {
  const html = renderToString(
    <EntitlementsProvider url="/e" initial={payload()}>
      <EntitlementGate module="retail">Till</EntitlementGate>
      <EntitlementGate module="zf">Robots</EntitlementGate>
    </EntitlementsProvider>,
  );
  expect(html).toBe('Till');
});

test('who is switched to sees nothing of who was there before', async () => {
  const first = payload();
  const { again, server } = await shown(
    <EntitlementGate module="retail" loading="wait">Till</EntitlementGate>,
    [ok()],
    { identity: 'acme', initial: first },
  );
  expect(text()).toBe('Till');
  const release = server.holdBack();
  again({ identity: 'globex', initial: first });
  expect(text()).toBe('wait');
  server.now(ok({ tenant: 'globex', module_access: { retail: closed } }));
  await act(async () => release());
  expect(text()).toBe('');
});

test.each(['plan_limit', 'overdue', 'suspended', 'cancelled', 'no_subscription', 'trial_expired', 'seat_required'] as const)(
  'a locked module says why: %s',
  async (reason) => {
    await shown(<ui.ModuleLocked module="zf" />, [ok({ module_access: { zf: { ...closed, reason, upgrade_plans: [] } } })]);
    const region = screen.getByRole('region');
    const { title } = ui.english.reasons[reason]!;
    expect(region.getAttribute('data-reason')).toBe(reason);
    expect(screen.getByRole('heading').textContent).toBe(title.replace('{name}', 'Automation'));
    expect(region.getAttribute('aria-labelledby')).toBe(screen.getByRole('heading').id);
  },
);

test('a module that could not be asked about is locked under its own name', async () => {
  await shown(<ui.ModuleLocked module="zf" />, ['unreachable']);
  expect(screen.getByRole('heading').textContent).toBe('Automation can’t be opened now');
});

test('a reason that is not known here has words too', async () => {
  await shown(<ui.ModuleLocked module="zf" />, [ok({ module_access: { zf: { ...closed, reason: 'moon' as 'plan' } } })]);
  expect(screen.getByRole('heading').textContent).toBe('Automation is locked');
});

test('texts can be translated', async () => {
  const texts = { reasons: { plan_limit: { title: '{name} gehört nicht zum Plan', body: 'Nimm {plans}.' } }, remedies: { upgrade_plan: 'Zu {plans}' } };
  await shown(<ui.ModuleLocked module="zf" />, [ok()], { texts });
  expect(text()).toBe('Automation gehört nicht zum PlanNimm Enterprise.Zu Enterprise');
});

test('a route whose module is missing shows why, before any permission is looked at', async () => {
  await shown(<RequireModule module="zf" permission="nobody.has.this">Robots</RequireModule>);
  expect(screen.getByRole('region').getAttribute('data-reason')).toBe('plan_limit');
});

test('a route whose permission is missing is refused plainly', async () => {
  await shown(<RequirePermission module="retail" permission="nobody.has.this">Refunds</RequirePermission>);
  expect(screen.getByRole('heading').textContent).toBe('You may not do this');
  expect(screen.queryByRole('list')).toBeNull();
});

test('a disabled button does nothing, keeps the focus, and says why', async () => {
  const clicked = vi.fn();
  const submitted = vi.fn((event: { preventDefault: () => void }) => event.preventDefault());
  await shown(
    <form onSubmit={submitted}>
      <EntitlementGate feature="advanced_reports" mode="disable">
        <button onClick={clicked}>Reports</button>
      </EntitlementGate>
    </form>,
  );
  const button = screen.getByRole('button', { name: 'Reports' });
  fireEvent.click(button);
  expect([clicked.mock.calls.length, submitted.mock.calls.length]).toEqual([0, 0]);
  expect(button.getAttribute('aria-disabled')).toBe('true');
  button.focus();
  expect(document.activeElement).toBe(button);
  const description = document.getElementById(button.getAttribute('aria-describedby') ?? '');
  expect(description?.textContent).toBe('Advanced_reports is not part of your plan. Upgrade to use it.');
});

test('a disabled link leads nowhere, and a disabled field takes nothing', async () => {
  await shown(
    <EntitlementGate module="zf" mode="disable">
      <a href="/zf">Robots</a>
      <input aria-label="name" />
    </EntitlementGate>,
  );
  const link = screen.getByRole('link');
  expect([link.getAttribute('href'), link.tabIndex]).toEqual([null, 0]);
  expect((screen.getByLabelText('name') as HTMLInputElement).disabled).toBe(true);
});

test('what stands inside of other elements is disabled with them', async () => {
  const clicked = vi.fn();
  const Own = ({ disabled }: { disabled?: boolean }) => <button disabled={disabled} onClick={clicked}>own</button>;
  await shown(
    <EntitlementGate module="zf" mode="disable">
      <div onClick={clicked} onKeyDown={clicked}>
        <>
          <button onClick={clicked} onClickCapture={clicked} onPointerUp={clicked}>deep</button>
        </>
        <label>
          name <input onChange={clicked} />
        </label>
        <Own />
      </div>
    </EntitlementGate>,
  );
  const deep = screen.getByRole('button', { name: 'deep' });
  fireEvent.click(deep);
  fireEvent.pointerUp(deep);
  fireEvent.keyDown(deep, { key: 'Enter' });
  fireEvent.click(screen.getByRole('button', { name: 'own' }));
  expect((screen.getByLabelText('name') as HTMLInputElement).disabled).toBe(true);
  expect(clicked).not.toHaveBeenCalled();
});

test('what is not known yet is disabled too', () => {
  const server = answering(ok());
  server.holdBack();
  render(
    <EntitlementsProvider url="/e" fetch={server.fetch}>
      <EntitlementGate module="retail" mode="disable">
        <button>Sell</button>
      </EntitlementGate>
    </EntitlementsProvider>,
  );
  expect(screen.getByRole('button').getAttribute('aria-disabled')).toBe('true');
});

test('a fallback is shown instead, and can look at the reason', async () => {
  await shown(
    <>
      <EntitlementGate module="zf" fallback="none">x</EntitlementGate>
      <EntitlementGate module="zf" mode="disable" fallback={({ reason }) => `;${reason}`}>x</EntitlementGate>
    </>,
  );
  expect(text()).toBe('none;plan_limit');
});

test('where something in focus is locked away, the focus goes to the reason', async () => {
  const { server } = await shown(<EntitlementGate module="retail" mode="lock"><button>Sell</button></EntitlementGate>);
  screen.getByRole('button').focus();
  server.now(ok({ version: 8, module_access: { retail: closed } }));
  await focus();
  expect(document.activeElement).toBe(screen.getByRole('heading'));
});

test('a locked area that was there from the start takes no focus', async () => {
  await shown(<EntitlementGate module="zf" mode="lock">x</EntitlementGate>);
  expect(document.activeElement).toBe(document.body);
});

test('a navigation has what module and permission both allow, and no empty groups', async () => {
  const items = [
    { label: 'Till', module: 'retail', permission: 'pos.sales.create' },
    { label: 'Refunds', module: 'retail', permission: 'pos.refunds.create' },
    { label: 'Robots', module: 'zf', permission: 'pos.sales.create' },
    { label: 'Help' },
    { label: 'Group', items: [{ label: 'Jobs', module: 'zf' }] },
    { label: 'Shop', items: [{ label: 'Stock', module: 'retail' }, { label: 'Jobs', module: 'zf' }] },
  ];
  function Nav() {
    return <>{ui.useVisibleNav<ui.NavItem & { label: string }>(items).map((it) => `${it.label}${(it.items ?? []).length} `)}</>;
  }
  const server = answering(ok());
  const release = server.holdBack();
  render(<EntitlementsProvider url="/e" fetch={server.fetch}><Nav /></EntitlementsProvider>);
  expect(text()).toBe('Help0 ');
  await act(async () => release());
  expect(text()).toBe('Till0 Help0 Shop1 ');
});

test('a limit shows how much is used, as a meter with a name', async () => {
  const limits = { branches: payload().limits.branches!, users: { ...payload().limits.branches!, unlimited: true, limit: null, remaining: null } };
  await shown(<><ui.LimitMeter limit="branches" /><ui.LimitMeter limit="users" label="People" /></>, [ok({ limits })]);
  const meter = screen.getByRole('meter', { name: 'Branches' });
  expect([meter.getAttribute('max'), meter.getAttribute('value')]).toEqual(['5', '2']);
  expect(text()).toBe('Branches  2 of 5People  2, unlimited');
});

test('a limit that is not known says so, and is not full or empty', async () => {
  await shown(<ui.LimitMeter limit="branches" />, ['unreachable']);
  expect(screen.queryByRole('meter')).toBeNull();
  expect(text()).toContain('unknown');
});

test('useLimit gives the numbers, useFeature the value, usePermission where', async () => {
  const features = { support: { ...payload().features.multi_branch!, type: 'config', value: 'gold' }, off: { ...payload().features.advanced_reports!, value: 'gold' } };
  let seen: unknown;
  function Look() {
    const { limit, used, remaining, allowed } = ui.useLimit('branches', 4);
    seen = [limit, used, remaining, allowed, ui.useFeature('support').value, ui.useFeature('off').value, ui.useModule('retail').allowed, ui.usePermission('pos.sales.create', { type: 'club', id: 'c' }).allowed];
    return null;
  }
  await shown(<Look />, [ok({ features })]);
  expect(seen).toEqual([5, 2, 3, false, 'gold', null, true, true]);
});

test.each([
  [13.5, '14 days left'],
  [0.6, 'ends in 15 h'],
  [-1, 'Trial ended'],
])('a trial that ends in %d days says so', async (days, words) => {
  const trial_expires_at = new Date(Date.now() + days * 86_400_000).toISOString();
  await shown(<ui.TrialBadge />, [ok({ plan: { ...payload().plan!, status: 'trialing', trial_expires_at } })]);
  expect(text()).toContain(words);
});

test('the badge of a trial changes at its end', async () => {
  vi.useFakeTimers({ now: new Date('2026-03-01T12:00:00Z') });
  try {
    await shown(<ui.TrialBadge />, [ok({ plan: { ...payload().plan!, status: 'trialing', trial_expires_at: '2026-03-01T12:00:05Z' } })]);
    expect(text()).toBe('Trial: ends in 1 h');
    await act(() => vi.advanceTimersByTimeAsync(5001));
    expect(text()).toBe('Trial ended');
  } finally {
    cleanup();
    vi.useRealTimers();
  }
});

test('a locked route has a heading of the level that it wants, and remedies lead somewhere', async () => {
  const chosen = vi.fn();
  await shown(<RequireModule module="zf" level={1} onRemedy={chosen}>x</RequireModule>);
  expect(screen.getByRole('heading', { level: 1 }).textContent).toContain('Automation');
  fireEvent.click(screen.getByRole('button', { name: 'Upgrade to Enterprise' }));
  expect(chosen).toHaveBeenCalledOnce();
});

test.each([
  [true, 'Sandbox'],
  [false, ''],
])('a tenant whose sandbox is %s is shown so', async (sandbox, words) => {
  await shown(<ui.SandboxBadge />, [ok({ sandbox })]);
  expect(text()).toBe(words);
});

test('without a trial there is no badge', async () => {
  await shown(<ui.TrialBadge />);
  expect(text()).toBe('');
});

test('402 shows how to upgrade, 403 a plain refusal, and anything else what is inside', async () => {
  const chosen = vi.fn();
  const lacking = refusal({ status: 402, code: 'FEATURE_NOT_ENTITLED', message: 'Not in Growth.' });
  await shown(<ui.Refusal error={lacking} onRemedy={chosen} />);
  expect(screen.getByRole('alert').textContent).toBe('Your plan does not include thisNot in Growth.Upgrade to Enterprise');
  fireEvent.click(screen.getByRole('button'));
  expect(chosen).toHaveBeenCalledWith({ kind: 'upgrade_plan', plans: ['enterprise'] });
  cleanup();
  await shown(<ui.Refusal error={problem(403, 'PERMISSION_DENIED', { detail: 'No.' })} />);
  expect(screen.getByRole('alert').textContent).toBe('You may not do thisNo.');
  cleanup();
  await shown(<ui.Refusal error={new Error('broken')}>Something broke</ui.Refusal>);
  expect(text()).toBe('Something broke');
});

test('a remedy that is not known here is left out', async () => {
  await shown(<ui.UpgradeHint remedies={[{ kind: 'moon' }, { kind: 'settle_invoice' }]} />);
  expect(screen.getAllByRole('listitem')).toHaveLength(1);
});

test('useEntitlements tells of a failure, and asks again', async () => {
  let view: ui.EntitlementsView | undefined;
  function Look() {
    view = ui.useEntitlements();
    return null;
  }
  const { server } = await shown(<Look />, [status(500)]);
  expect(view).toMatchObject({ status: 'failed', failure: { kind: 'server' }, plan: null });
  server.now(ok());
  await act(() => view?.refresh());
  expect(view).toMatchObject({ status: 'ready', failure: null, plan: { key: 'growth' } });
  expect(view?.can({ module: 'retail' }).allowed).toBe(true);
});

test('a hook without a provider says what is missing', () => {
  vi.spyOn(console, 'error').mockImplementation(() => undefined);
  expect(() => render(<FeatureGate feature="x">x</FeatureGate>)).toThrow('EntitlementsProvider');
});
