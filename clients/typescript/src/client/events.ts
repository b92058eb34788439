/**
 * Listens to `GET /api/v1/events`: one message for each change that the caller may see.
 *
 * Read with `fetch`, since an `EventSource` can't send a credential. Goes on where it was after a
 * break, by the id of the last message; `resync` says that this was not possible.
 */

/** A change, as the server tells of it. */
export interface Change {
  seq: number;
  at: string;
  /** Null where everyone is touched. */
  tenant: string | null;
  version: number;
  /** What changed; empty where anything may have. */
  keys: string[];
  global: boolean;
  cause: string;
  /** True where the tenant is a sandbox, which is no customer. */
  sandbox?: boolean;
}

/** What a listener hears. */
export type Heard =
  /** Connected anew: what happened before is not told. */
  | { kind: 'hello' }
  | { kind: 'change'; change: Change }
  /** Something was missed: ask for everything again. */
  | { kind: 'resync' }
  /** Not connected any more; it tries again by itself, unless `final`. The status, if one was answered. */
  | { kind: 'lost'; final: boolean; status: number | null };

/** How to listen. */
export interface FollowOptions {
  /** Sends a request; the global `fetch` if left out. */
  fetch?: typeof fetch;
  /** Headers with a credential, asked for at each connection. */
  headers?: () => HeadersInit | Promise<HeadersInit>;
  /** Ends it. */
  signal: AbortSignal;
  /** Called with what is heard. */
  onHeard: (heard: Heard) => void;
  /** Waits; for tests. */
  sleep?: (ms: number, signal: AbortSignal) => Promise<void>;
  /** A stream that is silent for so long is taken for dead; 45,000 milliseconds if left out. */
  silenceMs?: number;
}

/** Listens until `signal`, or until the server says that there is nothing to listen to. */
export async function follow(url: string, options: FollowOptions): Promise<void> {
  const { signal, onHeard, sleep = pause } = options;
  let lastId: string | null = null;
  for (let failures = 0; !signal.aborted; ) {
    let final = false;
    let status: number | null = null;
    try {
      const headers = new Headers(await options.headers?.());
      headers.set('Accept', 'text/event-stream');
      if (lastId !== null) headers.set('Last-Event-ID', lastId);
      const silence = new Silence(options.silenceMs ?? 45_000);
      const stop = AbortSignal.any([signal, silence.signal]);
      try {
        const response = await (options.fetch ?? globalThis.fetch)(url, { headers, signal: stop, cache: 'no-store' });
        status = response.ok ? null : response.status;
        final = !response.ok && response.status < 500 && response.status !== 429;
        const type = response.headers.get('content-type') ?? '';
        if (!response.ok || response.body === null || !type.startsWith('text/event-stream')) {
          await response.body?.cancel();
          throw new Error(`no stream: ${response.status}`);
        }
        for await (const message of messages(response.body, () => silence.broken())) {
          failures = 0;
          lastId = message.id ?? lastId;
          const heard = understood(message);
          if (heard !== null) onHeard(heard);
        }
      } finally {
        silence.end();
      }
    } catch {
      // Whatever broke it: try again below.
    }
    if (signal.aborted) return;
    onHeard({ kind: 'lost', final, status });
    if (final) return;
    await sleep(Math.min(30_000, 250 * 2 ** failures) * (0.5 + Math.random() / 2), signal);
    failures += 1;
  }
}

/** One message of a stream. */
export interface Message {
  id: string | null;
  event: string;
  data: string;
}

/** Cuts a stream into messages. Comments and fields that are not known are left out. */
export async function* messages(body: ReadableStream<Uint8Array>, onBytes?: () => void): AsyncGenerator<Message> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      onBytes?.();
      // A carriage return at the end may be half of a line's end, so it waits for what follows.
      rest += decoder.decode(value, { stream: true });
      const held = rest.endsWith('\r') ? '\r' : '';
      const blocks = rest.slice(0, rest.length - held.length).replace(/\r\n?/g, '\n').split('\n\n');
      rest = (blocks.pop() ?? '') + held;
      for (const block of blocks) {
        const message = parse(block);
        if (message !== null) yield message;
      }
    }
  } finally {
    reader.cancel().catch(() => undefined);
  }
}

function parse(block: string): Message | null {
  const message: Message = { id: null, event: 'message', data: '' };
  const data: string[] = [];
  for (const line of block.split('\n')) {
    const colon = line.indexOf(':');
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (name === 'id') message.id = value;
    else if (name === 'event') message.event = value;
    else if (name === 'data') data.push(value);
  }
  if (data.length === 0 && message.id === null && message.event === 'message') return null;
  message.data = data.join('\n');
  return message;
}

function understood({ event, data }: Message): Heard | null {
  if (event === 'hello') return { kind: 'hello' };
  if (event === 'resync') return { kind: 'resync' };
  if (event !== 'change') return null;
  try {
    const change = JSON.parse(data) as Change;
    const whole = typeof change.version === 'number' && Array.isArray(change.keys);
    // What can't be read may concern us.
    return whole ? { kind: 'change', change } : { kind: 'resync' };
  } catch {
    return { kind: 'resync' };
  }
}

/** Ends what has been silent for too long: the server sends a comment every 15 seconds. */
class Silence {
  readonly #controller = new AbortController();
  readonly #ms: number;
  #timer: ReturnType<typeof setTimeout>;

  constructor(ms: number) {
    this.#ms = ms;
    this.#timer = this.#arm();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  broken(): void {
    clearTimeout(this.#timer);
    this.#timer = this.#arm();
  }

  end(): void {
    clearTimeout(this.#timer);
  }

  #arm() {
    return setTimeout(() => this.#controller.abort(), this.#ms);
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true });
  });
}
