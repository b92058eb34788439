/** The real server, the example on top of it, and a real browser. */
import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { chromium } from 'playwright-core';
import type { Browser, Page } from 'playwright-core';
import { build } from 'vite';
import { shopBackend } from '../../../examples/react-shop/server/backend.js';
import { aliases } from './aliases.js';

const client = join(import.meta.dirname, '..');
const repository = join(client, '../..');
const example = join(repository, 'examples/react-shop');

/** `entitled serve --demo`, of which the retail product is used. */
export interface Entitled {
  url: string;
  admin: string;
  service: string;
  process: ChildProcess;
  stop: () => Promise<void>;
}

/** Starts the binary that cargo has built; builds it where there is none. */
export async function startEntitled(): Promise<Entitled> {
  const binary = process.env.ENTITLED_BIN ?? join(repository, 'target/debug/entitled');
  if (!existsSync(binary)) execFileSync('cargo', ['build', '--locked'], { cwd: repository, stdio: 'inherit' });
  // The server takes every variable of that prefix for a setting.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('ENTITLED_')));
  const child = spawn(binary, ['serve', '--demo', '--listen', '127.0.0.1:0'], {
    stdio: ['ignore', 'pipe', 'pipe'],
    cwd: tmpdir(),
    env,
  });
  let printed = '';
  let errors = '';
  child.stderr.on('data', (part) => (errors = (errors + String(part)).slice(-4000)));
  const ended = new Promise<void>((done) => child.once('exit', () => done()));
  for await (const part of child.stdout) {
    printed += String(part);
    const found = [/^retail: (\S+)/m, /^ +super_admin +(\S+)/m, /^ +service +(\S+)/m].map((it) => it.exec(printed)?.[1]);
    const [url, admin, service] = found;
    if (url && admin && service) {
      child.stdout.resume();
      const stop = async () => (child.kill('SIGTERM'), ended);
      return { url, admin, service, process: child, stop };
    }
  }
  throw new Error(`The server has ended:\n${printed}\n${errors}`);
}

/** Calls the server as its super admin. */
export async function asAdmin(entitled: Entitled, method: string, path: string, body: unknown): Promise<unknown> {
  const headers = { Authorization: `Bearer ${entitled.admin}`, 'Content-Type': 'application/json' };
  const response = await fetch(entitled.url + path, { method, headers, body: JSON.stringify(body) });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return text === '' ? null : JSON.parse(text);
}

/** Builds the example as it would be shipped. */
export async function buildShop(): Promise<string> {
  const outDir = await mkdtemp(join(tmpdir(), 'react-shop-'));
  await build({
    root: example,
    configFile: false,
    logLevel: 'warn',
    resolve: { alias: aliases },
    build: { outDir, emptyOutDir: true, minify: false },
  });
  return outDir;
}

/** The shop: its pages, and its backend that talks to `entitled`. */
export async function startShop(pages: string, entitled: { url: string; service: string }) {
  const backend = shopBackend({ url: entitled.url, key: entitled.service });
  const server = createServer((request, response) => {
    backend(request, response, () => void serveFile(pages, request.url ?? '/').then(({ type, body }) => {
      response.writeHead(200, { 'Content-Type': type }).end(body);
    }));
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, stop: () => end(server) };
}

async function serveFile(pages: string, url: string): Promise<{ type: string; body: Buffer }> {
  const { pathname } = new URL(url, 'http://shop');
  const types: Record<string, string> = { '.js': 'text/javascript', '.css': 'text/css' };
  const type = types[extname(pathname)];
  // Every other path is a page of the one application.
  if (type === undefined) return { type: 'text/html', body: await readFile(join(pages, 'index.html')) };
  return { type, body: await readFile(join(pages, 'assets', pathname.split('/').at(-1) ?? '')) };
}

async function end(server: Server): Promise<void> {
  server.closeAllConnections();
  await new Promise((done) => server.close(done));
}

/** Starts Debian's Chromium. */
export async function startBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: process.env.ENTITLED_CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}

/** Takes a picture, to be looked at. */
export async function picture(page: Page, name: string): Promise<void> {
  const dir = join(client, 'e2e/screenshots');
  await mkdir(dir, { recursive: true });
  await page.screenshot({ path: join(dir, `${name}.png`), fullPage: true });
}

/** Removes what `buildShop` made. */
export const removeShop = (pages: string) => rm(pages, { recursive: true, force: true });
