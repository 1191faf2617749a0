import type { Constraint } from '@butterfly/constraint';
import { greedySampling } from '@butterfly/wire';
import { decodePerSecond } from '../load/run-load.js';
import { median } from '../load/statistics.js';
import { LocalCluster } from '../local-cluster.js';
import { halfBillion } from '../models.js';
import type { BenchOptions } from '../options.js';
import { printTable, writeResult } from '../report.js';

const streams = 8;
const tokens = 48;
const promptTokens = 16;
const fields = 20;
/** What is to be reached: at most a tenth slower. */
const ratioMin = 0.9;

/** Twenty fields of the usual kinds, all required. */
const schema: Constraint = {
  kind: 'schema',
  schema: {
    type: 'object',
    properties: Object.fromEntries(
      Array.from({ length: fields }, (_, index) => [
        `field_${index}`,
        [
          { type: 'string' },
          { type: 'integer', minimum: 0 },
          { type: 'number' },
          { type: 'boolean' },
          { enum: ['red', 'green', 'blue'] },
          { type: 'string', maxLength: 40 },
          { type: 'array', items: { type: 'string' } },
          { type: 'string', format: 'date' },
          { type: ['string', 'null'] },
          { type: 'string', pattern: '^[A-Z]{2}[0-9]+$' },
        ][index % 10] ?? { type: 'null' },
      ]),
    ),
    required: Array.from({ length: fields }, (_, index) => `field_${index}`),
    additionalProperties: false,
  },
};

/** Decoding of eight streams with a schema of twenty fields against the same without, in turns. */
export async function benchConstraints(options: BenchOptions): Promise<void> {
  const { repeats, threads } = options;
  const path = options.model ?? (await halfBillion());
  const shape = { workers: 1, threads, contextTokens: 512, parallel: streams, speculation: 'off' } as const;
  await using cluster = await LocalCluster.start(path, shape);
  const rounds: { readonly free: number; readonly held: number; readonly firstMs: number }[] = [];
  // The first round warms up, and compiles.
  const cold = await run(cluster, 0, schema);
  for (let round = 1; round <= repeats; round++) {
    const free = await run(cluster, round, undefined);
    const held = await run(cluster, round, schema);
    rounds.push({ free: free.perSecond, held: held.perSecond, firstMs: held.firstMs });
  }
  const result = {
    streams,
    tokens,
    vocabulary: cluster.vocabularySize,
    freePerSecond: median(rounds.map(({ free }) => free)),
    heldPerSecond: median(rounds.map(({ held }) => held)),
    ratio: median(rounds.map(({ free, held }) => held / free)),
    firstMs: median(rounds.map(({ firstMs }) => firstMs)),
    coldFirstMs: cold.firstMs,
  };
  printTable(
    `Constraints, medians of ${repeats} rounds: ${streams} streams, tokens per second in all`,
    ['free', 'schema of 20 fields', 'ratio', 'to reach', 'first token ms', 'with compiling ms'],
    [
      [
        result.freePerSecond,
        result.heldPerSecond,
        result.ratio,
        ratioMin,
        result.firstMs,
        result.coldFirstMs,
      ],
    ],
  );
  writeResult('constraints', { repeats, threads, rounds, ...result });
}

/** Eight streams at once; the sum of what each decodes per second, and the median time to its first token. */
async function run(
  cluster: LocalCluster,
  round: number,
  constraint: Constraint | undefined,
): Promise<{ readonly perSecond: number; readonly firstMs: number }> {
  const texts = await Promise.all(
    Array.from({ length: streams }, (_, stream) => {
      const seed = round * streams + stream;
      const prompt = Array.from({ length: promptTokens }, (__, at) => 300 + ((seed * 97 + at * 31) % 1000));
      const sampling = { ...greedySampling, temperature: 1, seed };
      return cluster.generate(prompt, tokens, sampling, undefined, constraint);
    }),
  );
  return {
    perSecond: texts.reduce((sum, text) => sum + decodePerSecond(text), 0),
    firstMs: median(texts.map(({ startMs, piecesMs }) => (piecesMs[0] ?? startMs) - startMs)),
  };
}
