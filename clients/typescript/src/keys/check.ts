/**
 * Finds keys in source that the catalog doesn't know, or that are archived: what the compiler can't
 * see in JavaScript, and what was compiled against an older catalog.
 *
 * Looks where keys are handed to this package: the hooks, the gates, and the objects given to
 * `requireEntitlement`, `useAccess`, `can`, `check`, `consume`, `decide` and `judge`.
 */
import { readFile, readdir, stat } from 'node:fs/promises';
import { extname, join } from 'node:path';
import type { CatalogNames } from './catalog.js';
import { KeysError } from './catalog.js';

/** A key that is wrong. */
export interface Fault {
  file: string;
  line: number;
  message: string;
}

type Kind = 'module' | 'feature' | 'permission';

const HOOKS: Record<string, Kind> = {
  useModule: 'module',
  useFeature: 'feature',
  useLimit: 'feature',
  usePermission: 'permission',
};
const MEMBERS: Record<string, Kind> = {
  module: 'module',
  feature: 'feature',
  features: 'feature',
  limit: 'feature',
  permission: 'permission',
};
const CALLS = /\b(?:requireEntitlement|useAccess|can|check|consume|decide|judge)\s*(?:<[^()]*>)?\(/g;
const HOOK = /\b(useModule|useFeature|useLimit|usePermission)\s*\(\s*(['"`])([^'"`$\n]*)\2/g;
const TAGS = /<(?:EntitlementGate|FeatureGate|RequireModule|RequirePermission|ModuleLocked|LimitMeter)\b/g;
const MEMBER = /(?<![\w.'"-])['"]?(module|features?|limit|permission)['"]?\s*[:=]\s*\{?\s*(\[[^\]]*\]|(['"`])[^'"`$\n]*\3)/g;
const TEXT = /(['"`])([^'"`$\n]*)\1/g;
const SOURCES = new Set(['.ts', '.tsx', '.js', '.jsx', '.mts', '.mjs', '.cts', '.cjs']);

/** Looks through files and folders. */
export async function checkSources(paths: readonly string[], names: CatalogNames): Promise<Fault[]> {
  const found: Fault[] = [];
  for (const path of paths) {
    for (const file of await filesOf(path)) {
      found.push(...checkText(file, await readFile(file, 'utf8'), names));
    }
  }
  return found;
}

/** Looks through one text. */
export function checkText(file: string, source: string, names: CatalogNames): Fault[] {
  const text = withoutComments(source);
  const uses: { kind: Kind; key: string; at: number }[] = [];
  for (const match of text.matchAll(HOOK)) {
    uses.push({ kind: HOOKS[match[1] ?? ''] ?? 'feature', key: match[3] ?? '', at: match.index });
  }
  const starts = [...text.matchAll(CALLS), ...text.matchAll(TAGS)].map((it) => it.index + it[0].length - 1);
  for (const start of starts) {
    const part = text.slice(start, endOf(text, start));
    for (const match of part.matchAll(MEMBER)) {
      const kind = MEMBERS[match[1] ?? ''] ?? 'feature';
      for (const [, , key] of (match[2] ?? '').matchAll(TEXT)) uses.push({ kind, key: key ?? '', at: start + match.index });
    }
  }
  const faults = uses.flatMap(({ kind, key, at }) => {
    const wrong = complaint(kind, key, names);
    return wrong === null ? [] : [{ file, line: text.slice(0, at).split('\n').length, message: wrong }];
  });
  // A call inside of another is seen twice.
  const seen = new Set<string>();
  return faults.filter((it) => !seen.has(JSON.stringify(it)) && seen.add(JSON.stringify(it)));
}

function complaint(kind: Kind, key: string, names: CatalogNames): string | null {
  const known = kind === 'module' ? names.modules : kind === 'feature' ? names.features : names.permissions;
  if (known.has(key)) return kind !== 'permission' && names.archived.has(key) ? `the ${kind} “${key}” is archived` : null;
  const near = nearest(key, known);
  return `unknown ${kind} “${key}”${near === null ? '' : `; did you mean “${near}”?`}`;
}

/** Where the brackets that stand open at `start` are closed: of a call, or of a tag. */
function endOf(text: string, start: number): number {
  const tag = text[start] !== '(';
  let depth = 0;
  for (let at = start; at < text.length; at += 1) {
    const char = text[at] ?? '';
    if (char === '"' || char === "'" || char === '`') at = closing(text, at);
    else if ('({['.includes(char)) depth += 1;
    else if (')}]'.includes(char) && (depth -= 1) === 0 && !tag) return at;
    else if (tag && depth === 0 && char === '>') return at;
  }
  return text.length;
}

function closing(text: string, start: number): number {
  const quote = text[start];
  for (let at = start + 1; at < text.length; at += 1) {
    if (text[at] === '\\') at += 1;
    else if (text[at] === quote) return at;
    // Text in JSX may hold an apostrophe that opens nothing.
    else if (text[at] === '\n' && quote !== '`') return start;
  }
  return start;
}

/** Blanks out comments, so that lines stay where they are. */
function withoutComments(source: string): string {
  const pattern = /(["'`])(?:\\.|(?!\1)[^\\\n])*\1|\/\/[^\n]*|\/\*[\s\S]*?\*\//g;
  return source.replace(pattern, (it) => (it.startsWith('/') ? it.replace(/[^\n]/g, ' ') : it));
}

function nearest(key: string, known: Set<string>): string | null {
  const close = [...known].map((it) => ({ it, far: distance(key.toLowerCase(), it.toLowerCase()) }));
  const best = close.sort((a, b) => a.far - b.far)[0];
  return best !== undefined && best.far <= Math.max(2, key.length / 3) ? best.it : null;
}

function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const swap = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, swap));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

async function filesOf(path: string): Promise<string[]> {
  const about = await stat(path).catch(() => null);
  if (about === null) throw new KeysError(`${path} is not there.`);
  if (!about.isDirectory()) return [path];
  const inside = await readdir(path, { withFileTypes: true });
  const lists = inside
    .filter((it) => it.name !== 'node_modules' && !it.name.startsWith('.'))
    .filter((it) => it.isDirectory() || SOURCES.has(extname(it.name)))
    .map((it) => filesOf(join(path, it.name)));
  return (await Promise.all(lists)).flat().sort();
}
