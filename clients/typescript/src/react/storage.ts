/** Keeps the last payload of one identity, so that a page that is opened again knows at once. */
import { isEntitlements, isObject } from '../client/shapes.js';
import type { Entitlements } from '../generated/types.gen.js';

/** What is kept. */
export interface Kept {
  payload: Entitlements;
  etag: string | null;
  /** When the server last confirmed it, in milliseconds. */
  confirmedAt: number;
}

/** Where it is kept: `localStorage`, `sessionStorage`, or something alike. */
export type KeyValue = Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>;

// Raised when what is kept changes its form: another form is not read.
const FORMAT = 1;

/** Reads what was kept for `identity`; null where there is nothing usable. */
export function recall(storage: KeyValue, identity: string): Kept | null {
  try {
    const kept: unknown = JSON.parse(storage.getItem(name(identity)) ?? 'null');
    if (!isObject(kept) || kept.format !== FORMAT || kept.identity !== identity) return null;
    const { payload, etag, confirmedAt } = kept;
    if (!isEntitlements(payload) || typeof confirmedAt !== 'number') return null;
    return { payload, etag: typeof etag === 'string' ? etag : null, confirmedAt };
  } catch {
    // Storage can be switched off, or hold something else.
    return null;
  }
}

/** Keeps it, or forgets it. */
export function remember(storage: KeyValue, identity: string, kept: Kept | null): void {
  try {
    if (kept === null) storage.removeItem(name(identity));
    else storage.setItem(name(identity), JSON.stringify({ format: FORMAT, identity, ...kept }));
  } catch {
    // A full storage only costs the next start its head start.
  }
}

function name(identity: string): string {
  return `entitled:${identity}`;
}
