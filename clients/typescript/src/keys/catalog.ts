/** Reads the names out of a catalog, from a file or from a server. */
import { readFile } from 'node:fs/promises';
import { parse } from 'yaml';
import { isObject } from '../client/shapes.js';
import { REASONS } from './reasons.js';

/** The names of a catalog. */
export interface CatalogNames {
  modules: Set<string>;
  features: Set<string>;
  permissions: Set<string>;
  reasons: Set<string>;
  /** Modules and features that are archived, with those of archived modules. */
  archived: Set<string>;
}

/** What is wrong with what was given, for people. */
export class KeysError extends Error {}

/** Reads a file: YAML, of which JSON is a part. */
export async function fromFile(path: string): Promise<CatalogNames> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch {
    throw new KeysError(`${path} can't be read.`);
  }
  try {
    return namesOf(parse(text));
  } catch (error) {
    if (error instanceof KeysError) throw error;
    throw new KeysError(`${path} is neither YAML nor JSON: ${error instanceof Error ? error.message : ''}`);
  }
}

/** Reads the catalog that a server uses. */
export async function fromServer(url: string, key: string): Promise<CatalogNames> {
  const address = `${url.replace(/\/+$/, '')}/api/v1/admin/catalog`;
  let response: Response;
  try {
    response = await fetch(address, { headers: { Authorization: `Bearer ${key}` }, signal: AbortSignal.timeout(10_000) });
  } catch {
    throw new KeysError(`No answer from ${url}.`);
  }
  const body: unknown = await response.json().catch(() => null);
  if (!response.ok || !isObject(body)) {
    const detail = isObject(body) && typeof body.detail === 'string' ? `: ${body.detail}` : '';
    throw new KeysError(`${address} answered with ${response.status}${detail}`);
  }
  return namesOf(body.document);
}

/** The names in a catalog document. */
export function namesOf(document: unknown): CatalogNames {
  if (!isObject(document) || !isObject(document.modules ?? {}) || !isObject(document.features ?? {})) {
    throw new KeysError('This is no catalog: it has no modules and features.');
  }
  const { modules = {}, features = {}, plans = {}, roles = {}, guards = {} } = document;
  const archived = new Set<string>();
  for (const [key, module] of entries(modules)) if (module.status === 'archived') archived.add(key);
  for (const [key, feature] of entries(features)) {
    const gone = typeof feature.module === 'string' && archived.has(feature.module);
    if (gone || feature.status === 'archived') archived.add(key);
  }
  const givers = [...entries(plans), ...entries(roles)].map(([, it]) => it.permissions);
  const wanters = entries(guards).flatMap(([, it]) => [it.all_permissions, it.any_permission]);
  const conditions = entries(guards).flatMap(([, it]) => (Array.isArray(it.conditions) ? it.conditions : []));
  const own = conditions.map((it: unknown) => (isObject(it) ? it.reason : undefined));
  return {
    modules: new Set(Object.keys(modules as object)),
    features: new Set(Object.keys(features as object)),
    permissions: new Set([...givers, ...wanters].flatMap(texts)),
    reasons: new Set([...REASONS, ...own.filter((it) => typeof it === 'string')]),
    archived,
  };
}

function entries(section: unknown): [string, Record<string, unknown>][] {
  if (!isObject(section)) return [];
  return Object.entries(section).map(([key, value]) => [key, isObject(value) ? value : {}]);
}

function texts(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((it) => typeof it === 'string') : [];
}
