import { beforeAll, describe, expect, it } from 'vitest';
import { Server, streamFrom, type Outcome } from './testing/server.js';

const prompts = ['The', 'A neural', 'Layers', 'tensor'];

/** A server for each test: a worker that is lost again and again is left out for longer and longer. */
const start = (): Promise<Server> =>
  new Server(['--workers', '3', '--ctx', '2048', '--parallel', '4']).ready();

const stream = (server: Server, prompt: string, onPiece?: (pieces: number) => void): Promise<Outcome> =>
  streamFrom(server, prompt, 1500, onPiece);

let undisturbed: readonly Outcome[];
beforeAll(async () => {
  await using server = await start();
  undisturbed = await Promise.all(prompts.map((prompt) => stream(server, prompt)));
});

describe('a worker that dies in mid-stream', () => {
  it.each([
    ['the middle stage', 1, 'SIGKILL'],
    ['the first stage', 0, 'SIGKILL'],
    ['the last stage', -1, 'SIGKILL'],
    // Alive to the system, but mute: its neighbours may notice before the orchestrator does.
    ['silently', 0, 'SIGSTOP'],
  ] as const)('costs no token and changes none: %s', async (_, place, signal) => {
    await using server = await start();
    const plans = server.records('The plan is live.').length;
    const joins = server.records('A worker joined.').length;
    const victim = server.stages.at(place)?.pid ?? 0;
    let isHit = false;
    const outcomes = await Promise.all(
      prompts.map((prompt) =>
        stream(server, prompt, (pieces) => {
          if (pieces >= 20 && !isHit) isHit = process.kill(victim, signal);
        }),
      ),
    );
    expect(outcomes).toEqual(undisturbed);
    expect(isHit).toBe(true);
    expect(server.records('The plan is live.').length).toBeGreaterThan(plans);
    if (signal === 'SIGSTOP') process.kill(victim, 'SIGKILL');
    await server.until('its successor', () => server.records('A worker joined.')[joins] ?? null);
    // Which takes its part again.
    await server.until('three stages', () => (server.stages.length === 3 ? true : null));
  });

  it('costs no loading where a spare holds its layers', async () => {
    const flags = ['--workers', '3', '--spares', '1', '--ctx', '2048', '--parallel', '4'];
    await using server = await new Server(flags).ready();
    const copy = await server.until('the copy', () => server.records('A shard is loaded.')[2] ?? null);
    expect(server.stages).toHaveLength(2);
    const order = server.records('A shard is to be loaded.').find(({ shardId }) => shardId === copy.shardId);
    const victim = server.stages.find(({ layers }) => String(layers) === String(order?.layers))?.pid ?? 0;
    let linesBefore = 0;
    const outcomes = await Promise.all(
      prompts.map((prompt) =>
        stream(server, prompt, (pieces) => {
          if (pieces < 20 || linesBefore > 0) return;
          linesBefore = server.stderr.length;
          process.kill(victim, 'SIGKILL');
        }),
      ),
    );
    expect(outcomes).toEqual(undisturbed);
    const after = server.stderr.slice(linesBefore);
    const next = after.findIndex((line) => line.includes('"The plan is live."'));
    expect(after[next]).toContain(`"workerId":"${String(copy.workerId)}"`);
    expect(after.slice(0, next).filter((line) => line.includes('A shard is to be loaded.'))).toEqual([]);
  });
});
