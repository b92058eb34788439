/**
 * The face of the client: the few calls that an application makes every day.
 *
 * Everything else is in `@entitled/client/api`, generated from the server's document: pass it
 * {@link Entitled.client}.
 */
import { createClient } from '../generated/client/index.js';
import type { Client } from '../generated/client/index.js';
import {
  check,
  checkBatch,
  consumeUsage,
  getEntitlements,
  getMyEntitlements,
  getUserEntitlementsPayload,
} from '../generated/sdk.gen.js';
import type {
  Check,
  Consumed,
  Consumption,
  Decision,
  Entitlements,
  Problem,
} from '../generated/types.gen.js';
import { EntitledError, ProblemError, UnreachableError, UnreadableError, asProblem } from './errors.js';
import { follow } from './events.js';
import type { FollowOptions } from './events.js';
import { isDecision, isEntitlements } from './shapes.js';
import { transport } from './transport.js';
import type { TransportOptions } from './transport.js';

/** How to reach the server. */
export interface EntitledOptions extends TransportOptions {
  /** Where it is: `http://127.0.0.1:8080`. */
  url: string;
  /** An API key or a token, or a function that gives one, for tokens that are renewed. */
  credential: string | (() => string | Promise<string>);
}

/** Whose entitlements are asked for. Nobody named means the caller's own. */
export interface Subject {
  tenant?: string;
  user?: string;
  /** Only together with a tenant. */
  mode?: 'tenant' | 'internal' | 'impersonation' | 'platform';
}

/** A payload and the tag to ask for it again. */
export interface TaggedEntitlements {
  /** Null where nothing has changed since the tag that was sent. */
  entitlements: Entitlements | null;
  etag: string | null;
}

/** One result of a batch: a decision, or what was wrong with that one question. */
export type BatchResult =
  | { decision: Decision; problem: null }
  | { decision: null; problem: Problem };

/** A client for one server. */
export interface Entitled {
  /** May this subject do this? A refusal is an answer, not an error. */
  check(question: Check, init?: CallOptions): Promise<Decision>;
  /** Up to 100 questions at once, answered in order. */
  checkAll(questions: readonly Check[], init?: CallOptions): Promise<BatchResult[]>;
  /** Everything that a tenant, or a user, may use. */
  entitlements(subject?: Subject, init?: CallOptions): Promise<Entitlements>;
  /** The same, unless it is still what `etag` stands for. */
  entitlementsUnless(etag: string | null, subject?: Subject, init?: CallOptions): Promise<TaggedEntitlements>;
  /** Checks and takes in one step: under any concurrency the limit is never passed. */
  consume(consumption: Consumption, init?: CallOptions): Promise<Consumed>;
  /** Listens to what changes, until the signal; `tenant` narrows it to one. */
  follow(options: Omit<FollowOptions, 'fetch' | 'headers'> & { tenant?: string }): Promise<void>;
  /** For the generated operations: `listTenants({ client: entitled.client, throwOnError: true })`. */
  readonly client: Client;
}

/** What may be said with one call. */
export interface CallOptions {
  /** Cancels the call. */
  signal?: AbortSignal;
}

/**
 * Makes a client.
 *
 * ```ts
 * const entitled = createEntitled({ url: 'http://127.0.0.1:8080', credential: process.env.ENTITLED_KEY! });
 * const { allowed, message } = await entitled.check({ tenant: 'acme', module: 'retail' });
 * ```
 *
 * Every method throws a {@link ProblemError}, an `UnreachableError` or an {@link UnreadableError}
 * where there is no answer.
 */
export function createEntitled(options: EntitledOptions): Entitled {
  const { url, credential } = options;
  const baseUrl = url.replace(/\/+$/, '');
  const client = createClient({
    baseUrl,
    auth: (scheme) => (scheme.scheme === 'bearer' ? resolve(credential) : undefined),
    fetch: transport(options),
    throwOnError: true,
    parseAs: 'json',
  });
  client.interceptors.error.use((error, response) => typed(error, response));

  const entitlementsUnless: Entitled['entitlementsUnless'] = async (etag, subject = {}, init = {}) => {
    const headers: Record<string, string> = etag === null ? {} : { 'If-None-Match': etag };
    const base = { client, headers, ...init, throwOnError: true } as const;
    try {
      const { data, response } = await read(base, subject);
      return { entitlements: whole(data, isEntitlements), etag: response.headers.get('etag') };
    } catch (error) {
      if (error instanceof ProblemError && error.status === 304) return { entitlements: null, etag };
      throw error;
    }
  };

  return {
    client,
    async check(body, init = {}) {
      const { data } = await check({ client, body, ...init, throwOnError: true });
      return whole(data, isDecision);
    },
    async checkAll(questions, init = {}) {
      const body = { checks: [...questions] };
      const { data } = await checkBatch({ client, body, ...init, throwOnError: true });
      return batch(data, questions.length);
    },
    async entitlements(subject, init) {
      const { entitlements } = await entitlementsUnless(null, subject, init);
      if (entitlements === null) throw new UnreadableError('The server answered 304 to a first question.');
      return entitlements;
    },
    entitlementsUnless,
    follow({ tenant, ...rest }) {
      const query = tenant === undefined ? '' : `?tenant=${encodeURIComponent(tenant)}`;
      const headers = async () => ({ Authorization: `Bearer ${await resolve(credential)}` });
      const send = options.fetch && { fetch: options.fetch };
      return follow(`${baseUrl}/api/v1/events${query}`, { ...rest, ...send, headers });
    },
    async consume(consumption, init = {}) {
      // With a key, a request that is sent twice takes once.
      const idempotency_key = consumption.idempotency_key ?? crypto.randomUUID();
      const body = { ...consumption, idempotency_key };
      const { data } = await consumeUsage({ client, body, ...init, throwOnError: true });
      return whole(data, isDecision) as Consumed;
    },
  };
}

type ReadOptions = { client: Client; headers: Record<string, string>; signal?: AbortSignal; throwOnError: true };

function read(base: ReadOptions, { tenant, user, mode }: Subject) {
  if (tenant !== undefined) return getEntitlements({ ...base, path: { tenant }, query: { user, mode } });
  if (user !== undefined) return getUserEntitlementsPayload({ ...base, path: { user } });
  return getMyEntitlements(base);
}

/** Makes one of our errors of what the generated client throws. */
function typed(error: unknown, response: Response | undefined): unknown {
  if (error instanceof EntitledError) return error;
  if (response === undefined) return error;
  if (!response.ok) return new ProblemError(response.status, asProblem(error), response.headers);
  if (error instanceof SyntaxError) return new UnreadableError('The answer is not JSON.', { cause: error });
  return new UnreachableError('The answer broke off.', { cause: error });
}

function whole<T>(value: unknown, is: (value: unknown) => value is T): T {
  if (is(value)) return value;
  throw new UnreadableError('The answer lacks what every answer has.');
}

function batch(value: unknown, asked: number): BatchResult[] {
  const results = (value as { results?: unknown } | null | undefined)?.results;
  if (!Array.isArray(results) || results.length !== asked) {
    throw new UnreadableError('The answer has not one result for each question.');
  }
  return results.map(({ decision, problem }: { decision?: unknown; problem?: unknown }) => {
    if (isDecision(decision)) return { decision, problem: null };
    const read = asProblem(problem);
    if (read === null) throw new UnreadableError('A result is neither a decision nor a problem.');
    return { decision: null, problem: read };
  });
}

async function resolve(credential: EntitledOptions['credential']): Promise<string> {
  return typeof credential === 'function' ? await credential() : credential;
}
