/**
 * Knows the entitlements of one identity, and keeps them fresh.
 *
 * Invariants: one request at a time, whoever asks; what is known stays while it is asked for again;
 * what is known is given up at the end that the server named, unless it was confirmed again, and
 * when the server says that the caller may not know it.
 */
import { follow } from '../client/events.js';
import type { Heard } from '../client/events.js';
import type { Entitlements } from '../generated/types.gen.js';
import type { View } from './access.js';
import { load } from './source.js';
import type { Failure, Outcome, SourceOptions } from './source.js';
import { recall, remember } from './storage.js';
import type { KeyValue, Kept } from './storage.js';

/** What a store can be told. */
export interface StoreOptions extends SourceOptions {
  /** Whose entitlements these are; needed for `storage`. */
  identity?: string | undefined;
  /** A payload that came with the page. */
  initial?: Entitlements | null | undefined;
  /** Where to keep it between visits. */
  storage?: KeyValue | null | undefined;
  /** Where changes are told, by `GET /api/v1/events`. */
  eventsUrl?: string | undefined;
  /** How often to ask while no stream is connected; 60,000 milliseconds if left out, 0 for never. */
  pollMs?: number | undefined;
  /** What holds while the server can't be asked: the last answers until their end, or nothing. */
  outage?: 'last_known' | 'deny' | undefined;
  /** For how long the last answers hold in an outage at most; an hour if left out. */
  keepForMs?: number | undefined;
  /** Gets a new credential; true if there is one, so that it is tried again. */
  onUnauthorized?: (() => boolean | Promise<boolean>) | undefined;
  /** The time; for tests. */
  clock?: (() => number) | undefined;
}

/** What is known now. Replaced as a whole, never changed. */
export interface Snapshot extends View {
  /** What went wrong last, null once an answer came. */
  failure: Failure | null;
}

const HOUR = 3_600_000;
const LONGEST_TIMER = 24 * HOUR;
const RELISTEN = 30_000;
/** How far in the future a payload may have been confirmed: clocks differ a little. */
const SLACK = 300_000;

/** See the head of this file. */
export class EntitlementsStore {
  readonly #options: StoreOptions;
  readonly #listeners = new Set<() => void>();
  readonly #selected = new Map<string, { of: Snapshot; value: unknown }>();
  readonly #atServer: Snapshot;
  #snapshot: Snapshot;
  #kept: Kept | null;
  /** How far the server's clock is ahead of ours. */
  #ahead = 0;
  #failures = 0;
  #running: AbortController | null = null;
  #users = 0;
  #asking: Promise<void> | null = null;
  #askAgain = false;
  #live = false;
  /** The stream ended for a credential that isn't good any more; and since when it is listened to. */
  #deaf = false;
  #listeningSince = 0;
  #timers: { due?: ReturnType<typeof setTimeout>; next?: ReturnType<typeof setTimeout> } = {};

  constructor(options: StoreOptions) {
    this.#options = options;
    const { initial, storage, identity } = options;
    const now = this.#now();
    this.#kept = initial ? { payload: initial, etag: null, confirmedAt: now } : null;
    this.#atServer = this.#view(null);
    if (this.#kept === null && storage && identity !== undefined) {
      const kept = recall(storage, identity);
      this.#kept = kept !== null && this.#holds(kept) ? kept : null;
    }
    this.#snapshot = this.#view(null);
  }

  /** Calls `listener` whenever something else is known; returns how to end that. */
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** What is known now. */
  readonly getSnapshot = (): Snapshot => this.#snapshot;

  /** What a page that is rendered on a server knows: no more than what came with it. */
  readonly getServerSnapshot = (): Snapshot => this.#atServer;

  /** Something made of what is known; the same object for as long as it is equal. */
  select<T>(name: string, of: Snapshot, compute: (snapshot: Snapshot) => T): T {
    const known = this.#selected.get(name);
    if (known?.of === of) return known.value as T;
    const fresh = compute(of);
    const equal = known !== undefined && JSON.stringify(known.value) === JSON.stringify(fresh);
    const value = equal ? (known.value as T) : fresh;
    if (this.#selected.size >= 1000) this.#selected.clear();
    this.#selected.set(name, { of, value });
    return value;
  }

  /** Keeps it fresh until the function that is returned is called, by everyone who started it. */
  start(): () => void {
    this.#users += 1;
    if (this.#users === 1) this.#run();
    let ended = false;
    return () => {
      if (ended) return;
      ended = true;
      this.#users -= 1;
      if (this.#users === 0) this.#stop();
    };
  }

  /** Asks again, once for however many ask at the same time. */
  refresh(): Promise<void> {
    if (this.#asking !== null) {
      // The answer on its way may be older than what made us ask.
      this.#askAgain = true;
      return this.#asking;
    }
    const signal = this.#running?.signal ?? new AbortController().signal;
    const asking = this.#ask(signal).finally(() => {
      // After a stop and a new start there is another one.
      if (this.#asking === asking) this.#asking = null;
    });
    this.#asking = asking;
    return asking;
  }

  #run(): void {
    const running = new AbortController();
    this.#running = running;
    this.#listen(running.signal);
    if (typeof window !== 'undefined') {
      const { signal } = running;
      const seen = () => {
        if (document.visibilityState === 'hidden') return;
        // A computer that slept has missed its timers.
        this.#tick();
        void this.refresh();
      };
      window.addEventListener('focus', seen, { signal });
      window.addEventListener('online', seen, { signal });
      document.addEventListener('visibilitychange', seen, { signal });
    }
    void this.refresh();
  }

  #listen(signal: AbortSignal): void {
    const { eventsUrl, fetch, headers } = this.#options;
    if (eventsUrl === undefined) return;
    this.#deaf = false;
    this.#listeningSince = this.#local();
    const onHeard = (heard: Heard) => this.#hear(heard);
    void follow(eventsUrl, { ...(fetch && { fetch }), ...(headers && { headers }), signal, onHeard });
  }

  #stop(): void {
    this.#running?.abort();
    this.#running = null;
    this.#asking = null;
    this.#live = false;
    clearTimeout(this.#timers.due);
    clearTimeout(this.#timers.next);
  }

  async #ask(signal: AbortSignal): Promise<void> {
    let mayRenew = this.#options.onUnauthorized !== undefined;
    do {
      this.#askAgain = false;
      const outcome = await load(this.#options, this.#kept?.etag ?? null, signal);
      if (signal.aborted) return;
      const unauthorized = outcome.kind === 'failed' && outcome.failure.kind === 'unauthorized';
      if (unauthorized && mayRenew && (await this.#renewed())) {
        this.#askAgain = true;
        mayRenew = false;
        continue;
      }
      if (signal.aborted) return;
      this.#take(outcome);
    } while (this.#askAgain && this.#failures === 0);
    this.#plan();
  }

  async #renewed(): Promise<boolean> {
    try {
      return (await this.#options.onUnauthorized?.()) === true;
    } catch {
      return false;
    }
  }

  #take(outcome: Outcome): void {
    if (outcome.kind === 'failed') return this.#fail(outcome.failure);
    this.#failures = 0;
    this.#follow(outcome.serverNow);
    const confirmedAt = this.#now();
    if (outcome.kind === 'fresh') {
      this.#kept = { payload: outcome.payload, etag: outcome.etag, confirmedAt };
    } else if (this.#kept !== null) {
      this.#kept = { ...this.#kept, confirmedAt };
    }
    this.#remember();
    this.#show(this.#view(null));
    // The credential is good again. Not at once, if the stream alone refuses it.
    const rested = this.#local() - this.#listeningSince >= RELISTEN;
    if (this.#deaf && rested && this.#running !== null) this.#listen(this.#running.signal);
  }

  #fail(failure: Failure): void {
    this.#failures += 1;
    const mine = failure.kind === 'unauthorized' || failure.kind === 'refused';
    const usable = !mine && this.#options.outage !== 'deny' && this.#kept !== null && this.#holds(this.#kept);
    if (!usable) {
      this.#kept = null;
      if (mine) this.#remember();
    }
    this.#show(this.#view(failure));
  }

  /** Takes what was kept for what is known. */
  #view(failure: Failure | null): Snapshot {
    const payload = this.#kept?.payload ?? null;
    const loading = payload === null && failure === null;
    return { payload, loading, stale: payload !== null && failure !== null, failure, asOf: this.#now() };
  }

  #show(snapshot: Snapshot): void {
    this.#snapshot = snapshot;
    for (const listener of this.#listeners) listener();
  }

  /** Whether it may still be shown without asking. */
  #holds({ payload, confirmedAt }: Kept): boolean {
    const now = this.#now();
    const end = until(payload);
    const age = now - confirmedAt;
    return (end === null || now < end) && age > -SLACK && age < (this.#options.keepForMs ?? HOUR);
  }

  /** Judges by the present instant: what has ended by itself is not allowed from now on. */
  #tick(): void {
    this.#show({ ...this.#snapshot, asOf: this.#now() });
  }

  /** Plans when to ask next: at the end that the payload names, after a failure, or now and then. */
  #plan(): void {
    clearTimeout(this.#timers.due);
    clearTimeout(this.#timers.next);
    if (this.#running === null) return;
    const end = this.#kept === null ? null : until(this.#kept.payload);
    if (end !== null) {
      // A server whose clock is behind names an end that has passed; it is asked again shortly.
      const wait = Math.min(Math.max(end - this.#now(), 200), LONGEST_TIMER);
      this.#timers.due = setTimeout(() => {
        this.#tick();
        void this.refresh();
      }, wait);
    }
    const next = this.#nextMs();
    if (next > 0) this.#timers.next = setTimeout(() => void this.refresh(), next);
  }

  #nextMs(): number {
    const { failure } = this.#snapshot;
    if (failure !== null) {
      const backoff = Math.min(60_000, 1000 * 2 ** (this.#failures - 1));
      return Math.max(failure.retryAfterMs ?? 0, backoff * (0.75 + Math.random() / 4));
    }
    return this.#live ? 0 : (this.#options.pollMs ?? 60_000);
  }

  #hear(heard: Heard): void {
    switch (heard.kind) {
      case 'hello':
      case 'resync':
        this.#live = true;
        // Something may have happened between the payload and this.
        void this.refresh();
        return;
      case 'change': {
        this.#live = true;
        const { tenant, version, global } = heard.change;
        const payload = this.#kept?.payload;
        const others = !global && tenant !== null && payload !== undefined && tenant !== payload.tenant;
        if (!others && (payload === undefined || version > payload.version || heard.change.cause === 'time')) {
          void this.refresh();
        }
        return;
      }
      case 'lost':
        // Of each further try to connect, there is nothing to plan.
        if (this.#live) {
          this.#live = false;
          this.#plan();
        }
        if (heard.final && heard.status === 401) {
          this.#deaf = true;
          void this.refresh();
        }
    }
  }

  #follow(serverNow: number | null): void {
    if (serverNow === null) return;
    const ahead = serverNow - this.#local();
    // The header has whole seconds, and took a while to arrive.
    this.#ahead = Math.abs(ahead) > 3000 ? ahead : 0;
  }

  #remember(): void {
    const { storage, identity } = this.#options;
    if (storage && identity !== undefined) remember(storage, identity, this.#kept);
  }

  /** The server's time, as far as it is known. */
  #now(): number {
    return this.#local() + this.#ahead;
  }

  #local(): number {
    return (this.#options.clock ?? Date.now)();
  }
}

/** The end that the payload names, in milliseconds; no earlier than the server's own instant. */
function until(payload: Entitlements): number | null {
  // An instant has microseconds, a number of milliseconds cuts them off.
  return payload.valid_until === null ? null : Date.parse(payload.valid_until) + 1;
}
