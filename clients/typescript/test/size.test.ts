import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { expect, test } from 'vitest';

async function bundled(code: string): Promise<{ text: string; bytes: number }> {
  const { outputFiles } = await build({
    stdin: { contents: code, resolveDir: import.meta.dirname, loader: 'ts' },
    bundle: true,
    minify: true,
    write: false,
    format: 'esm',
    target: 'es2022',
    jsx: 'automatic',
    external: ['react', 'react/jsx-runtime'],
  });
  const text = outputFiles[0]!.text;
  return { text, bytes: gzipSync(text, { level: 9 }).length };
}

test('the whole React part is smaller than 10 kB', async () => {
  const { bytes } = await bundled("export * from '../src/react/index.js'");
  expect(bytes).toBeLessThan(10_000);
});

test('who takes one call of the generated client does not get them all', async () => {
  const { text, bytes } = await bundled("export { createEntitled } from '../src/index.js'");
  expect(text).not.toContain('activation-codes');
  expect(bytes).toBeLessThan(8000);
});
