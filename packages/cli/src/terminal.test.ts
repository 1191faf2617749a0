import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { describedCluster, describedWorker } from './testing/cluster.js';
import { run } from './testing/butterfly.js';
import { Folder, model, patchedModel } from './testing/models.js';
import { hasPseudoTerminals, runInTerminal, shellCommand } from './testing/pseudo-terminal.js';

const folder = new Folder();
afterAll(() => folder[Symbol.dispose]());

/** Clears the screen, links, fills the clipboard, colours by C1, overwrites the line, turns the direction. */
const hostile = '\u001b[2J\u001b]8;;x\u0007\u001b]52;c;QQ==\u0007\u009b31m\rok\u202e\b\u007f';
/** What a terminal must never get from data. Progress bars and pretty lines are not run with these tests. */
const obeyed = /[\p{Cc}\u202a-\u202e\u2066-\u2069]/u;
const plain = (text: string): string => text.replaceAll(/\r?\n/g, '').replaceAll('\t', '');
const asks = { BUTTERFLY_LOG: 'error' };

/** Written once: several tests read it at the same time. */
const machinesPath = folder.write(
  'machines.json',
  JSON.stringify({ workers: [{ name: `${hostile}desk`, memory: '1G', decodeTokensPerSecond: 40 }] }),
);

/** The model with another text for its name, and the length fields set right. */
function namedModel(name: string): string {
  const bytes = readFileSync(model);
  const key = bytes.indexOf('general.name');
  const at = key + 'general.name'.length + 4;
  const length = Number(bytes.readBigUInt64LE(at));
  const end = at + 8 + length;
  const text = Buffer.from(name);
  const head = Buffer.alloc(8);
  head.writeBigUInt64LE(BigInt(text.length));
  const before = bytes.subarray(0, at);
  // The tensors begin at a multiple of 32, so the bytes that come in must be a multiple of that.
  if ((text.length - length) % 32 !== 0) throw new Error('The name must keep the alignment.');
  return folder.write(`named.gguf`, Buffer.concat([before, head, text, bytes.subarray(end)]));
}

/** `hostile` with blanks, so that it is longer than the name of the model by a multiple of 32. */
function paddedName(): string {
  const bytes = readFileSync(model);
  const at = bytes.indexOf('general.name') + 'general.name'.length + 4;
  const length = Number(bytes.readBigUInt64LE(at));
  const size = Buffer.byteLength(hostile);
  return hostile + '.'.repeat((((length - size) % 32) + 32) % 32);
}

describe.runIf(hasPseudoTerminals)('a terminal', () => {
  let named: string;
  beforeAll(() => {
    named = namedModel(paddedName());
  });

  it.concurrent.each([
    ['inspect', (path: string) => ['inspect', path]],
    ['inspect --json', (path: string) => ['inspect', path, '--json']],
    ['plan', (path: string) => ['plan', path, '--workers-file', machinesPath, '--ctx', '128']],
    ['plan --json', (path: string) => ['plan', path, '--workers-file', machinesPath, '--json']],
  ])('is shown the name that a file has, by %s', async (_, args) => {
    const { code, output } = await runInTerminal(shellCommand(args(named)), asks);
    expect(output).toContain('\\u001b[2J\\u001b]8;;x\\u0007');
    expect(plain(output)).not.toMatch(obeyed);
    expect(code).toBe(0);
  });

  it.concurrent.each([
    ['error', ['inspect', `no such ${hostile}`]],
    ['error of usage', ['serve', '--port', hostile]],
    ['error of a hub name', ['pull', `hf:${hostile}`]],
  ])('is shown an %s as one line', async (_, args) => {
    const { code, output } = await runInTerminal(shellCommand(args), asks);
    expect(code).toBeGreaterThan(1);
    expect(output).toMatch(/^butterfly: [A-Z_]+: [^\n]*\r\n$/);
    expect(plain(output)).not.toMatch(obeyed);
  });

  it.concurrent('is shown what a model writes, where a pipe gets it to the byte', async () => {
    const path = folder.write('tokens.gguf', patchedModel('\u2581of', '\u001b[2J;'));
    const args = ['generate', path, 'Once upon a time', '--temperature', '0', '--max-tokens', '60'];
    const options = ['--threads', '1', '--kv-cache-type', 'f16', '--log-format', 'json'];
    const { output } = await runInTerminal(`${shellCommand([...args, ...options])} 2>/dev/null`, asks);
    const piped = await run([...args, ...options], asks);
    const text = piped.stdout.join('\n');
    expect(text).toContain('\u001b[2J;');
    expect(output.replaceAll('\r\n', '\n').trimEnd()).toBe(text.replaceAll('\u001b', '\\u001b').trimEnd());
  });

  it.concurrent('is shown what a server says of its workers', async () => {
    const cluster = describedCluster({
      workers: [describedWorker('w1', { name: `a\n${hostile}` }), describedWorker('w2')],
      detail: hostile,
      notes: [hostile],
      trouble: { code: 'INTERNAL', message: `no\n${hostile}` },
    });
    const server = createServer((_, response) => {
      response.setHeader('content-type', 'application/json').end(JSON.stringify(cluster));
    }).listen(0, '127.0.0.1');
    try {
      await new Promise((resolve) => server.once('listening', resolve));
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      for (const args of [
        ['status', '--url', url],
        ['status', '--url', url, '--json'],
        ['plan', '--of', url],
        ['drain', hostile, '--url', url],
      ]) {
        const { output } = await runInTerminal(shellCommand(args), asks);
        expect(plain(output)).not.toMatch(obeyed);
        if (args[0] !== 'drain') expect(output).toContain('\\u001b[2J');
      }
    } finally {
      server.close();
    }
  });
});

describe.runIf(hasPseudoTerminals)('log lines', () => {
  const lines = (output: string): string[] => output.split(/\r?\n/).filter((line) => line !== '');
  const crowded = ['plan', model, '--ctx', '4096', '--workers-file'];
  const warned = 'The context is longer than the model was trained for';

  it.concurrent('are for people on a terminal', async () => {
    const { output } = await runInTerminal(shellCommand([...crowded, machinesPath]), { NO_COLOR: '1' });
    const found = lines(output).filter((line) => line.includes(warned));
    expect(found).toEqual([
      expect.stringMatching(/^\[[\d:.]+\] WARN \(plan\): The context .* \{"asked":4096/),
    ]);
    expect(plain(output)).not.toMatch(obeyed);
  });

  it.concurrent.each([
    ['are JSON on a terminal that is asked for it', ['--log-format', 'json'], {}],
    ['are JSON where the environment asks for it', [], { BUTTERFLY_LOG_FORMAT: 'json' }],
  ])('%s', async (_, args, env) => {
    const { output } = await runInTerminal(shellCommand([...crowded, machinesPath, ...args]), env);
    const found = lines(output).filter((line) => line.includes(warned));
    expect(found.map((line) => (JSON.parse(line) as { level: number }).level)).toEqual([40]);
  });

  it.concurrent.each([
    ['a terminal', {}, true],
    ['a terminal and NO_COLOR', { NO_COLOR: '1' }, false],
    ['a terminal and a blank NO_COLOR', { NO_COLOR: '' }, true],
    ['a terminal and FORCE_COLOR=0', { FORCE_COLOR: '0' }, false],
    ['a dumb terminal', { TERM: 'dumb' }, false],
  ])('have colours as asked for: %s', async (_, env, isColoured) => {
    const { output } = await runInTerminal(shellCommand([...crowded, machinesPath]), env);
    const [found = ''] = lines(output).filter((line) => line.includes(warned));
    expect(found.includes('\u001b[')).toBe(isColoured);
  });

  it.concurrent('are JSON in a pipe, and pretty there when asked for, with colours by force', async () => {
    const piped = await run([...crowded, machinesPath]);
    expect(piped.stderr.map((line) => (JSON.parse(line) as { msg: string }).msg)).toEqual([
      expect.stringContaining(warned),
    ]);
    const pretty = await run([...crowded, machinesPath, '--log-format', 'pretty']);
    expect(pretty.stderr).toEqual([expect.stringMatching(/WARN \(plan\)/)]);
    const forced = await run([...crowded, machinesPath], {
      FORCE_COLOR: '1',
      BUTTERFLY_LOG_FORMAT: 'pretty',
    });
    expect(forced.stderr.join()).toContain('\u001b[');
  });

  it.concurrent('show control characters of what they tell', async () => {
    const args = [
      'worker',
      '--join',
      '127.0.0.1:1',
      '--wait',
      '0',
      '--threads',
      '1',
      '--name',
      `w${hostile}\nx`,
    ];
    const { output } = await runInTerminal(shellCommand(args), { BUTTERFLY_LOG: 'debug', NO_COLOR: '1' });
    expect(output).toContain('\\u001b[2J');
    expect(plain(output)).not.toMatch(obeyed);
    expect(lines(output).filter((line) => !/^\[[\d:.]+\] |^butterfly: /.test(line))).toEqual([]);
  });

  it('are not in the middle of the story of the demo', async () => {
    const demo = fileURLToPath(new URL('../dist/demo/main.js', import.meta.url));
    const { code, output } = await runInTerminal(shellCommand([], demo));
    expect(code).toBe(0);
    expect(output).toContain('Once upon a time');
    expect(output).not.toMatch(/"level":|WARN|INFO/);
  });
});
