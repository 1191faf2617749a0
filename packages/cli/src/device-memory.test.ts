import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { architectureFixtures, cachedArchitectureModel } from '@butterfly/testkit';
import { describe, expect, it } from 'vitest';
import { driverTries, listedDevices, softwareCard } from './testing/devices.js';

const fixture = architectureFixtures().find(({ name }) => name === 'qwen3moe');
if (!fixture) throw new RangeError('there is no fixture qwen3moe');
/**
 * Of some 390 MB beside 540 MB of cache, so that what a process has anyway, and intermediates, for which the plan has a bound
 * (59 MB, of which 20 to 30 are taken), are little beside it.
 */
const path = await cachedArchitectureModel(
  {
    ...fixture,
    name: 'qwen3moe-large',
    metadata: {
      ...fixture.metadata,
      block_count: 4,
      embedding_length: 2048,
      'attention.head_count': 16,
      'attention.head_count_kv': 4,
      'attention.key_length': 128,
      'attention.value_length': 128,
      'rope.dimension_count': 128,
      expert_count: 16,
      expert_used_count: 2,
      expert_feed_forward_length: 768,
    },
  },
  'Q8_0',
);
const devices = await listedDevices();
const hasVulkan = devices.some(({ name }) => name === 'vulkan0');

interface Measured {
  /** What the plan says, in bytes. */
  readonly planned: {
    readonly bytes: number;
    readonly host?: { readonly bytes: number; readonly experts: number };
  };
  /** What a process has without a stage, by the plan. */
  readonly processBytes: number;
  /** What the buffers of the stage hold. */
  readonly memory: { readonly deviceBytes: number; readonly hostBytes: number };
  /** What the process took more when the stage was loaded; the software driver has the memory of its card there too. */
  readonly takenBytes: number;
  /** Intermediates, which are not touched before the first step. */
  readonly computeBytes: number;
}

/** Loads a stage as planned in a process of its own, which the software driver may end. */
const program = `
import { silentLogger } from '@butterfly/common';
import { loadGgml, loadGpus } from '@butterfly/ggml';
import { describeAny, surveyInChild } from '@butterfly/llama-graph';
import { openGguf } from '@butterfly/model';
import { plainWishes, planPipeline, plannerInput } from '@butterfly/planning';
import { StageRuntime } from '@butterfly/stage';
import { LocalSource } from '@butterfly/weights';

const [path, device, experts] = process.argv.slice(1);
const ggml = loadGgml({ log: silentLogger });
loadGpus(ggml, { backends: null, log: silentLogger });
const spec = await describeAny(await openGguf(path), (request) => surveyInChild(request, { ggmlDirectory: undefined }));
const [arenaSlots, rowsMax] = [65_536, 512];
const layerCurve = [{ rows: 1, micros: 100 }];
const profile = { layerCurve, outputCurve: layerCurve, attentionMicros: { f16: 1, bf16: 1, q8_0: 1 } };
const host = device === 'cpu' ? {} : { host: { memoryBytes: 2 ** 36, experts } };
const member = { workerId: 'a', name: 'a', memoryBytes: 2 ** 36, ...host, profile };
const options = { spec, arenaSlots, rowsMax, wishes: plainWishes, concurrency: 1 };
const link = () => ({ latencyMicros: 1, bytesPerSecond: 1e9, isRelayed: false });
const [planned] = planPipeline(plannerInput(options, [member], link, 'f16')).stages;
const range = { layerStart: planned.layerStart, layerEnd: planned.layerEnd };
// The first of each kind of thing costs something once.
const settings = { ggml, spec, range, device, threads: 1, hostExperts: planned.host?.experts ?? 0, arenaSlots, cacheType: 'f16', rowsMax };
const before = process.memoryUsage.rss();
const stage = new StageRuntime(settings);
const source = await LocalSource.open(spec);
await stage.load(source);
await source[Symbol.asyncDispose]();
const takenBytes = process.memoryUsage.rss() - before;
const { memory, computeBytes } = stage;
console.log(JSON.stringify({ planned, processBytes: 128 * 2 ** 20, memory, takenBytes, computeBytes }));
stage[Symbol.dispose]();
`;

async function measure(device: string, experts: string): Promise<Measured> {
  for (let attempt = 1; ; attempt++)
    try {
      const { stdout } = await promisify(execFile)(
        process.execPath,
        ['--input-type=module', '--eval', program, path, device, experts],
        { cwd: import.meta.dirname, env: { ...process.env, ...softwareCard } },
      );
      return JSON.parse(stdout) as Measured;
    } catch (thrown) {
      const isOfDriver = thrown instanceof Error && 'signal' in thrown && thrown.signal !== null;
      if (!isOfDriver || attempt === driverTries) throw thrown;
      console.log(`The driver ended its process; try ${attempt} of ${driverTries}.`);
    }
}

/** Within a tenth. */
function expectAbout(actual: number, predicted: number): void {
  expect(actual).toBeGreaterThan(predicted * 0.9);
  expect(actual).toBeLessThan(predicted * 1.1);
}

describe('the memory of a stage', () => {
  it('is what the plan says, on the CPU', async () => {
    const { planned, processBytes, memory, takenBytes, computeBytes } = await measure('cpu', 'device');
    expect(memory.deviceBytes).toBe(0);
    expectAbout(memory.hostBytes, planned.bytes - processBytes);
    expectAbout(takenBytes, memory.hostBytes - computeBytes);
  });

  it.runIf(hasVulkan).each(['host', 'device'])(
    'is what the plan says of a card and of the host, with experts on the %s, and no weights are there twice',
    async (experts) => {
      const { planned, processBytes, memory, takenBytes, computeBytes } = await measure('vulkan0', experts);
      expectAbout(memory.deviceBytes, planned.bytes);
      const { deviceBytes, hostBytes } = memory;
      expect(planned.host?.experts).toBe(experts === 'host' ? 4 : 0);
      const plannedHost = (planned.host?.bytes ?? 0) - processBytes;
      if (experts === 'host') expectAbout(hostBytes, plannedHost);
      else expect(hostBytes).toBeLessThanOrEqual(plannedHost);
      expectAbout(takenBytes, deviceBytes + hostBytes - computeBytes);
    },
  );
});

it.runIf(!hasVulkan)(
  'is told of the CPU alone, as there is no Vulkan driver here (Debian: mesa-vulkan-drivers)',
  () => {
    expect(devices.map(({ kind }) => kind)).toContain('cpu');
  },
);
