/** A `fetch` whose answers a test decides, for what runs in a browser. */
import { payload } from './fake.js';
import type { Entitlements } from '../src/index.js';

/** An answer: a response, or that none came. */
export type Answer = (() => Response) | 'unreachable';

/** Answers with the next of `answers`, and for ever with the last; more can be put in. */
export function answering(...answers: Answer[]) {
  const asked: { url: string; headers: Headers }[] = [];
  const held: (() => void)[] = [];
  let hold = false;
  const send = (async (input: RequestInfo | URL, init?: RequestInit) => {
    asked.push({ url: String(input), headers: new Headers(init?.headers) });
    const answer = answers.length > 1 ? answers.shift() : answers[0];
    if (hold) await new Promise<void>((go) => held.push(go));
    if (answer === undefined || answer === 'unreachable') throw new TypeError('fetch failed');
    return answer();
  }) as typeof fetch;
  return {
    fetch: send,
    asked,
    /** Replaces all further answers. */
    now(...next: Answer[]) {
      answers.splice(0, answers.length, ...next);
    },
    /** Keeps answers back until the function that is returned is called. */
    holdBack() {
      hold = true;
      return () => {
        hold = false;
        held.splice(0).forEach((go) => go());
      };
    },
  };
}

/** A payload as a response. */
export function ok(changes: Partial<Entitlements> = {}, etag = '"a"'): Answer {
  return () => Response.json(payload(changes), { headers: { etag } });
}

/** Nothing has changed. */
export const unchanged: Answer = () => new Response(null, { status: 304 });

/** A status with no more than that. */
export function status(code: number, body = '', headers: Record<string, string> = {}): Answer {
  return () => new Response(body, { status: code, headers });
}
