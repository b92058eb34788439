import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const client = join(import.meta.dirname, '..');
const example = join(client, '../../examples/react-shop');

test('the example has the names of its catalog, and uses no others', () => {
  const args = ['--catalog', '../retail.yaml', '--out', 'src/entitled-keys.ts', '--check', 'src', 'server'];
  const command = join(client, 'dist/keys/bin.js');
  expect(execFileSync(process.execPath, [command, ...args], { cwd: example, encoding: 'utf8' })).toBe('');
});
