import { execFile } from 'node:child_process';
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const root = join(import.meta.dirname, '..');

async function texts(dir: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const entry of await readdir(dir, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    found[path.slice(dir.length + 1)] = await readFile(path, 'utf8');
  }
  return found;
}

test('the generated client is that of the document; `npm run generate` renews it', { timeout: 60_000 }, async () => {
  const fresh = await mkdtemp(join(tmpdir(), 'entitled-generated-'));
  try {
    const generator = join(root, 'node_modules/@hey-api/openapi-ts/bin/run.js');
    const env = { ...process.env, ENTITLED_GENERATE_TO: fresh };
    const args = [generator, '-f', 'openapi-ts.config.mjs', '--silent'];
    await promisify(execFile)(process.execPath, args, { cwd: root, env });
    const [committed, expected] = [await texts(join(root, 'src/generated')), await texts(fresh)];
    const stale = Object.keys({ ...committed, ...expected }).filter((name) => committed[name] !== expected[name]);
    expect(stale).toEqual([]);
  } finally {
    await rm(fresh, { recursive: true });
  }
});
