import { createServer } from 'node:http';
import type { ServerResponse } from 'node:http';
import { afterEach, expect, test, vi } from 'vitest';
import { follow, messages } from '../src/client/events.js';
import type { Heard } from '../src/client/events.js';
import { EntitlementsStore } from '../src/react/store.js';
import { close, listen, payload } from './fake.js';

const ends: (() => unknown)[] = [];
afterEach(async () => {
  await Promise.all(ends.splice(0).map((end) => end()));
});

const change = (seq: number, more: object = {}) =>
  `id: ${seq}\nevent: change\ndata: ${JSON.stringify({ seq, at: '2026-03-01T12:00:00Z', tenant: 'acme', version: seq, keys: ['zf'], global: false, cause: 'entitlement.override.created', ...more })}\n\n`;
const hello = 'event: hello\nid: 5\ndata: {"seq":5}\n\n';

/** A server of events: each connection is handed to `serve` in turn. */
async function events(...serve: ((response: ServerResponse) => void)[]) {
  const ids: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    ids.push(request.headers['last-event-id'] as string | undefined);
    const next = serve[Math.min(ids.length, serve.length) - 1];
    response.setHeader('content-type', 'text/event-stream');
    next?.(response);
  });
  ends.push(() => close(server));
  return { url: await listen(server), ids };
}

/** Listens until so many things were heard. */
async function hear(url: string, many: number): Promise<Heard[]> {
  const heard: Heard[] = [];
  const stop = new AbortController();
  ends.push(() => stop.abort());
  await follow(url, {
    signal: stop.signal,
    sleep: () => Promise.resolve(),
    onHeard: (it) => {
      heard.push(it);
      if (heard.length >= many) stop.abort();
    },
  });
  return heard;
}

async function cut(...parts: string[]) {
  const bytes = parts.map((part) => new TextEncoder().encode(part));
  const found = [];
  const stream = new ReadableStream<Uint8Array>({
    start(controller) {
      bytes.forEach((part) => controller.enqueue(part));
      controller.close();
    },
  });
  for await (const message of messages(stream)) found.push(message);
  return found;
}

test('a stream is cut into messages wherever its parts begin', async () => {
  const whole = `: keep-alive\n\n${hello}${change(6)}`;
  const expected = await cut(whole);
  expect(expected.map(({ id, event }) => [id, event])).toEqual([['5', 'hello'], ['6', 'change']]);
  expect(await cut(...whole)).toEqual(expected);
  expect(await cut(...whole.replaceAll('\n', '\r\n'))).toEqual(expected);
});

test('half a message at the end is none', async () => {
  expect(await cut(hello, 'id: 6\nevent: change\ndata: {')).toHaveLength(1);
});

test('after a break it goes on from the last message', async () => {
  const { url, ids } = await events(
    (response) => response.end(hello + change(6)),
    (response) => response.write(change(7)),
  );
  const heard = await hear(url, 4);
  expect(heard.map((it) => it.kind)).toEqual(['hello', 'change', 'lost', 'change']);
  expect(ids).toEqual([undefined, '6']);
});

test('where it was dropped or the server ends, it comes back', async () => {
  const { url, ids } = await events(
    (response) => response.end(`${hello}event: dropped\ndata: {"seq":5}\n\n`),
    (response) => response.end('event: end\ndata: {"reason":"shutdown"}\n\n'),
    (response) => response.write('id: 90\nevent: resync\ndata: {"seq":90,"reason":"too_old"}\n\n'),
  );
  const heard = await hear(url, 4);
  expect(heard.map((it) => it.kind)).toEqual(['hello', 'lost', 'lost', 'resync']);
  expect(ids).toEqual([undefined, '5', '5']);
});

test('a change that can not be read asks for everything again', async () => {
  const { url } = await events((response) => response.write('event: change\ndata: {"seq"\n\nevent: change\ndata: {}\n\nevent: planet\ndata: 1\n\n' + change(8)));
  expect((await hear(url, 3)).map((it) => it.kind)).toEqual(['resync', 'resync', 'change']);
});

test.each([401, 403, 404])('a %i ends it for good', async (status) => {
  const { url, ids } = await events((response) => response.writeHead(status).end());
  expect(await hear(url, 99)).toEqual([{ kind: 'lost', final: true, status }]);
  expect(ids).toHaveLength(1);
});

test('a 503 and a page that is no stream are tried again', async () => {
  const { url } = await events(
    (response) => response.writeHead(503).end(),
    (response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<html>'),
    (response) => response.write(hello),
  );
  expect((await hear(url, 3)).map((it) => it.kind)).toEqual(['lost', 'lost', 'hello']);
});

/** A store that listens; gives the number of requests after each message that `say` sends. */
async function listening() {
  let stream: ServerResponse | undefined;
  let asked = 0;
  const server = createServer((request, response) => {
    if (request.url === '/events') {
      stream = response.writeHead(200, { 'content-type': 'text/event-stream' });
      stream.write(hello);
      return;
    }
    asked += 1;
    response.setHeader('content-type', 'application/json').end(JSON.stringify(payload({ version: asked })));
  });
  ends.push(() => close(server));
  const url = await listen(server);
  const store = new EntitlementsStore({ url: `${url}/e`, eventsUrl: `${url}/events`, pollMs: 0 });
  ends.push(store.start());
  const version = (wanted: number) =>
    new Promise<void>((done) => {
      const look = () => store.getSnapshot().payload?.version === wanted && (off(), done());
      const off = store.subscribe(look);
      look();
    });
  // The first request, and the one when the stream began.
  await version(2);
  return { version, store, say: (text: string) => void stream?.write(text), asked: () => asked };
}

test('a change that touches the tenant refreshes', async () => {
  const { say, version } = await listening();
  say(change(900));
  await version(3);
  say(change(901, { tenant: null, global: true, keys: [] }));
  await version(4);
  say('event: resync\nid: 902\ndata: {"seq":902,"reason":"too_old"}\n\n');
  await version(5);
});

test('a change of another tenant, or one that is known already, does not', async () => {
  const { say, version, asked } = await listening();
  say(change(900, { tenant: 'globex' }) + change(901, { version: 2 }));
  say(change(902));
  await version(3);
  expect(asked()).toBe(3);
});

test('a boundary of time refreshes, though no version is new', async () => {
  const { say, version } = await listening();
  say(change(900, { version: 1, cause: 'time' }));
  await version(3);
});

test('a stream that ended with the credential is listened to again once there is a new one', async () => {
  let token = 'old';
  const streams: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    const given = request.headers.authorization;
    if (request.url === '/events') streams.push(given);
    if (given !== 'Bearer new') return void response.writeHead(401).end();
    if (request.url === '/events') return void response.writeHead(200, { 'content-type': 'text/event-stream' }).write(hello);
    response.setHeader('content-type', 'application/json').end(JSON.stringify(payload()));
  });
  ends.push(() => close(server));
  const url = await listen(server);
  // Half a minute passes at each look, so that nothing has to wait.
  let now = Date.now();
  const store = new EntitlementsStore({
    url: `${url}/e`,
    eventsUrl: `${url}/events`,
    pollMs: 0,
    clock: () => (now += 30_000),
    headers: () => ({ Authorization: `Bearer ${token}` }),
    onUnauthorized: () => ((token = 'new'), true),
  });
  ends.push(store.start());
  await vi.waitFor(() => expect(streams.at(-1)).toBe('Bearer new'), 10_000);
  expect(store.getSnapshot().payload?.version).toBe(7);
});
