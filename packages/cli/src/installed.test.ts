import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Butterfly } from './testing/butterfly.js';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'butterfly-installed-'));
const program = join(folder, 'node_modules/butterfly/bin/butterfly.js');
const ofNpm = ['--no-audit', '--no-fund', '--prefer-offline', '--loglevel', 'error'];

function run(command: string, ...args: readonly string[]): string {
  return execFileSync(command, args, { cwd: folder, encoding: 'utf8', timeout: 150_000 });
}

/** What a process of the installed package says, line by line. */
async function node(...args: readonly string[]): Promise<string[]> {
  await using child = new Butterfly(args.slice(1), { cwd: folder, program: args[0] ?? '' });
  expect(await child.ended(), child.stderr.join('\n')).toEqual({ code: 0, signal: null });
  return child.stdout;
}

beforeAll(() => {
  run(process.execPath, join(root, 'scripts/pack.mjs'), '--to', folder);
  const [tarball = ''] = readdirSync(folder).filter((name) => name.endsWith('.tgz'));
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true, type: 'module' }));
  const startMs = performance.now();
  run('npm', 'install', ...ofNpm, `./${tarball}`);
  const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
  const megabytes = run('du', '-sm', 'node_modules').split('\t')[0];
  console.log(`Installed in ${seconds} s: ${megabytes} MB with the native libraries.`);
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

it('has no tests in it, no sources, and is small beside the native libraries', () => {
  const files = readdirSync(join(folder, 'node_modules/butterfly'), { recursive: true, encoding: 'utf8' });
  expect(files.filter((name) => /\.test\.|\/testing\/|\.map$|(?<!\.d)\.ts$/.test(name))).toEqual([]);
  const manifest = JSON.parse(readFileSync(join(folder, 'node_modules/butterfly/package.json'), 'utf8')) as {
    readonly exports: Readonly<Record<string, Readonly<Record<'types' | 'default', string>>>>;
    readonly peerDependencies: object;
  };
  expect(Object.keys(manifest.exports)).toEqual(['.', './ai', './command', './process']);
  for (const { types, default: main } of Object.values(manifest.exports))
    expect(files).toEqual(expect.arrayContaining([types.slice(2), main.slice(2)]));
  expect(Object.keys(manifest.peerDependencies)).toEqual(['@ai-sdk/openai-compatible']);
  const ours = run('du', '-sm', '--apparent-size', 'node_modules/butterfly');
  expect(Number(ours.split('\t')[0])).toBeLessThan(10);
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  expect(run(process.execPath, program, '--version').trim()).toBe(version);
});

it('serves the model that ships, and a second process joins with the line that it prints', async () => {
  const args = ['--workers', '0', '--wait-for', '1', '--port', '0', '--cluster-port', '0'];
  await using server = new Butterfly(
    ['serve', ...args, '--cluster-host', '127.0.0.1', '--data-dir', join(folder, 'data')],
    { cwd: folder, program },
  );
  const [, token = '', command = ''] = await server.line(
    /^Join with: BUTTERFLY_TOKEN=(\S+) butterfly (worker --join HOST:\d+)$/,
  );
  await using worker = new Butterfly(
    [...command.replace('HOST', '127.0.0.1').split(' '), '--data-dir', join(folder, 'worker')],
    { cwd: folder, program, env: { BUTTERFLY_TOKEN: token } },
  );
  await server.line(/^Ready\.$/);
  const [, url = ''] = await server.line(/^API on (\S+)\/v1/);
  const page = await (await fetch(url, { headers: { accept: 'text/html' } })).text();
  const script = /src="(.*?)"/.exec(page)?.[1] ?? '';
  expect((await fetch(url + script)).headers.get('content-type')).toContain('javascript');
  const answer = await fetch(`${url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ prompt: 'Once upon', max_tokens: 8, temperature: 0 }),
  });
  const { choices } = (await answer.json()) as { choices: readonly { text: string }[] };
  expect(choices[0]?.text).toMatch(/^ a time/);
  expect(worker.ending).toBeNull();
});

it('has types and a library with which the examples run', async () => {
  run('npm', 'install', ...ofNpm, 'hono@4.13.19', '@hono/node-server@2.1.9');
  const examples = ['agent', 'chat', 'batch', 'objective', 'inside-a-server'];
  for (const name of examples) copyFileSync(join(root, 'examples', `${name}.ts`), join(folder, `${name}.ts`));
  const options = {
    ...{
      strict: true,
      target: 'es2022',
      module: 'nodenext',
      lib: ['es2024', 'esnext.disposable', 'dom', 'dom.iterable'],
    },
    ...{ types: ['node'], typeRoots: [join(root, 'node_modules/@types')] },
  };
  const files = examples.map((name) => `${name}.ts`);
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions: options, files }));
  run(process.execPath, join(root, 'node_modules/typescript/bin/tsc'), '-p', folder);

  const [said, count] = await node('chat.js');
  expect(said).toContain('best friend');
  expect(count).toMatch(/^\d+ tokens$/);

  writeFileSync(join(folder, 'prompts.txt'), 'Once upon a time\nThe dog\nTom had a ball\n');
  const lines = (await node('batch.js', 'prompts.txt')).map((line) => JSON.parse(line) as object);
  expect(lines).toHaveLength(3);
  for (const line of lines) expect(line).toMatchObject({ text: expect.stringMatching(/\w/) as string });

  const reasons = (await node('objective.js')).sort();
  expect(reasons).toHaveLength(2);
  expect(reasons[0]).toMatch(/^\+ local-2: Takes layers 0 to /);
  expect(reasons[1]).toMatch(/^- local-1: With it joules per token would be [\d.e-]+ instead of [\d.e-]+, /);

  await using server = new Butterfly([], { cwd: folder, program: 'inside-a-server.js' });
  const [url] = await server.line(/^http:.*/);
  expect(await (await fetch(url)).text()).toBe('This server has butterfly-stories.');
  const ask = (authorization: string): Promise<Response> =>
    fetch(`${url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization },
      body: JSON.stringify({
        ...{ messages: [{ role: 'user', content: 'Hello' }], max_tokens: 8, stream: true },
      }),
    });
  expect((await ask('')).status).toBe(401);
  const stream = await ask('Bearer secret');
  expect(stream.headers.get('content-type')).toContain('text/event-stream');
  expect(await stream.text()).toMatch(/^data: \{[^]*data: \[DONE\]\n\n$/);
  server.kill('SIGTERM');
  expect(await server.ended()).toEqual({ code: 0, signal: null });
});
