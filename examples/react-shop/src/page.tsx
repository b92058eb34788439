import { RequireModule, RequirePermission } from '@entitled/client/react';
import type { ReactNode } from 'react';
import { Dashboard } from './pages/dashboard.tsx';
import { PointOfSale } from './pages/pos.tsx';
import { Settings } from './pages/settings.tsx';
import { NAV } from './nav.ts';

/** The page of a path, behind what its entry in the navigation needs: one list for both. */
export function Page({ path }: { path: string }) {
  const entry = NAV.find((it) => it.path === path);
  if (entry === undefined) return <h1>There is no such page</h1>;
  const content: ReactNode = CONTENT[path] ?? <Plain title={entry.label} />;
  const wait = <p className="wait">One moment …</p>;
  if (entry.module !== undefined) {
    return (
      <RequireModule module={entry.module} permission={entry.permission} loading={wait} level={1}>
        {content}
      </RequireModule>
    );
  }
  if (entry.permission !== undefined) {
    return (
      <RequirePermission permission={entry.permission} loading={wait} level={1}>
        {content}
      </RequirePermission>
    );
  }
  return content;
}

const CONTENT: Record<string, ReactNode> = {
  '/': <Dashboard />,
  '/pos': <PointOfSale />,
  '/settings': <Settings />,
};

function Plain({ title }: { title: string }) {
  return (
    <>
      <h1>{title}</h1>
      <p>Everything about {title.toLowerCase()} would be here.</p>
    </>
  );
}
