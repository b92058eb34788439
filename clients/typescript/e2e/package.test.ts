import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

const client = join(import.meta.dirname, '..');
const manifest = JSON.parse(readFileSync(join(client, 'package.json'), 'utf8')) as {
  name: string;
  exports: Record<string, string | { types: string; default: string }>;
  bin: Record<string, string>;
};
const parts = Object.entries(manifest.exports).filter(([path]) => path !== './package.json');

let app: string;
let installed: string;

/** Unpacks what would be published into an application of its own. */
beforeAll(() => {
  app = mkdtempSync(join(tmpdir(), 'entitled-app-'));
  const pack = ['pack', '--ignore-scripts', '--json', '--pack-destination', app];
  const packed = JSON.parse(execFileSync('npm', pack, { cwd: client, encoding: 'utf8' })) as unknown;
  // Newer versions of npm give an object by name.
  const [{ filename }] = Object.values(packed as object) as [{ filename: string }];
  installed = join(app, 'node_modules', manifest.name);
  mkdirSync(installed, { recursive: true });
  execFileSync('tar', ['-xzf', join(app, filename.replace('@', '').replace('/', '-')), '-C', installed, '--strip-components=1']);
  for (const name of ['react', 'yaml']) symlinkSync(join(client, 'node_modules', name), join(app, 'node_modules', name));
  writeFileSync(join(app, 'package.json'), '{"type": "module"}');
});

afterAll(() => rmSync(app, { recursive: true, force: true }));

test.each(parts)('%s can be imported by Node, and has types', (path, to) => {
  const name = manifest.name + path.slice(1);
  const script = `const it = await import(${JSON.stringify(name)}); console.log(Object.keys(it).length)`;
  const count = Number(execFileSync(process.execPath, ['--input-type=module', '-e', script], { cwd: app, encoding: 'utf8' }));
  expect(count).toBeGreaterThanOrEqual(path === './keys' ? 0 : 1);
  expect(existsSync(join(installed, (to as { types: string }).types))).toBe(true);
});

test('the command runs, and nothing but the package is in it', () => {
  const catalog = join(app, 'catalog.yaml');
  writeFileSync(catalog, 'modules: {crm: {}}\nfeatures: {}');
  const command = join(installed, manifest.bin['entitled-keys'] ?? '');
  expect(execFileSync(command, ['--catalog', catalog], { encoding: 'utf8' })).toContain("'crm'");
  expect(existsSync(join(installed, 'src'))).toBe(false);
  expect(existsSync(join(installed, 'README.md'))).toBe(true);
});
