import { type PlannerInput, planPipeline } from '@butterfly/planning';
import { randomBits } from '@butterfly/testkit';
import { median } from './load/statistics.js';
import type { BenchOptions } from './options.js';
import { printTable, writeResult } from './report.js';

const layers = 128;
const sizes = [5, 10, 100, 1000] as const;
const GIB = 2 ** 30;

/** How long the planner takes for clusters of any size. */
export function benchPlanning({ repeats }: BenchOptions): Promise<void> {
  const results = sizes.flatMap((workers) =>
    (['latency', 'throughput'] as const).map((objective) => {
      const times: number[] = [];
      let stages = 0;
      for (let round = 0; round < repeats; round++) {
        const input = randomCluster(workers, objective, `planning ${round}`);
        const startMs = performance.now();
        stages = planPipeline(input).stages.length;
        times.push(performance.now() - startMs);
      }
      return { workers, objective, planningMs: median(times), stages };
    }),
  );
  printTable(
    `A plan of ${layers} layers for machines of many kinds, medians of ${repeats}`,
    ['workers', 'objective', 'stages', 'milliseconds'],
    results.map(({ workers, objective, stages, planningMs }) => [
      String(workers),
      objective,
      String(stages),
      planningMs,
    ]),
  );
  writeResult('planning', { repeats, layers, results });
  return Promise.resolve();
}

/** A model of 70 GB and machines between a small laptop and a large desktop. */
function randomCluster(count: number, objective: PlannerInput['objective'], key: string): PlannerInput {
  const bits = randomBits(key);
  const between = (from: number, to: number): number => from + ((bits() >>> 0) / 2 ** 32) * (to - from);
  const workers = Array.from({ length: count }, (_, index) => {
    const layerMicros = between(2_000, 30_000);
    const curve = [1, 8, 64].map((rows) => ({ rows, micros: layerMicros * (1 + rows / 16) }));
    return {
      workerId: `w${index}`,
      name: `machine-${index}`,
      memoryBytes: between(8, 64) * GIB,
      layerCurve: curve,
      curvesByKind: [curve, curve.map(({ rows, micros }) => ({ rows, micros: micros / 3 }))],
      outputCurve: curve,
    };
  });
  return {
    model: {
      name: 'a model of 70 GB',
      layerBytes: Array<number>(layers).fill(0.55 * GIB),
      // As in a model of which every fourth layer is of another kind.
      layerKinds: Array.from({ length: layers }, (_, layer) => (layer % 4 === 3 ? 1 : 0)),
      layerWords: Array<string>(layers).fill(''),
      inputBytes: GIB,
      outputBytes: GIB,
      cacheType: 'f16',
      kvBytesPerSlot: Array<number>(layers).fill(4096),
      arenaSlots: 16_384,
      overheadBytes: 0.3 * GIB,
      activationBytes: 32_768,
    },
    workers,
    link: () => ({ latencyMicros: 200, bytesPerSecond: 110e6, isRelayed: false }),
    objective,
    concurrency: 8,
  };
}
