/** The command `entitled-keys`, as a function of its arguments. */
import { readFile, writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { KeysError, fromFile, fromServer } from './catalog.js';
import type { CatalogNames } from './catalog.js';
import { checkSources } from './check.js';
import { declarations } from './write.js';

const HELP = `entitled-keys: the names of a catalog as TypeScript types.

  entitled-keys --catalog catalog.yaml --out src/entitled-keys.ts
  entitled-keys --url http://127.0.0.1:8080 --out src/entitled-keys.ts
  entitled-keys --catalog catalog.yaml --out src/entitled-keys.ts --check src

  --catalog FILE  reads a catalog in YAML or JSON
  --url URL       reads the catalog of a server
  --key KEY       an API key that may read it; ENTITLED_KEY if left out
  --out FILE      writes the types there; without it and --check they are printed
  --check         writes nothing: exits with 1 where --out is out of date, or where a source that is
                  named uses a key that is unknown or archived
  --help          prints this

Exit codes: 0 done, 1 --check found something, 2 it could not be done.
`;

/** Where the command writes to. */
export interface Output {
  out: (text: string) => void;
  error: (text: string) => void;
}

/** Runs the command and gives its exit code. */
export async function run(args: readonly string[], { out, error }: Output): Promise<number> {
  try {
    const { values, positionals } = read(args);
    if (values.help === true) return out(HELP), 0;
    const names = await load(values);
    if (values.check === true) return await check(names, values.out, positionals, out);
    if (positionals.length > 0) throw new KeysError(`Sources are named together with --check: ${positionals.join(' ')}`);
    const text = declarations(names);
    if (values.out === undefined) out(text);
    else await write(values.out, text);
    return 0;
  } catch (fault) {
    if (!(fault instanceof KeysError)) throw fault;
    error(`entitled-keys: ${fault.message}\n`);
    return 2;
  }
}

function read(args: readonly string[]) {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean' } as const;
  const options = { catalog: text, url: text, key: text, out: text, check: flag, help: flag };
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true });
  } catch (error) {
    throw new KeysError(`${error instanceof Error ? error.message : ''}; see --help`);
  }
}

async function load({ catalog, url, key }: { catalog?: string; url?: string; key?: string }): Promise<CatalogNames> {
  if ((catalog === undefined) === (url === undefined)) throw new KeysError('Give --catalog or --url, one of them.');
  if (catalog !== undefined) return fromFile(catalog);
  const credential = key ?? process.env.ENTITLED_KEY;
  if (credential === undefined || credential === '') throw new KeysError('Give --key, or set ENTITLED_KEY.');
  return fromServer(url ?? '', credential);
}

async function check(names: CatalogNames, file: string | undefined, sources: string[], out: Output['out']): Promise<number> {
  if (file === undefined && sources.length === 0) throw new KeysError('--check needs --out, or sources to look through.');
  let found = 0;
  if (file !== undefined && (await readFile(file, 'utf8').catch(() => '')) !== declarations(names)) {
    out(`${file}: not what the catalog says; run entitled-keys without --check\n`);
    found += 1;
  }
  for (const { file: where, line, message } of await checkSources(sources, names)) {
    out(`${where}:${line}: ${message}\n`);
    found += 1;
  }
  return found === 0 ? 0 : 1;
}

async function write(path: string, text: string): Promise<void> {
  try {
    await writeFile(path, text);
  } catch {
    throw new KeysError(`${path} can't be written.`);
  }
}
