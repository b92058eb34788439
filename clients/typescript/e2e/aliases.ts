/** Lets the example find this package, as it would be published, and the one React. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const client = join(import.meta.dirname, '..');
const manifest = JSON.parse(readFileSync(join(client, 'package.json'), 'utf8')) as {
  name: string;
  exports: Record<string, string | { default: string }>;
};

const escaped = (text: string) => text.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&');

export const aliases = [
  ...Object.entries(manifest.exports).flatMap(([path, to]) =>
    typeof to === 'string'
      ? []
      : [{ find: new RegExp(`^${escaped(manifest.name + path.slice(1))}$`), replacement: join(client, to.default) }],
  ),
  { find: /^(react|react-dom)(\/.*)?$/, replacement: join(client, 'node_modules/$1$2') },
];
