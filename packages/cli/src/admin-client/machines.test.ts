import { fileURLToPath } from 'node:url';
import { type ModelSpec, describeFamilyModel, layerBytes, openGguf, outputBytes } from '@butterfly/model';
import { type PlannerInputOptions, planPipeline, plannerInput, plainWishes } from '@butterfly/planning';
import { ownModel } from 'butterfly/command';
import { beforeAll, describe, expect, it } from 'vitest';
import { describedCluster, describedWorker } from '../testing/cluster.js';
import { parseMachines, readMachines } from './machines.js';

let spec: ModelSpec;
beforeAll(async () => {
  spec = describeFamilyModel(await openGguf(ownModel));
});

const parse = (value: unknown) => parseMachines(JSON.stringify(value), 'home.json', spec);
const desk = { name: 'desk', memory: '16G', decodeTokensPerSecond: 40 };

describe('a file of machines', () => {
  it('gives speeds from what decoding reads', () => {
    const { members } = parse({
      workers: [desk, { name: 'laptop', memory: 8e9, weightBytesPerSecond: '15GB' }],
    });
    expect(members.map(({ name, memoryBytes }) => [name, memoryBytes])).toEqual([
      ['desk', 16 * 2 ** 30],
      ['laptop', 8e9],
    ]);
    const [first, second] = members;
    const micros =
      spec.layers * (first?.profile.layerCurve[0]?.micros ?? 0) +
      (first?.profile.outputCurve[0]?.micros ?? 0);
    expect(micros).toBeCloseTo(1e6 / 40, 3);
    const mean = layerBytes(spec).reduce((sum, bytes) => sum + bytes, 0) / spec.layers;
    expect(second?.profile.layerCurve[0]?.micros).toBeCloseTo((mean / 15e9) * 1e6, 6);
    expect(second?.profile.outputCurve[0]?.micros).toBeCloseTo((outputBytes(spec) / 15e9) * 1e6, 6);
    const curve = first?.profile.layerCurve ?? [];
    expect(curve.every(({ micros }, index) => index === 0 || micros > (curve[index - 1]?.micros ?? 0))).toBe(
      true,
    );
  });

  it('takes measured curves as they are', () => {
    const curves = { layerCurve: [{ rows: 1, micros: 5 }], outputCurve: [{ rows: 1, micros: 7 }] };
    expect(parse({ workers: [{ name: 'desk', memory: '1G', ...curves }] }).members[0]?.profile).toMatchObject(
      curves,
    );
  });

  it('knows links both ways, else the network, else Gigabit Ethernet', () => {
    const workers = ['a', 'b', 'c'].map((name) => ({ ...desk, name }));
    const links = [
      { from: 'a', to: 'b', latencyMs: 2, bandwidth: '300Mbit' },
      { from: 'b', to: 'orchestrator', latencyMs: 5, bandwidth: '10 MB/s', relayed: true },
      { from: 'c', to: 'a', latencyMs: 1, bandwidth: '1Gbit' },
      { from: 'a', to: 'c', latencyMs: 3, bandwidth: '1Gbps' },
    ];
    const { link } = parse({ workers, links, network: { latencyMs: 0.5, bandwidth: '2.5Gbit' } });
    const slow = { latencyMicros: 2000, bytesPerSecond: 37.5e6, isRelayed: false };
    expect([link('a', 'b'), link('b', 'a')]).toEqual([slow, slow]);
    expect(link(null, 'b')).toEqual({ latencyMicros: 5000, bytesPerSecond: 10e6, isRelayed: true });
    expect([link('a', 'c').latencyMicros, link('c', 'a').latencyMicros]).toEqual([3000, 1000]);
    expect(link('b', 'c')).toEqual({ latencyMicros: 500, bytesPerSecond: 312.5e6, isRelayed: false });
    expect(parse({ workers }).link('a', 'b')).toMatchObject({ isRelayed: false, latencyMicros: 200 });
  });

  it('may be what status prints', () => {
    const cluster = describedCluster();
    const measuring = describedWorker('w9', { state: 'measuring', profile: null });
    const { members, link } = parse({ ...cluster, workers: [...cluster.workers, measuring] });
    expect(members.map(({ workerId }) => workerId)).toEqual(['w3', 'w2', 'w1']);
    expect(link('w1', 'w2')).toMatchObject({ latencyMicros: 300, isRelayed: true });
    expect(link(null, 'w3')).toMatchObject({ latencyMicros: 150 });
    expect(() => parse({ ...cluster, workers: [measuring] })).toThrow(/no worker has measured itself/);
  });

  it('is planned for', () => {
    const { members, link } = parse({ workers: [desk, { ...desk, name: 'tiny', memory: '1K' }] });
    const options: PlannerInputOptions = {
      spec,
      arenaSlots: 1024,
      rowsMax: 512,
      wishes: { ...plainWishes, objective: 'latency' },
      concurrency: 1,
    };
    const plan = planPipeline(plannerInput(options, members, link, 'f16'));
    expect(plan.stages.map(({ workerId }) => workerId)).toEqual(['desk']);
    expect(1e6 / plan.predicted.latencyMicros).toBeLessThan(40);
    expect(1e6 / plan.predicted.latencyMicros).toBeGreaterThan(35);
  });

  it.each([
    ['{', /home\.json is no JSON/],
    ['{"workers":[]}', /workers/],
    [
      JSON.stringify({ workers: [{ name: 'a', memory: '1G' }] }),
      /workers\.0: must have name, memory, and one of/,
    ],
    [JSON.stringify({ workers: [desk, desk] }), /names must differ/],
    [JSON.stringify({ workers: [{ ...desk, name: 'orchestrator' }] }), /none may be "orchestrator"/],
    [
      JSON.stringify({
        workers: [desk],
        links: [{ from: 'desk', to: 'x', latencyMs: 1, bandwidth: '1Gbit' }],
      }),
      /no worker "x"/,
    ],
    [JSON.stringify({ workers: [desk], network: { latencyMs: 1, bandwidth: 'fast' } }), /such as "1Gbit"/],
    [JSON.stringify({ workers: [desk], speed: 1 }), /speed/],
  ])('is refused: %s', (text, message) => {
    expect(() => parseMachines(text, 'home.json', spec)).toThrow(
      expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringMatching(message) as string }),
    );
  });

  it('that is not there is an error, and the example is none', async () => {
    await expect(readMachines('/no/such/file', spec)).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    const example = fileURLToPath(new URL('../../../../docs/examples/workers.json', import.meta.url));
    expect((await readMachines(example, spec)).members).toHaveLength(3);
  });
});
