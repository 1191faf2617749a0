import { packageVersion } from '@butterfly/common';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Butterfly, run } from './testing/butterfly.js';
import { model } from './testing/models.js';

const commands = ['serve', 'worker', 'generate', 'inspect', 'pull', 'plan', 'status', 'drain', 'discover'];

describe('help', () => {
  it.concurrent.each(commands)('of %s has examples and every option', async (command) => {
    const { code, stdout, stderr } = await run([command, '--help']);
    const text = stdout.join('\n');
    expect({ code, stderr }).toEqual({ code: 0, stderr: [] });
    expect(text).toMatch(new RegExp(`^Usage: butterfly ${command}`));
    expect(text).toMatch(new RegExp(`Examples:\n +.*butterfly ${command}\\b`));
    for (const [, option] of text.matchAll(/^ +(--\S+)/gm)) expect(option).toMatch(/^--[a-z-]+$/);
  });

  it.concurrent('of butterfly names the commands', async () => {
    const { code, stdout } = await run(['--help']);
    expect(code).toBe(0);
    for (const command of commands) expect(stdout.join('\n')).toContain(`  ${command} `);
  });

  it.concurrent('comes without a command too, as an error', async () => {
    const { code, stdout, stderr } = await run([]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: [] });
    expect(stderr[0]).toMatch(/^Usage: butterfly/);
  });

  it.concurrent('and the version', async () => {
    expect(await run(['--version'])).toMatchObject({ code: 0, stdout: [packageVersion], stderr: [] });
  });
});

describe('inspect', () => {
  it.concurrent('tells what the file holds', async () => {
    const { code, stdout, stderr } = await run(['inspect', model]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: [] });
    const text = stdout.join('\n');
    for (const pattern of [
      /^architecture +llama$/m,
      /^layers +4, /m,
      /^quantisation +F32 /m,
      /^tokenizer +llama, 512 tokens$/m,
      /^chat template +none$/m,
    ])
      expect(text).toMatch(pattern);
  });

  it.concurrent('gives the same as JSON, in which the bytes add up', async () => {
    const { code, stdout } = await run(['inspect', model, '--json']);
    expect(code).toBe(0);
    const summary = JSON.parse(stdout.join('\n')) as {
      architecture: string;
      layers: number;
      layerBytes: number[];
      inputBytes: number;
      outputBytes: number;
      quantisation: { bytes: number; tensors: number }[];
      tokenizer: { chatTemplate: string | null };
    };
    expect(summary).toMatchObject({ architecture: 'llama', layers: 4, tokenizer: { chatTemplate: null } });
    expect(summary.layerBytes).toHaveLength(summary.layers);
    const sum = (values: number[]): number => values.reduce((total, value) => total + value, 0);
    expect(sum(summary.layerBytes) + summary.inputBytes + summary.outputBytes).toBe(
      sum(summary.quantisation.map(({ bytes }) => bytes)),
    );
  });
});

describe('generate', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'butterfly-templates-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  it('continues the prompt, the same for the same seed, and says how fast', async () => {
    const args = [
      'generate',
      model,
      'Once upon a time',
      '--threads',
      '1',
      '--max-tokens',
      '20',
      '--temperature',
      '1',
      '--seed',
      '5',
      '--kv-cache-type',
      'f16',
    ];
    const [one, two] = await Promise.all([run(args), run([...args, '--workers', '2'])]);
    expect(one.code).toBe(0);
    expect(one.stdout.join('').length).toBeGreaterThan(10);
    expect(two.stdout).toEqual(one.stdout);
    expect(one.stderr).toEqual([
      expect.stringMatching(/^\[\d+ tokens, first after \d+ ms, then [\d.]+ per second\]$/),
    ]);
  });

  it('wraps the prompt in the chat template when asked', async () => {
    const args = ['generate', model, 'Once', '--threads', '1', '--max-tokens', '10', '--temperature', '0'];
    const [plain, chat] = await Promise.all([run(args), run([...args, '--chat'])]);
    expect(chat.code).toBe(0);
    expect(chat.stdout).not.toEqual(plain.stdout);
  });

  it('takes another chat template from a file, and refuses one that does not work', async () => {
    const generate = async (source: string, ...more: readonly string[]) => {
      const file = join(folder, 'template.jinja');
      await writeFile(file, source);
      const options = ['--threads', '1', '--max-tokens', '10', '--temperature', '0', '--chat-template', file];
      return run(['generate', model, 'Once', ...options, ...more]);
    };
    const plain = await run([
      'generate',
      model,
      'Once',
      '--threads',
      '1',
      '--max-tokens',
      '10',
      '--temperature',
      '0',
    ]);
    const bare = await generate('{{ bos_token }}{{ messages[0].content }}', '--chat');
    expect({ code: bare.code, stdout: bare.stdout }).toEqual({ code: 0, stdout: plain.stdout });
    for (const [source, words] of [
      ['  \n', 'blank'],
      ['{% if %}', 'expected an expression'],
      ["{% extends 'x' %}", 'extends'],
    ] as const) {
      const refused = await generate(source);
      expect([refused.code, refused.stderr.join('\n')]).toEqual([2, expect.stringContaining(words)]);
    }
    const missing = await run(['generate', model, 'Once', '--chat-template', join(folder, 'none.jinja')]);
    expect([missing.code, missing.stderr.join('\n')]).toEqual([2, expect.stringContaining('none.jinja')]);
  });

  it('ends when its reader leaves, and leaves no worker behind', async () => {
    const args = ['generate', model, 'The', '--threads', '1', '--ctx', '2048', '--temperature', '0'];
    await using butterfly = new Butterfly(args, { env: { BUTTERFLY_LOG: 'error' } });
    butterfly.closeStdout();
    expect(await butterfly.ended()).toEqual({ code: 0, signal: null });
    expect(butterfly.stderr).toEqual([]);
  });

  it('ends at once on SIGINT', async () => {
    await using butterfly = new Butterfly(['generate', model, 'The', '--threads', '1', '--ctx', '2048'], {
      env: { BUTTERFLY_LOG: 'info' },
    });
    await butterfly.until('its worker', () => butterfly.records('A local worker starts.')[0] ?? null);
    butterfly.kill('SIGINT');
    expect(await butterfly.ended()).toEqual({ code: 0, signal: null });
  });
});
