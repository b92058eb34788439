import { useEntitlements, useModule } from '@entitled/client/react';
import { MODULES, NAMES } from '../nav.ts';
import type { ModuleKey } from '../entitled-keys.ts';

/** For who may manage the shop: what it has, and why. */
export function Settings() {
  const { payload } = useEntitlements();
  return (
    <>
      <h1>Settings</h1>
      <table>
        <caption>What this shop has (version {payload?.version})</caption>
        <thead>
          <tr>
            <th scope="col">Area</th>
            <th scope="col">Open</th>
            <th scope="col">Reason</th>
            <th scope="col">Until</th>
          </tr>
        </thead>
        <tbody>
          {MODULES.map((it) => (
            <Row key={it} module={it} />
          ))}
        </tbody>
      </table>
    </>
  );
}

function Row({ module }: { module: ModuleKey }) {
  const { allowed, reason, expiresAt } = useModule(module);
  return (
    <tr>
      <th scope="row">{NAMES[module]}</th>
      <td>{allowed ? 'yes' : 'no'}</td>
      <td>{reason}</td>
      <td>{expiresAt === null ? '' : new Date(expiresAt).toLocaleDateString()}</td>
    </tr>
  );
}
