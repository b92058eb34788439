import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { barriers } from './axe.js';
import { asAdmin, buildShop, picture, removeShop, startBrowser, startEntitled, startShop } from './world.js';
import type { Entitled } from './world.js';

let entitled: Entitled;
let pages: string;
let shop: Awaited<ReturnType<typeof startShop>>;
let browser: Browser;
let context: BrowserContext;
const complaints: string[] = [];

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

afterEach(async () => {
  await context?.close();
  expect(complaints.splice(0)).toEqual([]);
});

/** Opens a page of the shop for a tenant. */
async function open(tenant: string, path = '/', user = 'sam'): Promise<Page> {
  context = await browser.newContext({ viewport: { width: 1100, height: 760 } });
  await context.addCookies([{ name: 'shop', value: encodeURIComponent(`${tenant}/${user}`), url: shop.url }]);
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  page.on('pageerror', (error) => complaints.push(error.message));
  await page.goto(shop.url + path);
  await page.locator('.shop[data-status="ready"]').waitFor();
  return page;
}

/** The labels of the navigation: what is open, and what is locked. */
async function nav(page: Page): Promise<[open: string[], locked: string[]]> {
  const labels = async (list: string) => {
    const texts = await page.locator(`nav ${list} a`).allTextContents();
    return texts;
  };
  return [await labels('ul:not(.locked)'), await labels('ul.locked')];
}

/** Why the page is locked. */
async function lock(page: Page): Promise<[reason: string | null, title: string | null]> {
  const region = page.locator('main section.entitled-locked').first();
  return [await region.getAttribute('data-reason'), await region.locator('h1').textContent()];
}

test('retail alone: its pages are open, the restaurant says which plans have it', async () => {
  const page = await open('retail-only');
  expect(await nav(page)).toEqual([
    ['Dashboard', 'Point of sale', 'Inventory', 'Settings'],
    ['Restaurant', 'Payments', 'Accounting', 'Staff', 'Web shop', 'Automation'],
  ]);
  await picture(page, 'retail-only');
  await page.getByRole('link', { name: 'Restaurant' }).click();
  expect(await lock(page)).toEqual(['plan_limit', 'Restaurant is not part of your plan']);
  expect(await page.locator('.entitled-remedies').textContent()).toBe('Upgrade to Growth or Enterprise');
  await picture(page, 'retail-only-restaurant');
  await page.getByRole('link', { name: 'Point of sale' }).click();
  await page.getByRole('button', { name: 'Sell a coffee' }).click();
  await page.getByText('Sold today: 1').waitFor();
});

test('the backend asks for itself: 402 shows how to upgrade, 403 a plain refusal', async () => {
  const page = await open('retail-only', '/', 'kim');
  await page.getByRole('button', { name: 'Ask the backend anyway' }).click();
  const alert = page.getByRole('alert');
  await alert.getByText('Upgrade to Growth or Enterprise').waitFor();
  await picture(page, 'refused-402');
  await page.getByRole('button', { name: 'List the staff' }).click();
  await alert.getByText('You may not do this').waitFor();
  expect(await alert.getByRole('list').count()).toBe(0);
  await picture(page, 'refused-403');
});

test('a feature that is not there has a button that says why and does nothing', async () => {
  const page = await open('retail-only');
  const button = page.getByRole('button', { name: 'Show advanced reports' });
  expect(await button.getAttribute('aria-disabled')).toBe('true');
  await button.focus();
  await page.keyboard.press('Enter');
  expect(await page.getByRole('alert').count()).toBe(0);
  const description = await button.getAttribute('aria-describedby');
  expect(await page.locator(`[id="${description}"]`).textContent()).toContain('Advanced reports is not part of your plan');
});

test('a limit fills up, and then its button is disabled', async () => {
  const page = await open('retail-only');
  expect(await page.locator('.entitled-limit').first().textContent()).toContain('0 of 1');
  await page.getByRole('button', { name: 'Open a branch' }).click();
  await page.getByText('1 of 1').waitFor();
  await expect.poll(() => page.getByRole('button', { name: 'Open a branch' }).getAttribute('aria-disabled')).toBe('true');
  await picture(page, 'limit-reached');
});

test('dine alone: the till is locked, the restaurant open', async () => {
  const page = await open('dine-only', '/pos');
  const [shown] = await nav(page);
  expect(shown).toEqual(['Dashboard', 'Restaurant', 'Settings']);
  expect(await lock(page)).toEqual(['disabled', 'Retail is switched off for you']);
  await picture(page, 'dine-only-till');
  await page.getByRole('link', { name: 'Restaurant' }).click();
  await page.getByRole('heading', { name: 'Restaurant', level: 1 }).waitFor();
});

test('mixed: both are open, what is above the plan is not', async () => {
  const page = await open('mixed', '/zf');
  expect(await nav(page)).toEqual([
    ['Dashboard', 'Point of sale', 'Inventory', 'Restaurant', 'Accounting', 'Settings'],
    ['Payments', 'Staff', 'Web shop', 'Automation'],
  ]);
  expect(await page.locator('.entitled-remedies').textContent()).toBe('Upgrade to Enterprise');
  await picture(page, 'mixed-automation');
});

test('enterprise: everything is open, but for a permission that a user lacks', async () => {
  const page = await open('enterprise');
  expect(await nav(page)).toEqual([
    ['Dashboard', 'Point of sale', 'Inventory', 'Restaurant', 'Payments', 'Accounting', 'Staff', 'Web shop', 'Automation', 'Settings'],
    [],
  ]);
  await picture(page, 'enterprise');
  await context.close();
  const kims = await open('enterprise', '/settings', 'kim');
  const [shown] = await nav(kims);
  expect([shown.includes('Staff'), shown.includes('Settings'), shown.includes('Automation')]).toEqual([false, false, true]);
  await kims.getByRole('heading', { name: 'You may not do this' }).waitFor();
  await picture(kims, 'enterprise-without-permission');
});

test.each([
  ['no-subscription', 'no_subscription', 'You have no subscription', 'This shop has no subscription.'],
  ['suspended', 'suspended', 'Your account is suspended', 'This shop is suspended.'],
  ['cancelled', 'cancelled', 'Your subscription is cancelled', 'The subscription of this shop is cancelled.'],
  ['overdue', 'overdue', 'Retail is paused', 'An invoice of this shop is overdue.'],
])('%s: everything is locked for that reason', async (tenant, reason, title, banner) => {
  const page = await open(tenant, '/pos');
  const [shown] = await nav(page);
  expect(shown).toEqual(['Dashboard']);
  expect(await lock(page)).toEqual([reason, title]);
  expect(await page.locator('.blocked').textContent()).toBe(banner);
  await picture(page, tenant);
});

test.each([
  ['retail-only', '/'],
  ['retail-only', '/zf'],
  ['no-subscription', '/pos'],
  ['trial', '/settings'],
])('%s at %s keeps nobody out', async (tenant, path) => {
  const page = await open(tenant, path);
  if (path === '/') {
    await page.getByRole('button', { name: 'Ask the backend anyway' }).click();
    await page.getByRole('alert').waitFor();
  }
  expect(await barriers(page)).toEqual([]);
});

test('a locked page is reached and left by keyboard alone', async () => {
  const page = await open('retail-only');
  await page.getByRole('link', { name: 'Automation' }).focus();
  await page.keyboard.press('Enter');
  await page.locator('main [data-reason="plan_limit"]').waitFor();
  await page.getByRole('link', { name: 'Inventory' }).focus();
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Inventory', level: 1 }).waitFor();
});

test('the tenant is switched without a trace of the one before', async () => {
  const page = await open('enterprise', '/zf');
  await page.getByRole('heading', { name: 'Automation', level: 1 }).waitFor();
  await page.getByLabel('Tenant').selectOption('retail-only');
  await page.locator('main [data-reason="plan_limit"]').waitFor();
  await page.getByText('Plan Starter').waitFor();
  expect((await nav(page))[0]).not.toContain('Automation');
});

test('a trial that ends while the page is open locks it, without a reload', async () => {
  await asAdmin(entitled, 'POST', '/api/v1/admin/tenants', { key: 'short-trial', name: 'Short trial' });
  const trial_expires_at = new Date(Date.now() + 15_000).toISOString();
  await asAdmin(entitled, 'POST', '/api/v1/admin/tenants/short-trial/subscriptions', {
    plan: 'enterprise',
    status: 'trialing',
    trial_expires_at,
    change_reason: 'A trial that ends soon',
  });
  const page = await open('short-trial', '/zf');
  // The trial is long enough for a slow machine to open the page, and so is this to see its end.
  page.setDefaultTimeout(40_000);
  await page.getByRole('heading', { name: 'Automation', level: 1 }).waitFor();
  await page.locator('time.trial').waitFor();
  await picture(page, 'trial-runs');
  await page.evaluate(() => ((window as { same?: boolean }).same = true));
  await page.locator('main [data-reason="trial_expired"]').waitFor();
  expect(Date.now()).toBeGreaterThanOrEqual(Date.parse(trial_expires_at));
  await page.getByText('Trial ended').waitFor();
  expect(await page.evaluate(() => (window as { same?: boolean }).same)).toBe(true);
  await expect.poll(async () => (await nav(page))[0]).not.toContain('Automation');
  await picture(page, 'trial-ended');
});

test('an override that is granted while the page is open unlocks it, without a reload', async () => {
  const page = await open('retail-only', '/zf');
  expect((await lock(page))[0]).toBe('plan_limit');
  await page.evaluate(() => ((window as { same?: boolean }).same = true));
  // Only the stream can tell: the page asks by itself after a minute, which is longer than is waited.
  await asAdmin(entitled, 'POST', '/api/v1/admin/overrides', {
    tenant: 'retail-only',
    key: 'zf',
    enabled: true,
    reason: 'While the page is open',
    expires_at: new Date(Date.now() + 3_600_000).toISOString(),
  });
  await page.getByRole('heading', { name: 'Automation', level: 1 }).waitFor();
  expect(await page.evaluate(() => (window as { same?: boolean }).same)).toBe(true);
  expect((await nav(page))[0]).toContain('Automation');
  await picture(page, 'override-granted');
});
