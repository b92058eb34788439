/**
 * A `fetch` with a deadline that tries again on 503, and only where the server said when.
 *
 * Nothing else is tried again: an error of the network leaves open whether the request was carried
 * out, and the caller knows better whether that matters.
 */
import { UnreachableError, readRetryAfter } from './errors.js';

/** How requests are sent. */
export interface TransportOptions {
  /** Sends a request; the global `fetch` if left out. */
  fetch?: typeof fetch;
  /** How long one try may take, in milliseconds; 5,000 if left out. */
  timeoutMs?: number;
  /** How many times a 503 with `Retry-After` is tried again; 2 if left out. */
  retries?: number;
  /** A longer `Retry-After` than this is not waited for; 5,000 milliseconds if left out. */
  maxRetryAfterMs?: number;
  /** Waits; for tests. */
  sleep?: (ms: number) => Promise<void>;
}

/** Makes the `fetch` that the client uses. */
export function transport(options: TransportOptions = {}): typeof fetch {
  const { timeoutMs = 5000, retries = 2, maxRetryAfterMs = 5000, sleep = wait } = options;
  return async (input, init) => {
    const send = options.fetch ?? globalThis.fetch;
    const request = new Request(input, init);
    for (let tried = 0; ; tried += 1) {
      // A body can be read once; what is kept back is for the next try.
      const response = await once(send, request.clone(), timeoutMs);
      if (response.status !== 503 || tried >= retries) return response;
      const after = readRetryAfter(response.headers.get('retry-after'), Date.now());
      if (after === null || after > maxRetryAfterMs) return response;
      await response.body?.cancel();
      await sleep(after);
    }
  };
}

async function once(send: typeof fetch, request: Request, timeoutMs: number): Promise<Response> {
  const signal = AbortSignal.any([request.signal, AbortSignal.timeout(timeoutMs)]);
  try {
    return await send(new Request(request, { signal }));
  } catch (cause) {
    // What the caller cancelled is the caller's own error.
    if (request.signal.aborted) throw cause;
    throw new UnreachableError(`No answer from ${new URL(request.url).origin}.`, { cause });
  }
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
