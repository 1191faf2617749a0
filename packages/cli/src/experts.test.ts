import { architectureFixtures, cachedArchitectureModel } from '@butterfly/testkit';
import { describe, expect, it } from 'vitest';
import { ifUndisturbed, listedDevices, withDevices } from './testing/devices.js';
import { Server, streamFrom } from './testing/server.js';

const tokens = 40;
const prompt = 'Once upon a time';

const fixture = architectureFixtures().find(({ name }) => name === 'qwen3moe');
if (!fixture) throw new RangeError('there is no fixture qwen3moe');
/** Rows are computed with all experts: with random weights a last bit would choose others. */
const path = await cachedArchitectureModel(
  {
    ...fixture,
    name: 'qwen3moe-all-experts',
    metadata: {
      ...fixture.metadata,
      block_count: 4,
      embedding_length: 512,
      'attention.key_length': 64,
      'attention.value_length': 64,
      'rope.dimension_count': 64,
      expert_count: 8,
      expert_used_count: 8,
      expert_feed_forward_length: 256,
    },
  },
  'Q8_0',
);
const devices = await listedDevices();
const hasVulkan = devices.some(({ name }) => name === 'vulkan0');

interface PlanRecord {
  readonly stages: readonly {
    readonly layerStart: number;
    readonly layerEnd: number;
    readonly host?: { readonly bytes: number; readonly experts: number };
  }[];
}

/** Of the first plan that was in force. */
const planOf = (server: Server): PlanRecord =>
  server.records('The plan is live.')[0] as unknown as PlanRecord;

describe.runIf(hasVulkan)('experts in the memory of the host', () => {
  it('say with a graphics card (of software) what they say on the CPU', async () => {
    const args = ['--workers', '1', '--ctx', '512', '--parallel', '2'];
    await using onCpu = await new Server(args, { path }).ready();
    const expected = await streamFrom(onCpu, prompt, tokens);
    const outcome = await withDevices(path, 'vulkan0', ['--experts', 'host'], async (server) => {
      expect(planOf(server).stages).toMatchObject([{ layerStart: 0, layerEnd: 4, host: { experts: 4 } }]);
      return ifUndisturbed(server, await streamFrom(server, prompt, tokens));
    });
    expect(outcome).toEqual(expected);
  }, 400_000);

  it('may be lost with their card in the midst of a stream, which goes on on the CPU', async () => {
    const args = ['--experts', 'host', '--stages', '2'];
    const { outcome, before } = await withDevices(path, 'vulkan0,cpu', args, async (server) => {
      const card = server.records('A local worker starts.').find(({ name }) => name === 'local-1');
      let [hits, text] = [0, ''];
      const streamed = await streamFrom(server, prompt, tokens, (pieces, soFar) => {
        if (pieces < 10 || hits > 0) return;
        text = soFar;
        hits += Number(process.kill(Number(card?.workerPid), 'SIGKILL'));
      });
      const isOnBoth = planOf(server).stages.length === 2;
      return hits > 0 && isOnBoth ? { outcome: streamed, before: text } : null;
    });
    expect(outcome.reason).toBe('length');
    expect(before.length).toBeGreaterThan(0);
    expect(outcome.text.startsWith(before)).toBe(true);
  }, 400_000);
});

it.runIf(!hasVulkan)('is left out, as there is no Vulkan driver here (Debian: mesa-vulkan-drivers)', () => {
  expect(devices.map(({ kind }) => kind)).toContain('cpu');
});
