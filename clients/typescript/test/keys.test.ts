import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import ts from 'typescript';
import { namesOf } from '../src/keys/catalog.js';
import { checkText } from '../src/keys/check.js';
import { run } from '../src/keys/command.js';
import { fake, problem } from './fake.js';

const root = join(import.meta.dirname, '..');
const RETAIL = join(root, '../../examples/retail.yaml');
const BOOKCLUB = join(root, '../../examples/bookclub.yaml');

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'entitled-keys-'));
});
afterEach(() => rm(dir, { recursive: true }));

async function keys(...args: string[]) {
  let out = '';
  let error = '';
  const code = await run(args, { out: (text) => (out += text), error: (text) => (error += text) });
  return { code, out, error };
}

async function file(name: string, text: string): Promise<string> {
  const path = join(dir, name);
  await writeFile(path, text);
  return path;
}

/** What the compiler says of a source beside the types of the retail catalog. */
async function compiled(source: string): Promise<string[]> {
  await keys('--catalog', RETAIL, '--out', join(dir, 'keys.ts'));
  const app = await file('app.tsx', `import './keys.js';\n${source}`);
  const paths = Object.fromEntries(
    [
      ['keys', 'keys/names.ts'],
      ['react', 'react/index.ts'],
      ['server', 'server/index.ts'],
      ['server/express', 'server/express.ts'],
    ].map(([name, path]) => [`@entitled/client/${name}`, [join(root, 'src', path!)]]),
  );
  const options: ts.CompilerOptions = {
    paths: { ...paths, react: [join(root, 'node_modules/@types/react')], 'react/*': [join(root, 'node_modules/@types/react/*')] },
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    target: ts.ScriptTarget.ES2022,
    jsx: ts.JsxEmit.ReactJSX,
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    typeRoots: [join(root, 'node_modules/@types')],
    types: ['node'],
  };
  const program = ts.createProgram([app], options);
  return ts.getPreEmitDiagnostics(program).map((it) => ts.flattenDiagnosticMessageText(it.messageText, ' '));
}

test('the unions have the catalog’s names', async () => {
  const { code, out } = await keys('--catalog', RETAIL);
  expect(code).toBe(0);
  expect(out).toContain("feature:\n      | 'advanced_reports'\n      | 'branches'\n");
  expect(out).toContain("      | 'pos.refunds.create'\n");
  expect(out).toContain("      | 'trial_expired'\n");
});

test('the reasons of guards and the permissions that guards ask for are among them', async () => {
  const { out } = await keys('--catalog', BOOKCLUB);
  expect(out).toContain("      | 'store_restriction'\n");
  expect(out).toContain("      | 'CAN_CREATE_LIMITED_CLUBS'\n");
});

test('right keys compile and misspelt ones do not, wherever they stand', { timeout: 60_000 }, async () => {
  const source = `
    import { EntitlementGate, useFeature, useModule, usePermission, useLimit } from '@entitled/client/react';
    import type { Requirement } from '@entitled/client/server';
    import type { FeatureKey, Reason } from './keys.js';
    export const right: Requirement = { module: 'retail', features: ['multi_branch'] };
    export const wrong: Requirement = { module: 'retial' };
    export const known: [FeatureKey, Reason] = ['branches', 'plan_limit'];
    export const unknown: [FeatureKey, Reason] = ['branches', 'plan_limits'];
    export function Right() {
      useFeature('advanced_reports'); useModule('zf'); usePermission('pos.sales.create'); useLimit('branches');
      return <EntitlementGate module="dine" feature="multi_branch">x</EntitlementGate>;
    }
    export function Wrong() {
      useFeature('advanced_report'); useModule('fz'); usePermission('pos.sale.create'); useLimit('branch');
      return <EntitlementGate module="dine" feature="multibranch">x</EntitlementGate>;
    }`;
  const faults = await compiled(source);
  const wrong = ['retial', 'plan_limits', 'advanced_report', 'fz', 'pos.sale.create', 'branch', 'multibranch'];
  expect(faults.map((it) => /"([^"]*)"/.exec(it)?.[1] ?? it).sort()).toEqual(wrong.sort());
});

const names = namesOf({
  modules: { retail: {}, old: { status: 'archived' }, zf: { status: 'disabled' } },
  features: { reports: {}, gone: { status: 'archived' }, inside: { module: 'old' }, branches: { type: 'limit' } },
  roles: { cashier: { permissions: ['pos.sell'] } },
});
const said = (source: string) => checkText('a.tsx', source, names).map(({ line, message }) => `${line}: ${message}`);

test.each([
  ['a hook', "const x = useFeature('report');"],
  ['a gate', '<EntitlementGate\n  mode="lock" feature="report">'],
  ['a gate with braces', "<FeatureGate feature={'report'}>"],
  ['a guard of a route', "app.get('/x', requireEntitlement({ features: ['reports', 'report'] }), h)"],
  ['a check', "await entitled.check({ tenant: 'a', usage: { feature: 'report' } })"],
  ['a need', "can({ features: ['report'] }).allowed"],
])('an unknown key in %s is found', (_, source) => {
  expect(said(source).map((it) => it.slice(3))).toEqual(['unknown feature “report”; did you mean “reports”?']);
});

test('archived keys are found, also those of archived modules; a kill switch is no fault', () => {
  expect(said("useModule('old');\nuseFeature('gone');\nuseFeature('inside'); useModule('zf')")).toEqual([
    '1: the module “old” is archived',
    '2: the feature “gone” is archived',
    '3: the feature “inside” is archived',
  ]);
});

test('what is no key of ours is left alone', () => {
  const source = `
    // useFeature('report')
    /* <EntitlementGate feature="report"> */
    const config = { module: 'commonjs', features: ['x'] };
    const url = 'http://a'; useFeature(key); useFeature(\`\${key}\`);
    <p>It isn't <EntitlementGate module="retail" feature="reports" permission="pos.sell">{it.feature}</EntitlementGate></p>`;
  expect(said(source)).toEqual([]);
});

test('archived keys are not in the unions', async () => {
  const catalog = await file('c.yaml', 'modules: {old: {status: archived}, retail: {}}\nfeatures: {}');
  const { out } = await keys('--catalog', catalog);
  expect(out).toContain("module:\n      | 'retail';");
  expect(out).toContain('feature: never;');
});

test('--check fails for a file that is out of date, or a source with a wrong key', async () => {
  const out = join(dir, 'keys.ts');
  const source = await file('app.ts', "useFeature('advanced_reports')");
  expect((await keys('--catalog', RETAIL, '--out', out, '--check')).code).toBe(1);
  await keys('--catalog', RETAIL, '--out', out);
  expect(await keys('--catalog', RETAIL, '--out', out, '--check', source)).toMatchObject({ code: 0, out: '' });
  await writeFile(source, "\nuseFeature('advanced_report')");
  const failed = await keys('--catalog', RETAIL, '--out', out, '--check', dir);
  expect(failed).toMatchObject({ code: 1, out: `${source}:2: unknown feature “advanced_report”; did you mean “advanced_reports”?\n` });
});

test('the catalog of a server is read with a key', async () => {
  const server = await fake({ body: { document: { modules: { crm: {} }, features: {} } } });
  const { code, out } = await keys('--url', server.url, '--key', 'ent_k');
  await server.close();
  expect([code, server.seen[0]?.path, server.seen[0]?.headers.authorization]).toEqual([0, '/api/v1/admin/catalog', 'Bearer ent_k']);
  expect(out).toContain("'crm'");
});

test('a server that refuses, or is not there, leaves the file as it was', async () => {
  const out = await file('keys.ts', 'before');
  const server = await fake({ status: 403, body: problem(403, 'FORBIDDEN', { detail: 'This key may not.' }) });
  const refused = await keys('--url', server.url, '--key', 'k', '--out', out);
  await server.close();
  const missing = await keys('--url', server.url, '--key', 'k', '--out', out);
  expect([refused.code, missing.code]).toEqual([2, 2]);
  expect(refused.error).toContain('403: This key may not.');
  expect(await readFile(out, 'utf8')).toBe('before');
});

test.each([
  [['--catalog', 'nowhere.yaml'], "nowhere.yaml can't be read"],
  [[], 'Give --catalog or --url'],
  [['--catalog', 'a', '--url', 'b'], 'one of them'],
  [['--catlog', 'a'], 'see --help'],
  [['--url', 'http://127.0.0.1:1', '--key', ''], 'ENTITLED_KEY'],
  [['--catalog', RETAIL, '--check'], '--check needs'],
  [['--catalog', RETAIL, 'src'], 'together with --check'],
])('%j says what is wrong', async (args, words) => {
  const { code, error } = await keys(...args);
  expect(code).toBe(2);
  expect(error).toContain(words);
});

test.each([['a list', '- a'], ['text', 'hello'], ['broken YAML', 'a: [']])('%s is no catalog', async (_, text) => {
  const { code, error } = await keys('--catalog', await file('c.yaml', text));
  expect([code, error.startsWith('entitled-keys: ')]).toEqual([2, true]);
});
