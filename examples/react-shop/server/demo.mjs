// Starts `entitled serve --demo` and the shop on top of it. Both end together.
import { spawn } from 'node:child_process';
import { createServer } from 'vite';

const repository = new URL('../../../', import.meta.url);
const [command, ...args] = process.env.ENTITLED_BIN
  ? [process.env.ENTITLED_BIN]
  : ['cargo', 'run', '--quiet', '--manifest-path', new URL('Cargo.toml', repository).pathname, '--'];
// The server takes every variable of that prefix for a setting.
const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('ENTITLED_')));
const server = spawn(command, [...args, 'serve', '--demo'], { stdio: ['ignore', 'pipe', 'inherit'], env });
process.on('exit', () => server.kill());
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit());
server.on('exit', (code) => process.exit(code ?? 1));

let printed = '';
for await (const part of server.stdout) {
  printed += part;
  const url = /^retail: (\S+)/m.exec(printed)?.[1];
  const key = /^ +service +(\S+)/m.exec(printed)?.[1];
  const admin = /^ +super_admin +(\S+)/m.exec(printed)?.[1];
  if (url && key && admin) {
    process.env.ENTITLED_URL = url;
    process.env.ENTITLED_KEY = key;
    const shop = await createServer();
    await shop.listen();
    shop.printUrls();
    console.log(`\n  Open the automation of the shop retail-only for an hour, and watch the page:\n
  curl -s ${url}/api/v1/admin/overrides -H 'Authorization: Bearer ${admin}' -H 'Content-Type: application/json' \\
    -d '{"tenant": "retail-only", "key": "zf", "enabled": true, "reason": "To look at", "expires_at": "${new Date(Date.now() + 3_600_000).toISOString()}"}'\n`);
    break;
  }
}
server.stdout.resume();
