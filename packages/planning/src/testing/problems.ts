import type { StepTime } from '@butterfly/common';
import { cacheTypes } from '@butterfly/wire';
import fc from 'fast-check';
import { predict } from '../cost.js';
import { fitsWorker, stageBytes } from '../stage-memory.js';
import {
  expertWishes,
  type Link,
  type NamedInput,
  type PlannerInput,
  type PlannerModel,
  type PlannerWorker,
  type Placement,
} from '../types.js';

export const gib = 2 ** 30;

/** 16 layers of 1 GiB. */
export const plainModel: PlannerModel = {
  name: 'plain',
  layerBytes: new Array<number>(16).fill(gib),
  layerKinds: new Array<number>(16).fill(0),
  layerWords: new Array<string>(16).fill(''),
  inputBytes: gib,
  outputBytes: 2 * gib,
  cacheType: 'f16',
  kvBytesPerSlot: new Array<number>(16).fill(1024),
  arenaSlots: 65_536,
  overheadBytes: gib / 4,
  activationBytes: 8192,
};

/** A worker whose step costs as much whatever its rows up to 8, and then in proportion. */
export function worker(workerId: string, layerMicros: number, memoryBytes = 32 * gib): PlannerWorker {
  const curve = (micros: number) =>
    [1, 8, 64].map((rows) => ({ rows, micros: micros * Math.max(1, rows / 8) }));
  return {
    workerId,
    name: `name of ${workerId}`,
    memoryBytes,
    layerCurve: curve(layerMicros),
    curvesByKind: [curve(layerMicros)],
    outputCurve: curve(2 * layerMicros),
  };
}

export const lan: Link = { latencyMicros: 100, bytesPerSecond: 125e6, isRelayed: false };

/** Three like workers on a local network. */
export function plain(change: Partial<PlannerInput> = {}): PlannerInput {
  return {
    model: plainModel,
    workers: ['a', 'b', 'c'].map((id) => worker(id, 1000)),
    link: () => lan,
    objective: 'throughput',
    concurrency: 16,
    ...change,
  };
}

/** Times of a step by rows, with cliffs and sweet spots. */
const curve = fc
  .record({
    micros: fc.integer({ min: 100, max: 5000 }),
    growth: fc.array(fc.double({ min: 0.8, max: 3, noNaN: true }), { minLength: 3, maxLength: 3 }),
  })
  .map(({ micros, growth }) =>
    [1, 4, 16, 64].map((rows, index) => ({
      rows,
      micros: growth.slice(0, index).reduce((product, factor) => product * factor, micros),
    })),
  );

function slower(points: readonly StepTime[], factor: number): StepTime[] {
  return points.map(({ rows, micros }) => ({ rows, micros: micros * factor }));
}

/** Clusters of any kind, some workers of which are cards with the memory of a host beside them, and whose links differ, too, for models of layers that are alike or not. */
export function clusters(workersMin: number, workersMax: number, layersMin: number, layersMax: number) {
  return fc.integer({ min: workersMin, max: workersMax }).chain((count) =>
    fc
      .record({
        layerBytes: fc.array(fc.integer({ min: 5, max: 9 }), { minLength: layersMin, maxLength: layersMax }),
        inputBytes: fc.nat(6),
        outputBytes: fc.nat(9),
        cacheType: fc.constantFrom(...cacheTypes),
        kvBytesPerSlot: fc.array(fc.nat(2), { minLength: layersMax, maxLength: layersMax }),
        kindsMax: fc.constantFrom(1, 2, 3),
        layerKinds: fc.array(fc.nat(2), { minLength: layersMax, maxLength: layersMax }),
        arenaSlots: fc.nat(2),
        overheadBytes: fc.nat(3),
        hostOverheadBytes: fc.nat(1),
        expertBytes: fc.array(fc.nat(5), { minLength: layersMax, maxLength: layersMax }),
        joined: fc.array(fc.integer({ min: 1, max: layersMax }), { maxLength: 3 }),
        objective: fc.constantFrom('latency' as const, 'throughput' as const),
        concurrency: fc.integer({ min: 1, max: 20 }),
        workers: fc.array(
          fc.record({
            share: fc.double({ min: 0, max: 1.2, noNaN: true }),
            curvesByKind: fc.array(curve, { minLength: 3, maxLength: 3 }),
            outputCurve: curve,
            // Of those on cards.
            host: fc.option(
              fc.record({
                share: fc.double({ min: 0.1, max: 1.2, noNaN: true }),
                slowdown: fc.double({ min: 0.5, max: 10, noNaN: true }),
                experts: fc.constantFrom(...expertWishes),
              }),
              { nil: undefined, freq: 1 },
            ),
          }),
          { minLength: count, maxLength: count },
        ),
        links: fc.array(
          fc.record({
            latencyMicros: fc.integer({ min: 10, max: 5000 }),
            bytesPerSecond: fc.integer({ min: 1_000_000, max: 1_000_000_000 }),
            isRelayed: fc.boolean(),
          }),
          { minLength: (count + 1) ** 2, maxLength: (count + 1) ** 2 },
        ),
      })
      .map(({ workers, links, objective, concurrency, kindsMax, joined, ...generated }): NamedInput => {
        const layerKinds = generated.layerKinds.map((kind) => kind % kindsMax);
        const joinedLayers = new Set(joined.filter((layer) => layer < generated.layerBytes.length));
        const model = { ...plainModel, ...generated, layerKinds, joinedLayers };
        const allBytes = stageBytes(model, 0, model.layerBytes.length);
        const ids = [null, ...workers.map((_, index) => `w${index}`)];
        return {
          model,
          workers: workers.map(({ share, host, ...curves }, index) => ({
            workerId: `w${index}`,
            name: `worker ${index}`,
            memoryBytes: Math.round(share * allBytes),
            layerCurve: curves.curvesByKind[0] ?? [],
            ...curves,
            ...(host
              ? {
                  host: {
                    memoryBytes: Math.round(host.share * allBytes),
                    experts: host.experts,
                    curvesByKind: curves.curvesByKind.map((points) => slower(points, host.slowdown)),
                  },
                }
              : {}),
          })),
          link: (from, to) => links[ids.indexOf(from) * ids.length + ids.indexOf(to)] ?? lan,
          objective,
          concurrency,
        };
      }),
  );
}

/** Every number of layers whose experts may lie with the host. */
function everyHome({ host }: PlannerWorker, placement: Placement): Placement[] {
  const layers = placement.layerEnd - placement.layerStart;
  if (!host) return [placement];
  const numbers = { auto: [...Array(layers + 1).keys()], host: [layers], device: [0] }[host.experts];
  return numbers.map((hostExperts) => ({ ...placement, hostExperts }));
}

/**
 * Every order of every subset of the workers with every split of the layers that may be and fits, and on cards with every
 * number of layers whose experts lie with the host.
 */
export function everyPlacement(input: PlannerInput, done: readonly Placement[] = []): Placement[][] {
  const layers = input.model.layerBytes.length;
  const layerStart = done.at(-1)?.layerEnd ?? 0;
  if (layerStart === layers) return [[...done]];
  return input.workers
    .filter(({ workerId }) => done.every((stage) => stage.workerId !== workerId))
    .flatMap((worker) =>
      Array.from({ length: layers - layerStart }, (_, index) => layerStart + index + 1)
        .filter((layerEnd) => input.model.joinedLayers?.has(layerEnd) !== true)
        .flatMap((layerEnd) => everyHome(worker, { workerId: worker.workerId, layerStart, layerEnd }))
        .filter((placement) => fitsWorker(input.model, worker, placement))
        .flatMap((placement) => everyPlacement(input, [...done, placement])),
    );
}

/** The best that any of them is predicted to reach, by the objective. */
export function bestPossible(input: PlannerInput, placements: readonly (readonly Placement[])[]): number {
  const predictions = placements.map((each) => predict(each, input).predicted);
  return input.objective === 'latency'
    ? Math.min(...predictions.map(({ latencyMicros }) => latencyMicros))
    : Math.max(...predictions.map(({ tokensPerSecond }) => tokensPerSecond));
}
