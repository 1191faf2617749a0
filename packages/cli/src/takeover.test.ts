import { setTimeout as wait } from 'node:timers/promises';
import { hasNats, NatsServers } from '@butterfly/journal/testing';
import { describe, expect, it } from 'vitest';
import { Server } from './testing/server.js';

const headers = { 'content-type': 'application/json', 'idempotency-key': 'of-a-client' };
const body = { prompt: 'Once upon a time', max_tokens: 400, temperature: 1, seed: 3, stream: true };

const ask = (server: Server, more: Record<string, string> = {}): Promise<Response> =>
  fetch(`${server.url}/v1/completions`, {
    method: 'POST',
    headers: { ...headers, ...more },
    body: JSON.stringify({ ...body, ignore_eos: true, model: server.modelName }),
  });

/** What an answer says, piece by piece, until it ends or breaks off. */
async function hear(response: Response, onText: (text: string) => void): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  try {
    for await (const bytes of response.body ?? []) {
      text += decoder.decode(bytes as Uint8Array, { stream: true });
      onText(text);
    }
  } catch {
    // It broke off.
  }
  return text.slice(0, text.lastIndexOf('\n\n') + 2);
}

const said = (stream: string): string =>
  [...stream.matchAll(/^data: (\{.*)$/gm)]
    .map(([, json]) => JSON.parse(json ?? '') as { choices?: { text: string }[] })
    .map(({ choices }) => choices?.[0]?.text ?? '')
    .join('');

describe.runIf(hasNats)('an orchestrator that is paused, and another one in its place', () => {
  it('goes on with its answers, and the one that wakes up says no word more of them', async () => {
    const nats = await NatsServers.start(1);
    const args = ['--ctx', '1024', '--deterministic', '--nats', nats.addresses[0] ?? '', '--pool', 'home'];
    await using first = await new Server(args).ready();
    const whole = said(await hear(await ask(first, { 'idempotency-key': 'undisturbed' }), () => undefined));
    expect(whole.length).toBeGreaterThan(400);
    const pauses: boolean[] = [];
    const hearing = hear(await ask(first), (text) => {
      if (pauses.length > 0 || text.split('\n\n').length < 12) return;
      first.kill('SIGSTOP');
      pauses.push(true);
    });
    for (let turn = 0; turn < 2_000 && pauses.length === 0; turn++) await wait(5);
    await using second = await new Server(args).ready();
    const answer = said(await hear(await ask(second), () => undefined));
    expect(answer).toBe(whole);
    expect(second.records('An answer goes on that an earlier process began.')).toHaveLength(1);
    first.kill('SIGCONT');
    const before = await hearing;
    expect(whole.startsWith(said(before))).toBe(true);
    expect(said(before).length).toBeLessThan(whole.length);
    expect(before).toContain('JOURNAL_FAILED');
    expect(before).not.toContain('[DONE]');
    await nats.stop();
  });
});
