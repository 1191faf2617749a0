import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Server } from './testing/server.js';

let server: Server;
beforeAll(async () => {
  server = await new Server(['--workers', '3', '--ctx', '2048', '--parallel', '4']).ready();
});
afterAll(() => server[Symbol.asyncDispose]());

const prompts = ['The', 'A neural', 'Layers', 'tensor'];

interface Outcome {
  readonly text: string;
  readonly reason: string | null;
}

async function stream(prompt: string, onText: (pieces: number) => void = () => undefined): Promise<Outcome> {
  const events = await server.openai.completions.create({ model: 'aidreams-260k', prompt, max_tokens: 1500, temperature: 0, stream: true });
  let text = '';
  let reason: string | null = null;
  let pieces = 0;
  for await (const { choices } of events) {
    text += choices[0]?.text ?? '';
    reason = choices[0]?.finish_reason ?? reason;
    onText(++pieces);
  }
  return { text, reason };
}

describe('a worker that is killed in mid-stream', () => {
  it.each(['middle', 'first', 'last'])('loses no token and changes none: the %s stage', async (place) => {
    const undisturbed: Outcome[] = [];
    for (const prompt of prompts) undisturbed.push(await stream(prompt));
    const { stages } = server;
    const victim = place === 'last' ? stages.at(-1) : stages[place === 'middle' ? 1 : 0];
    const plans = server.records('The plan is live.').length;
    const joined = server.records('A worker joined.').length;
    let killed = false;
    const outcomes = await Promise.all(
      prompts.map((prompt) =>
        stream(prompt, (pieces) => {
          if (pieces < 20 || killed || !victim) return;
          killed = process.kill(victim.pid, 'SIGKILL');
        }),
      ),
    );
    expect(killed).toBe(true);
    expect(outcomes).toEqual(undisturbed);
    expect(server.records('The plan is live.').length).toBeGreaterThan(plans);
    // The next one needs it as a spare.
    await server.until('the worker again', () => (server.records('A worker joined.').length > joined ? true : null));
  });
});
