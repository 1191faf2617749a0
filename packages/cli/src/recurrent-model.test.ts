import { architectureFixtures, writeArchitectureModel, triedOf } from '@butterfly/testkit';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run } from './testing/butterfly.js';
import { Folder } from './testing/models.js';
import { Server, streamFrom } from './testing/server.js';

const names = ['qwen35', 'mamba2', 'granitehybrid'];
const folder = new Folder();
const pathOf = (name: string): string => join(folder.path, `${name}.gguf`);
beforeAll(async () => {
  for (const fixture of architectureFixtures().filter(({ name }) => names.includes(name)))
    await writeArchitectureModel(pathOf(fixture.name), fixture, 'Q8_0');
});
afterAll(() => folder[Symbol.dispose]());

const answerTokens = 60;
/** Of some 500 tokens, as most characters are one. */
const firstTurn = Array.from({ length: 36 }, (_, i) => `Part ${i} of it all.`).join(' ');
/** The template of a chat may put other words behind the last message than in the turn after. */
const secondTurn = `${firstTurn.slice(0, -8)} And then another question, which the first turn did not have.`;

interface Answer {
  readonly text: string;
  readonly reason: string | null;
  readonly cachedTokens: number;
}

async function ask(server: Server, prompt: string): Promise<Answer> {
  const { choices, usage } = await server.openai.completions.create({
    model: server.modelName,
    prompt,
    max_tokens: answerTokens,
    temperature: 0,
  });
  return {
    text: choices[0]?.text ?? '',
    reason: choices[0]?.finish_reason ?? null,
    cachedTokens: usage?.prompt_tokens_details?.cached_tokens ?? 0,
  };
}

it('inspect tells how large a state is, and plan counts those that are kept', async () => {
  const json = async (...args: readonly string[]): Promise<unknown> => {
    const { code, stdout } = await run([...args, '--json']);
    expect(code).toBe(0);
    return JSON.parse(stdout.join('\n'));
  };
  const path = pathOf('mamba2');
  const bytes = async (checkpoints: number): Promise<number> => {
    const flags = ['--ctx', '256', '--parallel', '1', '--state-checkpoints', String(checkpoints)];
    const { plan } = (await json('plan', path, ...flags)) as { plan: { stages: { bytes: number }[] } };
    return plan.stages.reduce((sum, stage) => sum + stage.bytes, 0);
  };
  const { stateBytesPerSequence } = (await json('inspect', path)) as { stateBytesPerSequence: number };
  expect(stateBytesPerSequence).toBeGreaterThan(0);
  expect((await bytes(28)) - (await bytes(0))).toBeCloseTo(28 * stateBytesPerSequence);
});

describe.each(triedOf(names))('%s, whose layers keep states', (name) => {
  const start = (workers: number, ...more: readonly string[]): Promise<Server> => {
    const usual = ['--ctx', '1024', '--parallel', '2', '--deterministic'];
    const flags = ['--workers', String(workers), ...usual, ...more];
    return new Server(flags, { path: pathOf(name) }).ready();
  };

  it('answers the same from a checkpoint and with guesses as from the beginning without, also after a worker died', async () => {
    await using fresh = await start(1, '--speculation', 'off');
    const expected = await ask(fresh, secondTurn);
    expect(expected).toMatchObject({ cachedTokens: 0 });
    expect(expected.text.length).toBeGreaterThan(0);
    fresh.kill('SIGTERM');

    await using server = await start(2);
    expect(await ask(server, firstTurn)).toMatchObject({ cachedTokens: 0 });
    const second = await ask(server, secondTurn);
    expect(second).toMatchObject({ text: expected.text, reason: expected.reason });
    expect(second.cachedTokens).toBeGreaterThan(firstTurn.length / 2);

    // Its states are gone with it: those that the others still have must not be used either.
    const victim = server.stages[0]?.pid ?? 0;
    let isHit = false;
    const outcome = await streamFrom(server, secondTurn, answerTokens, (pieces) => {
      // Guesses bring many pieces at once.
      if (pieces >= 2 && !isHit) isHit = process.kill(victim, 'SIGKILL');
    });
    expect(isHit).toBe(true);
    expect(outcome).toEqual({ text: expected.text, reason: expected.reason });
    await server.plans(2);
    // A worker that is back may bring one plan more, whose caches are empty.
    const again = await server.inOnePlan(async () => {
      expect(await ask(server, secondTurn)).toMatchObject({ text: expected.text });
      return ask(server, secondTurn);
    });
    expect(again).toMatchObject({ text: expected.text, reason: expected.reason });
    expect(again.cachedTokens).toBeGreaterThan(firstTurn.length / 2);
  });
});
