/** Who is signed in. A real shop has accounts; this one believes what was chosen in the page. */
import type { IncomingMessage, ServerResponse } from 'node:http';

export interface Session {
  tenant: string;
  user: string;
}

/** `sam` administers the shop, `kim` works in it. */
export const USERS = ['sam', 'kim'];

const KEY = /^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$/;

export function sessionOf(request: IncomingMessage): Session {
  const cookies = new URLSearchParams((request.headers.cookie ?? '').replaceAll('; ', '&'));
  const [tenant = '', user = ''] = (cookies.get('shop') ?? '').split('/');
  return { tenant: KEY.test(tenant) ? tenant : 'retail-only', user: USERS.includes(user) ? user : 'sam' };
}

export function signIn(response: ServerResponse, { tenant, user }: Session): boolean {
  if (!KEY.test(tenant) || !USERS.includes(user)) return false;
  response.setHeader('Set-Cookie', `shop=${encodeURIComponent(`${tenant}/${user}`)}; Path=/; HttpOnly; SameSite=Strict`);
  return true;
}
