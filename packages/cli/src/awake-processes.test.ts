import { accessSync, constants, readdirSync, readlinkSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { Server } from './testing/server.js';

const latencyFile = '/dev/cpu_dma_latency';

function mayAsk(): boolean {
  try {
    accessSync(latencyFile, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** Whether a process holds the system's request for cores that wake fast. */
function isHeldBy(pid: number): boolean {
  const folder = `/proc/${pid}/fd`;
  return readdirSync(folder).some((file) => {
    try {
      return readlinkSync(`${folder}/${file}`) === latencyFile;
    } catch {
      // Closed meanwhile.
      return false;
    }
  });
}

/** Asks for a few tokens; tells whether each worker held the request right afterwards. */
async function heldAfterTokens(server: Server): Promise<boolean[]> {
  const response = await server.post('/v1/completions', { prompt: 'Once', max_tokens: 8 });
  await response.text();
  expect(response.status).toBe(200);
  return server.stages.map(({ pid }) => isHeldBy(pid));
}

// Only root may ask, unless the system is told otherwise.
describe.runIf(mayAsk())('cores of local workers', () => {
  it('are kept awake while steps pass, and sleep again after the last', async () => {
    await using server = await new Server(['--workers', '2']).ready();
    const held = (): boolean[] => server.stages.map(({ pid }) => isHeldBy(pid));
    await expect.poll(held, { timeout: 60_000 }).toEqual([false, false]);
    // Of a busy machine, an answer may take longer to come back than the request is held.
    await expect.poll(() => heldAfterTokens(server), { timeout: 60_000 }).toEqual([true, true]);
    await expect.poll(held, { timeout: 60_000 }).toEqual([false, false]);
  });

  it('sleep as they like with --no-awake', async () => {
    await using server = await new Server(['--workers', '2', '--no-awake']).ready();
    for (let request = 0; request < 3; request++)
      expect(await heldAfterTokens(server)).toEqual([false, false]);
  });
});
