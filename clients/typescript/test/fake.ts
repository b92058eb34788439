/** A server whose answers a test decides. */
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Decision, Entitlements, Problem } from '../src/index.js';

/** A request as it came. */
export interface Seen {
  method: string;
  path: string;
  headers: IncomingMessage['headers'];
  body: unknown;
}

/** An answer: a status, headers, and a body that is sent as JSON unless it is text. */
export interface Reply {
  status?: number;
  headers?: Record<string, string>;
  body?: unknown;
}

/** Starts one on a free port. It answers with the next of `replies`, and for ever with the last. */
export async function fake(...replies: Reply[]) {
  const seen: Seen[] = [];
  let next = 0;
  const server = createServer((request, response) => {
    void receive(request).then((body) => {
      seen.push({ method: request.method ?? '', path: request.url ?? '', headers: request.headers, body });
      answer(response, replies[Math.min(next, replies.length - 1)] ?? {});
      next += 1;
    });
  });
  return { url: await listen(server), seen, close: () => close(server) };
}

/** Starts a server on a free port and gives its address. */
export async function listen(server: Server): Promise<string> {
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Ends a server with all its connections. */
export async function close(server: Server): Promise<void> {
  server.closeAllConnections();
  await new Promise((done) => server.close(done));
}

async function receive(request: IncomingMessage): Promise<unknown> {
  let text = '';
  for await (const part of request) text += String(part);
  return text === '' ? null : JSON.parse(text);
}

function answer(response: ServerResponse, { status = 200, headers = {}, body = {} }: Reply) {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(status === 304 ? undefined : text);
}

/** A decision, an allow unless `changes` say otherwise. */
export function decision(changes: Partial<Decision> = {}): Decision {
  return {
    allowed: true,
    reason: 'plan',
    code: null,
    status: 200,
    message: 'Allowed.',
    fields: {},
    enforced: true,
    would_allow: true,
    source: { kind: 'plan', plan: 'growth', plan_version: 1 },
    remedies: [],
    limit: null,
    data: null,
    valid_until: null,
    version: 7,
    ...changes,
  };
}

/** A refusal of a module. */
export function refusal(changes: Partial<Decision> = {}): Decision {
  return decision({
    allowed: false,
    would_allow: false,
    reason: 'plan_limit',
    code: 'MODULE_NOT_ENTITLED',
    status: 403,
    message: 'Module “zf” is not part of the plan Growth.',
    fields: { module: ['zf'] },
    remedies: [{ kind: 'upgrade_plan', plans: ['enterprise'] }],
    ...changes,
  });
}

/** A problem. */
export function problem(status: number, code: string, changes: Partial<Problem> = {}): Problem {
  return {
    type: `urn:entitled:problem:${code}`,
    title: code,
    status,
    detail: `What ${code} means.`,
    instance: '/api/v1/check',
    code,
    fields: {},
    request_id: 'r-1',
    ...changes,
  };
}

/** A payload: plan Growth without ZF, and 2 of 5 branches. */
export function payload(changes: Partial<Entitlements> = {}): Entitlements {
  const open = { enabled: true, reason: 'plan', is_premium: false, upgrade_required: false, upgrade_plans: [], expires_at: null } as const;
  const closed = { enabled: false, reason: 'plan_limit', is_premium: true, upgrade_required: true, upgrade_plans: ['enterprise'], expires_at: null } as const;
  return {
    tenant: 'acme',
    user: 'u-1',
    version: 7,
    status: 'active',
    valid_until: null,
    billing: 'subscription',
    blocked: false,
    blocked_reason: null,
    demo: false,
    sandbox: false,
    enforced: true,
    plan: { key: 'growth', name: 'Growth', rank: 20, version: 1, status: 'active', trial_expires_at: null, overdue_since: null, grace_until: null },
    modules: ['retail'],
    module_access: { retail: { ...open, upgrade_plans: [] }, zf: { ...closed, upgrade_plans: ['enterprise'] } },
    features: {
      multi_branch: { ...open, upgrade_plans: [], type: 'boolean', value: null },
      advanced_reports: { ...closed, upgrade_plans: ['enterprise'], type: 'boolean', value: null },
    },
    limits: {
      branches: { limit: 5, unlimited: false, used: 2, remaining: 3, resets_at: null, enabled: true, reason: 'plan' },
    },
    roles: [],
    permissions: [{ name: 'pos.sales.create', context: null, inherited: false }],
    seats: [],
    ...changes,
  };
}
