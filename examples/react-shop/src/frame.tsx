import { SandboxBadge, TrialBadge, useEntitlements, useVisibleNav } from '@entitled/client/react';
import type { MouseEvent, ReactNode } from 'react';
import { NAV, TENANTS } from './nav.ts';
import type { Entry } from './nav.ts';
import { Page } from './page.tsx';
import { usePath } from './route.ts';
import type { Session } from './session.ts';

interface FrameProps {
  session: Session;
  signIn: (session: Session) => Promise<void>;
}

/** The bar, the navigation, and the page. */
export function Frame({ session, signIn }: FrameProps) {
  const [path, go] = usePath();
  const { plan, status, stale } = useEntitlements();
  const tenants = TENANTS.includes(session.tenant) ? TENANTS : [...TENANTS, session.tenant];
  return (
    <div className="shop" data-status={status}>
      <header>
        <strong>Shop</strong>
        <Choice label="Tenant" value={session.tenant} options={tenants} onChange={(tenant) => signIn({ ...session, tenant })} />
        <Choice label="User" value={session.user} options={['sam', 'kim']} onChange={(user) => signIn({ ...session, user })} />
        <span className="plan">{plan === null ? (status === 'ready' ? 'No plan' : '') : `Plan ${plan.name}`}</span>
        <TrialBadge className="trial" />
        <SandboxBadge className="sandbox" />
      </header>
      {stale && <p role="status" className="stale">Showing what was known last; the server can’t be reached.</p>}
      <Blocked />
      <div className="body">
        <Nav path={path} go={go} />
        <main key={`${session.tenant}/${path}`}>
          <Page path={path} />
        </main>
      </div>
    </div>
  );
}

function Choice({ label, value, options, onChange }: { label: string; value: string; options: readonly string[]; onChange: (value: string) => void }) {
  return (
    <label>
      {label}
      <select value={value} onChange={(event) => onChange(event.target.value)}>
        {options.map((it) => (
          <option key={it}>{it}</option>
        ))}
      </select>
    </label>
  );
}

/** Said once for the whole shop, and again on each page that is locked by it. */
function Blocked() {
  const { blocked, blockedReason } = useEntitlements();
  if (!blocked) return null;
  const words: Record<string, string> = {
    no_subscription: 'This shop has no subscription.',
    suspended: 'This shop is suspended.',
    cancelled: 'The subscription of this shop is cancelled.',
    overdue: 'An invoice of this shop is overdue.',
  };
  return (
    <p role="status" className="blocked">
      {words[blockedReason ?? ''] ?? 'This shop is blocked.'}
    </p>
  );
}

function Nav({ path, go }: { path: string; go: (path: string) => void }) {
  const { status, blocked, can } = useEntitlements();
  const open = useVisibleNav(NAV);
  // What could be had is shown apart, so that it can be looked at; the server still decides.
  const locked = NAV.filter((it) => it.module !== undefined && can({ module: it.module }).denied);
  const link = (entry: Entry, extra?: ReactNode) => (
    <li key={entry.path}>
      <a
        href={entry.path}
        aria-current={entry.path === path ? 'page' : undefined}
        onClick={(event: MouseEvent) => {
          event.preventDefault();
          go(entry.path);
        }}
      >
        {entry.label}
        {extra}
      </a>
    </li>
  );
  return (
    <nav aria-label="Shop" aria-busy={status === 'loading'}>
      <ul>{open.map((it) => link(it))}</ul>
      {locked.length > 0 && (
        <>
          <h2 id="more">{blocked || status === 'failed' ? 'Locked' : 'More for your shop'}</h2>
          <ul aria-labelledby="more" className="locked">
            {locked.map((it) => link(it, <Padlock />))}
          </ul>
        </>
      )}
    </nav>
  );
}

function Padlock() {
  return (
    <svg role="img" aria-label="locked" viewBox="0 0 16 16" width="14" height="14" fill="currentColor">
      <path d="M4 7V5a4 4 0 0 1 8 0v2h1v8H3V7h1Zm2 0h4V5a2 2 0 0 0-4 0v2Z" />
    </svg>
  );
}
