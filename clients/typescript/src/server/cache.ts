/**
 * Decisions for a short time, in this process.
 *
 * Invariants: nothing past its `valid_until`; nothing that is older than the newest version that
 * was seen of its tenant; never more than `size`. The server caches facts and this caches decisions:
 * so what it says may be as old as its lifetime, which is why that is short.
 */
import type { Decision } from '../generated/types.gen.js';

/** How long, and how many. */
export interface CacheOptions {
  /** For how long a decision is used without asking, in milliseconds. */
  freshMs: number;
  /** For how long it is remembered for an outage. */
  keepMs: number;
  /** How many are remembered. */
  size: number;
}

interface Entry {
  owner: string;
  decision: Decision;
  at: number;
  end: number;
}

/** See the head of this file. */
export class DecisionCache {
  readonly #options: CacheOptions;
  readonly #entries = new Map<string, Entry>();
  /** The newest version of each tenant, and of what touches all of them. */
  readonly #versions = new Map<string, number>();
  #floor = 0;
  #epoch = 0;

  constructor(options: CacheOptions) {
    this.#options = options;
  }

  /** A decision that may be used without asking. */
  fresh(key: string, now: number): Decision | null {
    return this.#find(key, now, this.#options.freshMs);
  }

  /** The last decision that is known, for an outage. */
  lastKnown(key: string, now: number): Decision | null {
    return this.#find(key, now, this.#options.keepMs);
  }

  /** To be handed to `put` by whoever asks from now on. */
  get epoch(): number {
    return this.#epoch;
  }

  /** Remembers a decision, unless it was overtaken on its way. */
  put(key: string, owner: string, decision: Decision, now: number, epoch: number): void {
    this.seen(owner, decision.version);
    if (this.#isOld(owner, decision) || epoch !== this.#epoch) return;
    const end = decision.valid_until === null ? Infinity : Date.parse(decision.valid_until);
    this.#entries.delete(key);
    this.#entries.set(key, { owner, decision, at: now, end: Number.isNaN(end) ? now : end });
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= this.#options.size) break;
      this.#entries.delete(oldest);
    }
  }

  /** Takes notice that a tenant has a version: what is older is not used any more. */
  seen(owner: string, version: number): void {
    if (version <= (this.#versions.get(owner) ?? -1)) return;
    this.#versions.delete(owner);
    this.#versions.set(owner, version);
    for (const oldest of this.#versions.keys()) {
      if (this.#versions.size <= this.#options.size) break;
      // Without its version, an entry could not be told from an old one.
      this.#versions.delete(oldest);
      for (const [key, entry] of this.#entries) if (entry.owner === oldest) this.#entries.delete(key);
    }
  }

  /** Takes notice of a version of everyone. */
  seenByAll(version: number): void {
    this.#floor = Math.max(this.#floor, version);
  }

  /** Forgets everything, and what is being asked for now. */
  clear(): void {
    this.#entries.clear();
    this.#epoch += 1;
  }

  #isOld(owner: string, { version }: Decision): boolean {
    return version < Math.max(this.#floor, this.#versions.get(owner) ?? 0);
  }

  #find(key: string, now: number, age: number): Decision | null {
    const entry = this.#entries.get(key);
    if (entry === undefined) return null;
    const { owner, decision, at, end } = entry;
    if (now >= end || this.#isOld(owner, decision)) {
      this.#entries.delete(key);
      return null;
    }
    return now - at < age ? decision : null;
  }
}
