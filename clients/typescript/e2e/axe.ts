/** Looks a page through for what keeps people out. */
import { createRequire } from 'node:module';
import type { Page } from 'playwright-core';

const script = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

interface Found {
  violations: { id: string; nodes: { html: string }[] }[];
}

/** What axe finds, a line for each place. */
export async function barriers(page: Page): Promise<string[]> {
  await page.addScriptTag({ path: script });
  const { violations } = (await page.evaluate('axe.run()')) as Found;
  return violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html}`));
}
