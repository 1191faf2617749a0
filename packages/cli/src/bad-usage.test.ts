import { triedOf } from '@butterfly/testkit';
import { readFileSync } from 'node:fs';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Server as NetServer } from 'node:net';
import { encodeControl, protocolVersion } from '@butterfly/wire';
import { ownModel } from 'butterfly/command';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeToken } from './testing/tokens.js';
import { run } from './testing/butterfly.js';
import { Folder, model, patchedModel } from './testing/models.js';

const folder = new Folder();
afterAll(() => folder[Symbol.dispose]());

/** The one line that an error leaves, checked to be the only one. */
async function failure(args: readonly string[], env?: Readonly<Record<string, string>>): Promise<string> {
  const { code, signal, stdout, stderr } = await run(args, env);
  expect(stderr).toHaveLength(1);
  expect(signal).toBeNull();
  expect(stdout.filter((line) => line.includes('Ready'))).toEqual([]);
  return `${code} ${stderr[0] ?? ''}`;
}

const real = readFileSync(model);
const files: Readonly<Record<string, Uint8Array | string>> = {
  empty: '',
  text: '# Not a model\n'.repeat(100),
  'ends in the metadata': real.subarray(0, 5_000),
  'ends in the weights': real.subarray(0, -1),
  'another architecture': patchedModel('llama', 'gemma'),
  'control characters': patchedModel('llama', '\u001b[2J\n'),
  'another version': Buffer.concat([real.subarray(0, 4), Buffer.of(99, 0, 0, 0), real.subarray(8)]),
  'a missing key': patchedModel('llama.block_count', 'llama.block_cound'),
  'a foreign tensor': patchedModel('blk.2.attn_q.weight', 'blk.2.attn_x.weight'),
};

describe('a model that', () => {
  const flaws: [string, RegExp][] = [
    ['empty', /^3 butterfly: MODEL_NOT_GGUF: .*download a \.gguf file/],
    ['text', /^3 butterfly: MODEL_NOT_GGUF: .*download a \.gguf file/],
    ['ends in the metadata', /^3 butterfly: MODEL_TRUNCATED: .*Download the file again/],
    [
      'ends in the weights',
      /^3 butterfly: MODEL_TRUNCATED: .*1068704 bytes expected, 1068703 found.*Download/,
    ],
    ['another architecture', /^3 butterfly: MODEL_UNSUPPORTED: .*: wrong number of tensors.*Use a file/],
    [
      'control characters',
      /^3 butterfly: MODEL_UNSUPPORTED: .*: unknown model architecture: ' \[2J '.*Use a file/,
    ],
    ['another version', /^3 butterfly: MODEL_NOT_GGUF: .*version 99.*Convert/],
    ['a missing key', /^3 butterfly: MODEL_CORRUPT: .*llama\.block_count is missing.*Download/],
    [
      'a foreign tensor',
      /^3 butterfly: MODEL_UNSUPPORTED: .*: missing tensor 'blk\.2\.attn_q\.weight'.*Use a file/,
    ],
  ];
  it.concurrent.each(triedOf(flaws))('is or has: %s', async (what, line) => {
    const path = folder.write(`${what}.gguf`, files[what] ?? '');
    expect(await failure(['serve', path, '--port', '0', '--cluster-port', '0'])).toMatch(line);
  });

  it.concurrent.each([
    ['is nowhere', 'no such.gguf', /^3 butterfly: MODEL_NOT_FOUND: .*does not exist.*Check the path/],
    ['is a folder', folder.path, /^3 butterfly: MODEL_NOT_FOUND: .*is not a file.*\.gguf/],
  ])('%s', async (_, path, line) => {
    expect(await failure(['generate', path, 'Hi'])).toMatch(line);
  });

  it.concurrent('has bytes of its metadata flipped: is read or refused, never more', async () => {
    let state = 5;
    const random = (below: number): number => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    for (let index = 0; index < 8; index++) {
      const bytes = Buffer.from(real);
      for (let flips = 0; flips < 3; flips++) bytes.writeUInt8(random(256), random(13_700));
      const { code, stderr } = await run(['inspect', folder.write(`flipped-${index}.gguf`, bytes), '--json']);
      if (code === 0) expect(stderr).toEqual([]);
      else expect(`${code} ${stderr.join('\n')}`).toMatch(/^3 butterfly: MODEL_.*$/);
    }
  });

  // Each of these ended the process by an exception or an assertion of libllama, at the first emoji or at the start.
  const tokenizers: [string, string, string, RegExp][] = [
    [
      'lacks a byte token',
      '<0xF0>',
      'zzqqzz',
      /^3 butterfly: MODEL_UNSUPPORTED: .*lacks the byte tokens <0xF0>/,
    ],
    ['has a token twice', '<0xF0>', '<0xF1>', /^3 butterfly: MODEL_CORRUPT: .*has "<0xF1>" twice/],
    ['has a tokenizer that is unknown', 'llama', 'xlama', /^3 butterfly: MODEL_/],
  ];
  it.concurrent.each(triedOf(tokenizers))(
    '%s: inspect, serve and generate say the same',
    async (name, from, to, line) => {
      const path = folder.write(`${name}.gguf`, patchedModel(from, to));
      const lines = await Promise.all([
        failure(['inspect', path]),
        failure(['serve', path, '--port', '0', '--cluster-port', '0'], { BUTTERFLY_LOG: 'error' }),
        failure(['generate', path, '🦋'], { BUTTERFLY_LOG: 'error' }),
      ]);
      expect(lines[0]).toMatch(line);
      expect(new Set(lines).size).toBe(1);
    },
  );

  it.concurrent('is too large for this machine', async () => {
    const size = ['--ctx', '65536', '--parallel', '256', '--kv-cache-type', 'f16'];
    const args = ['serve', ownModel, ...size, '--port', '0', '--cluster-port', '0'];
    const line = await failure(args, { BUTTERFLY_LOG: 'error' });
    expect(line).toMatch(/^3 butterfly: MODEL_TOO_LARGE: .*64\.00 GiB.*Lower --ctx/);
  });

  it.concurrent('has an arena that no step could compact', async () => {
    const args = ['--ctx', '1048576', '--parallel', '256', '--port', '0', '--cluster-port', '0'];
    const line = await failure(['serve', model, ...args], { BUTTERFLY_LOG: 'error' });
    expect(line).toMatch(/^2 butterfly: CONFIG_INVALID: .*lower --ctx or --parallel/);
  });
});

describe('a wrong command line', () => {
  const lines: [string[], RegExp][] = [
    [['foo'], /^2 .*unknown command 'foo'.*butterfly --help/],
    [['worker'], /^2 .*--join HOST:PORT.*--discover.*butterfly worker --help/],

    [['serve', model, '--bogus'], /^2 .*unknown option '--bogus'.*serve --help/],
    [['serve', model, '--workers', '65'], /^2 .*whole number from 0 to 64.*serve --help/],
    [['serve', model, '--workers', '1.5'], /^2 .*whole number from 0 to 64/],
    [['serve', model, '--port', '65536'], /^2 .*from 0 to 65535/],
    [['serve', model, '--keep-alive', '-1'], /^2 .*30s, 10m or 2h/],
    [['serve', model, '--stream-keep-alive', '-1'], /^2 .*whole number from 0 to 3600/],
    [['serve', model, '--cors', 'chat.example'], /^2 .*origin such as https:/],
    [['serve', model, '--cors', ''], /^2 .*blank/],
    [['serve', model, '--cors', 'https://chat.example/path'], /^2 .*origin such as https:/],
    [['serve', model, '--allow-host', 'https://llm.example'], /^2 .*without scheme and port/],
    [['serve', model, '--allow-host', 'llm.example:80'], /^2 .*without scheme and port/],
    [['serve', model, '--threads', '513'], /^2 .*from 1 to 512/],
    [
      ['serve', model, '--host', '203.0.113.1', '--no-require-key', '--port', '0', '--cluster-port', '0'],
      /^2 butterfly: ADDRESS_INVALID: .*203\.0\.113\.1.*not an address of this machine/,
    ],
    [
      ['serve', model, '--cluster-host', '203.0.113.1', '--port', '0', '--cluster-port', '0'],
      /^2 butterfly: ADDRESS_INVALID: .*not an address of this machine/,
    ],
    [['worker'], /^2 .*--join.*worker --help/],
    [['worker', '--join', 'somewhere'], /^2 butterfly: ADDRESS_INVALID: "somewhere".*HOST:PORT/],
    [['worker', '--join', 'a:70000'], /^2 butterfly: ADDRESS_INVALID: .*HOST:PORT/],
    [['worker', '--join', 'a:1', '--memory', 'much'], /^2 .*number of bytes, such as.*worker --help/],
    [['generate'], /^2 .*missing required argument 'words'/],
    [['generate', model, 'not', 'quoted'], /^2 butterfly: CONFIG_INVALID: .*in quotes/],
    [['generate', model, 'Hi', '--threads', '400'], /^2 butterfly: CONFIG_INVALID: .*--threads 400/],
    [['generate', model, 'Hi', '--temperature', 'hot'], /^2 .*number from 0 to 2/],
    [['generate', model, 'word '.repeat(200)], /^2 butterfly: CONTEXT_EXCEEDED: .*--ctx/],
  ];
  it.concurrent.each(triedOf(lines))('is refused, case %$', async (args, line) => {
    const found = await failure(args);
    expect(found).toMatch(line);
    expect(found).toMatch(/^\d butterfly: [A-Z_]+: /);
  });

  it.concurrent('a wrong environment', async () => {
    const line = await failure(['inspect', model], { BUTTERFLY_LOG: 'loud' });
    expect(line).toMatch(/^2 butterfly: CONFIG_INVALID: .*BUTTERFLY_LOG.*"warn"/);
  });
});

describe('a port', () => {
  let taken: NetServer;
  let port: string;
  beforeAll(async () => {
    taken = createServer((socket) => {
      // An orchestrator of a later version.
      const [bytes] = encodeControl({ kind: 'bye', reason: '' });
      const answer = Buffer.from(bytes ?? []);
      answer.writeUInt8(protocolVersion + 1, 4);
      socket.on('error', () => undefined).end(answer);
    }).listen(0, '127.0.0.1');
    await once(taken, 'listening');
    port = String((taken.address() as AddressInfo).port);
  });
  afterAll(() => taken.close());

  it.concurrent('that is in use by another process, for the API', async () => {
    const line = await failure(['serve', model, '--port', port, '--cluster-port', '0']);
    expect(line).toMatch(/^4 butterfly: PORT_IN_USE: .*choose another port/);
  });

  it.concurrent('that is in use by another process, for workers', async () => {
    const line = await failure(['serve', model, '--port', '0', '--cluster-port', port]);
    expect(line).toMatch(/^4 butterfly: PORT_IN_USE: .*choose another port/);
  });

  it.concurrent('where an orchestrator of another version listens', async () => {
    const env = { BUTTERFLY_LOG: 'error' };
    const line = await failure(['worker', '--insecure', '--join', `127.0.0.1:${port}`], env);
    expect(line).toMatch(/^4 butterfly: PROTOCOL_VERSION: .*upgrade Butterfly/);
  });

  it.concurrent('where nobody listens', async () => {
    const token = await makeToken();
    const line = await failure(['worker', '--join', '127.0.0.1:1', '--wait', '0', '--token', token]);
    expect(line).toMatch(/^4 butterfly: PEER_UNREACHABLE: .*check the address/);
  });
});
