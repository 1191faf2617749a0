import { cacheTypes } from '@butterfly/wire';
import { ownModel } from 'butterfly/command';
import { describe, expect, it } from 'vitest';
import { run } from './testing/butterfly.js';
import { model } from './testing/models.js';
import { Server } from './testing/server.js';

const said = /^The KV cache is (\w+)\. (.*)$/;

/** What the log says about the choice. */
function choices(server: Server): (readonly [type: string, reason: string])[] {
  return server.stderr
    .filter((line) => line.startsWith('{'))
    .flatMap((line) => {
      const match = said.exec((JSON.parse(line) as { readonly msg: string }).msg);
      return match ? [[match[1] ?? '', match[2] ?? ''] as const] : [];
    });
}

/** Mebibytes of the KV cache, as printed for each worker. */
function cacheMebibytes(server: Server): number {
  return server.stdout.reduce((sum, line) => {
    const [, count = 0, unit] = /KV cache ([\d.]+) (KiB|MiB)/.exec(line) ?? [];
    return sum + Number(count) / (unit === 'KiB' ? 1024 : 1);
  }, 0);
}

async function serve(args: readonly string[], path: string | null = null): Promise<Server> {
  return await new Server(args, { path }).ready();
}

async function text(server: Server): Promise<string> {
  const body = { model: 'butterfly-stories', prompt: 'Once upon a time', max_tokens: 60, temperature: 0 };
  const { choices: answers } = await server.openai.completions.create(body);
  return answers[0]?.text ?? '';
}

describe('--kv-cache-type', () => {
  it.each(cacheTypes)('%s serves the same text however many workers there are', async (type) => {
    await using one = await serve(['--kv-cache-type', type]);
    await using two = await serve(['--kv-cache-type', type, '--workers', '2']);
    expect(choices(one)).toEqual([[type, 'It was asked for.']]);
    const answer = await text(one);
    expect(answer.length).toBeGreaterThan(20);
    expect(await text(two)).toBe(answer);
    expect(cacheMebibytes(two)).toBeCloseTo(cacheMebibytes(one), 0);
  });

  it('q8_0 takes little more than half of the memory', async () => {
    await using half = await serve(['--kv-cache-type', 'f16']);
    await using quarter = await serve(['--kv-cache-type', 'q8_0']);
    expect(cacheMebibytes(quarter) / cacheMebibytes(half)).toBeCloseTo(34 / 64, 1);
  });

  it('is by default what the workers measured, says why, and stays after a worker died', async () => {
    await using server = await serve(['--kv-cache-type', 'auto', '--workers', '2']);
    const [[type, reason] = []] = choices(server);
    expect(cacheTypes).toContain(type);
    expect(reason).toMatch(
      /^Attention takes bf16 [\d.]+ and q8_0 [\d.]+ of the time that it takes with f16\.$/,
    );
    const answer = await text(server);
    process.kill(server.stages[0]?.pid ?? 0, 'SIGKILL');
    await server.plans(2);
    expect(await text(server)).toBe(answer);
    expect(choices(server)).toHaveLength(1);
  });

  it.each([
    ['q8_0', model, /CONFIG_INVALID: Heads of 16 elements are not whole Q8_0 blocks of 32/],
    ['q4_0', ownModel, /CONFIG_INVALID: .*Allowed choices are auto, f16, bf16, q8_0/],
  ])('%s is refused where it cannot be had', async (type, path, line) => {
    for (const command of [
      ['serve', path, '--port', '0', '--cluster-port', '0'],
      ['generate', path, 'Once'],
    ]) {
      const { code, stderr } = await run([...command, '--kv-cache-type', type]);
      expect({ code, stderr }).toEqual({ code: 2, stderr: [expect.stringMatching(line)] });
    }
  });
});
