/** Writes the names of a catalog as types. */
import type { CatalogNames } from './catalog.js';

/** The text of the file. The same names give the same text, whatever their order was. */
export function declarations(names: CatalogNames): string {
  const live = (keys: Set<string>) => new Set([...keys].filter((it) => !names.archived.has(it)));
  return `// Written by entitled-keys from the catalog. Don't edit: run it again.
export type { FeatureKey, ModuleKey, PermissionKey, Reason } from '@entitled/client/keys';

declare module '@entitled/client/keys' {
  interface Names {
    module:${union(live(names.modules))};
    feature:${union(live(names.features))};
    permission:${union(names.permissions)};
    reason:${union(names.reasons)};
  }
}
`;
}

function union(keys: Set<string>): string {
  // Where there are none, nothing compiles: no key would be right.
  if (keys.size === 0) return ' never';
  return [...keys].sort().map((it) => `\n      | '${it}'`).join('');
}
