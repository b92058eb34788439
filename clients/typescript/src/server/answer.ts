/** What a guard answers where it refuses: problem details with the decision's own status. */
import type { Verdict } from './gatekeeper.js';

/** A refusal to send. */
export interface Refusal {
  status: number;
  headers: Record<string, string>;
  body: string;
}

/** The refusal of a verdict. */
export function refusalOf(verdict: Verdict): Refusal {
  const { status, code, message, reason, fields, remedies, limit, data, fallback } = verdict;
  const sent = status >= 400 && status <= 599 ? status : 403;
  const kind = code ?? 'REFUSED';
  const retry: Record<string, string> = sent === 503 ? { 'retry-after': '1' } : {};
  return problem(sent, kind, message, { reason, fields, remedies, limit, data, fallback }, retry);
}

/** The refusal of a request that doesn't say whose it is. */
export function anonymous(): Refusal {
  return problem(401, 'UNAUTHENTICATED', 'Sign in first.', { fields: {} }, {});
}

function problem(status: number, code: string, detail: string, more: object, headers: Record<string, string>): Refusal {
  const type = `urn:entitled:problem:${code}`;
  const title = status === 402 ? 'Payment Required' : status === 503 ? 'Service Unavailable' : status === 401 ? 'Unauthorized' : 'Forbidden';
  return {
    status,
    headers: { 'content-type': 'application/problem+json', 'cache-control': 'no-store', ...headers },
    body: JSON.stringify({ type, title, status, detail, code, ...more }),
  };
}

/** The header of an answer that an outage allowed. */
export const FALLBACK_HEADER = 'x-entitled-fallback';
