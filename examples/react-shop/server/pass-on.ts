/** Hands a request of the page on to entitled with the shop's key, and streams the answer back. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

const DOWN = ['if-none-match', 'last-event-id', 'accept'];
const UP = ['content-type', 'etag', 'retry-after', 'cache-control', 'x-request-id'];

export async function passOn(request: IncomingMessage, response: ServerResponse, url: string, key: string): Promise<void> {
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  const headers = new Headers({ Authorization: `Bearer ${key}` });
  for (const name of DOWN) {
    const value = request.headers[name];
    if (typeof value === 'string') headers.set(name, value);
  }
  try {
    const answer = await fetch(url, { headers, signal: gone.signal });
    response.statusCode = answer.status;
    for (const name of UP) {
      const value = answer.headers.get(name);
      if (value !== null) response.setHeader(name, value);
    }
    response.flushHeaders();
    if (answer.body === null) response.end();
    else await pipeline(Readable.fromWeb(answer.body as Parameters<typeof Readable.fromWeb>[0]), response);
  } catch {
    // The page has gone, or entitled is not there.
    if (!response.headersSent) response.writeHead(502).end();
    else response.destroy();
  }
}
