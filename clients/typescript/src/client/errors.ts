/**
 * What can go wrong, as types to branch on. A refusal is not among them: it is an answer.
 */
import type { Problem } from '../generated/types.gen.js';

/** The base of every error that this package throws. */
export abstract class EntitledError extends Error {
  /** What kind of error it is. */
  abstract readonly kind: 'problem' | 'unreachable' | 'unreadable';
}

/** The server answered with a problem (RFC 9457), or with an error status and no problem. */
export class ProblemError extends EntitledError {
  override readonly name = 'ProblemError';
  readonly kind = 'problem';
  /** The HTTP status. */
  readonly status: number;
  /** What is the matter, for programs: `UNKNOWN_KEY`, `TENANT_NOT_FOUND`, … */
  readonly code: string;
  /** What is wrong with each field. */
  readonly fields: Readonly<Record<string, readonly string[]>>;
  /** To find the request in the server's log. */
  readonly requestId: string | null;
  /** After how many milliseconds to try again, where the server said so. */
  readonly retryAfterMs: number | null;
  /** The problem as it was sent; null where something else than the server answered. */
  readonly problem: Problem | null;

  constructor(status: number, problem: Problem | null, headers?: Headers) {
    super(problem?.detail ?? `The server answered with ${status} and no problem details.`);
    this.status = status;
    this.code = problem?.code ?? `HTTP_${status}`;
    this.fields = problem?.fields ?? {};
    this.requestId = problem?.request_id ?? headers?.get('x-request-id') ?? null;
    this.retryAfterMs = readRetryAfter(headers?.get('retry-after') ?? null, Date.now());
    this.problem = problem;
  }
}

/** No answer came: the server can't be reached, or took longer than the time that was given. */
export class UnreachableError extends EntitledError {
  override readonly name = 'UnreachableError';
  readonly kind = 'unreachable';
}

/** An answer came that is not what the server sends: not JSON, or without what an answer needs. */
export class UnreadableError extends EntitledError {
  override readonly name = 'UnreadableError';
  readonly kind = 'unreadable';
}

/** Whether an error means that no answer can be had now, rather than that the question is wrong. */
export function isOutage(error: unknown): boolean {
  if (!(error instanceof EntitledError)) return false;
  // 429 too: the question was fine, and there is no answer to it.
  return !(error instanceof ProblemError) || error.status >= 500 || error.status === 429;
}

/** Reads `Retry-After`, which has seconds or a date; null where it has neither. */
export function readRetryAfter(value: string | null, now: number): number | null {
  if (value === null) return null;
  if (/^\d{1,9}$/.test(value.trim())) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? null : Math.max(0, date - now);
}

/** A problem, if that is what `value` is. */
export function asProblem(value: unknown): Problem | null {
  if (typeof value !== 'object' || value === null) return null;
  const { code, detail, status, fields } = value as Partial<Problem>;
  const whole = typeof code === 'string' && typeof detail === 'string' && typeof status === 'number';
  if (!whole) return null;
  const usable = typeof fields === 'object' && fields !== null ? fields : {};
  return { ...(value as Problem), fields: usable };
}
