/** The example in TypeScript of docs/testing.md runs word for word as it stands there. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { transformSync } from 'esbuild';
import { expect, test } from 'vitest';

const repository = join(import.meta.dirname, '../../..');
const binary = process.env.ENTITLED_BIN ?? join(repository, 'target/debug/entitled');

test('the example of docs/testing.md is a test that passes', () => {
  if (!existsSync(binary)) execFileSync('cargo', ['build', '--locked'], { cwd: repository, stdio: 'inherit' });
  const page = readFileSync(join(repository, 'docs/testing.md'), 'utf8');
  const examples = [...page.matchAll(/```ts\n(.*?)```/gs)].map((it) => it[1]!);
  expect(examples).toHaveLength(1);
  const folder = mkdtempSync(join(tmpdir(), 'entitled-page-'));
  try {
    const file = join(folder, 'trials.test.mjs');
    // Only types are taken out.
    writeFileSync(file, transformSync(examples[0]!, { loader: 'ts', format: 'esm' }).code);
    const kept = Object.entries(process.env).filter(([name]) => !/^(ENTITLED_|VITEST|NODE_)/.test(name));
    const PATH = dirname(binary) + delimiter + process.env.PATH;
    const said = execFileSync(process.execPath, ['--test', '--test-reporter=tap', file], {
      encoding: 'utf8',
      cwd: folder,
      env: { ...Object.fromEntries(kept), PATH },
    });
    expect(said).toContain('ok 1 - a trial ends after two weeks');
    expect(said).toContain('# pass 1');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
