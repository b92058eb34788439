import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildShop, picture, removeShop, startBrowser, startEntitled, startShop } from './world.js';
import type { Entitled } from './world.js';

let entitled: Entitled;
let pages: string;
let shop: Awaited<ReturnType<typeof startShop>>;
let browser: Browser;

beforeAll(async () => {
  [entitled, pages, browser] = await Promise.all([startEntitled(), buildShop(), startBrowser()]);
  shop = await startShop(pages, entitled);
});

afterAll(async () => {
  await browser?.close();
  await shop?.stop();
  await entitled?.stop();
  if (pages) await removeShop(pages);
});

async function open(path: string, state: string): Promise<Page> {
  const context = await browser.newContext({ viewport: { width: 1100, height: 760 } });
  await context.addCookies([{ name: 'shop', value: encodeURIComponent('mixed/kim'), url: shop.url }]);
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  await page.goto(shop.url + path);
  await page.locator(`.shop[data-status="${state}"]`).waitFor();
  return page;
}

test('when the server goes away, what is known stays and is marked, and nothing else opens', async () => {
  const page = await open('/pos', 'ready');
  const sell = page.getByRole('button', { name: 'Sell a coffee' });
  await sell.click();
  await page.getByText('Sold today: 1').waitFor();

  await entitled.stop();
  await page.evaluate(() => window.dispatchEvent(new Event('focus')));
  await page.locator('.stale').waitFor();
  // The backend goes by what it knew of this module last: that is its rule for an outage.
  await sell.click();
  await page.getByText('Sold today: 2').waitFor();
  await page.getByRole('link', { name: 'Automation' }).click();
  expect(await page.locator('main [data-reason]').getAttribute('data-reason')).toBe('plan_limit');
  await picture(page, 'outage-known');

  // And for reports there is no such rule.
  const refused = await page.evaluate(async () => {
    const response = await fetch('/api/reports');
    return [response.status, ((await response.json()) as { fallback: string }).fallback];
  });
  expect(refused).toEqual([503, 'deny']);
});

test('a page that is opened while the server is away opens nothing', async () => {
  const page = await open('/pos', 'failed');
  await page.getByRole('heading', { name: 'Retail can’t be opened now' }).waitFor();
  expect(await page.locator('nav ul:not(.locked) a').allTextContents()).toEqual(['Dashboard']);
  expect(await page.getByRole('button', { name: 'Sell a coffee' }).count()).toBe(0);
  await picture(page, 'outage-unknown');
});
