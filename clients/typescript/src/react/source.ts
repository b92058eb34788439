/** Asks for the payload once, and says what came of it. Never throws, and never guesses. */
import { isEntitlements } from '../client/shapes.js';
import { readRetryAfter } from '../client/errors.js';
import type { Entitlements } from '../generated/types.gen.js';

/** Why there is no payload. */
export interface Failure {
  /**
   * `unreachable`: no answer. `server`: 5xx or 429. `unreadable`: no payload in the answer.
   * `unauthorized`: the credential isn't good any more. `refused`: any other 4xx.
   */
  kind: 'unreachable' | 'server' | 'unreadable' | 'unauthorized' | 'refused';
  /** The HTTP status, if there was an answer. */
  status: number | null;
  /** After how many milliseconds to ask again, if the server said so. */
  retryAfterMs: number | null;
}

/** What came of one request. */
export type Outcome =
  | { kind: 'fresh'; payload: Entitlements; etag: string | null; serverNow: number | null }
  | { kind: 'unchanged'; serverNow: number | null }
  | { kind: 'failed'; failure: Failure };

/** How to ask. */
export interface SourceOptions {
  /** Where the payload is. */
  url: string;
  /** Headers with a credential, asked for at each request; none where a cookie does it. */
  headers?: (() => HeadersInit | Promise<HeadersInit>) | undefined;
  /** Sends a request; the global `fetch` if left out. */
  fetch?: typeof fetch | undefined;
  /** How long an answer may take, in milliseconds; 10,000 if left out. */
  timeoutMs?: number | undefined;
}

/** Asks once. */
export async function load(options: SourceOptions, etag: string | null, signal: AbortSignal): Promise<Outcome> {
  let response: Response;
  let text: string;
  try {
    const headers = new Headers(await options.headers?.());
    headers.set('Accept', 'application/json');
    if (etag !== null) headers.set('If-None-Match', etag);
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(options.timeoutMs ?? 10_000)]);
    // The tag is ours to send: a browser's own cache would answer 200 with what it kept.
    const init: RequestInit = { headers, signal: deadline, cache: 'no-store' };
    response = await (options.fetch ?? globalThis.fetch)(options.url, init);
    text = await response.text();
  } catch {
    return failed('unreachable', null, null);
  }
  const { status } = response;
  const serverNow = instant(response.headers.get('date'));
  if (status === 304 && etag !== null) return { kind: 'unchanged', serverNow };
  if (status === 200) {
    const payload = parse(text);
    if (!isEntitlements(payload)) return failed('unreadable', status, null);
    return { kind: 'fresh', payload, etag: response.headers.get('etag'), serverNow };
  }
  const after = readRetryAfter(response.headers.get('retry-after'), Date.now());
  if (status === 401) return failed('unauthorized', status, after);
  if (status >= 500 || status === 429) return failed('server', status, after);
  return failed(status >= 400 ? 'refused' : 'unreadable', status, after);
}

function failed(kind: Failure['kind'], status: number | null, retryAfterMs: number | null): Outcome {
  return { kind: 'failed', failure: { kind, status, retryAfterMs } };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function instant(date: string | null): number | null {
  const read = Date.parse(date ?? '');
  return Number.isNaN(read) ? null : read;
}
