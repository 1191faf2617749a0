import { greedySampling } from '@butterfly/wire';
import { decodePerSecond } from './load/run-load.js';
import { median } from './load/statistics.js';
import { LocalCluster } from './local-cluster.js';
import { halfBillion, promptOf } from './models.js';
import type { BenchOptions } from './options.js';
import { printTable, writeResult } from './report.js';
import { timesOf } from './step-times.js';

const stages = 2;
const streams = 8;
const tokens = 48;
const promptTokens = 16;
/** What is to be reached. */
const ratioMin = 0.97;
const hopMsMax = 0.05;

/** Eight streams, and one, over links with TLS and without, in turns: two stages of one thread each. */
export async function benchSecurity(options: BenchOptions): Promise<void> {
  const { repeats } = options;
  const path = options.model ?? (await halfBillion());
  const shape = {
    workers: stages,
    threads: 1,
    contextTokens: 512,
    parallel: streams,
    speculation: 'off',
  } as const;
  await using plain = await LocalCluster.start(path, { ...shape, isInsecure: true });
  await using secure = await LocalCluster.start(path, shape);
  const rounds: { readonly plain: Round; readonly secure: Round }[] = [];
  for (let round = 0; round <= repeats; round++) {
    // Whoever goes first has other caches before it.
    const order = round % 2 === 0 ? [plain, secure] : [secure, plain];
    const first = await run(order[0] ?? plain, round);
    const second = await run(order[1] ?? plain, round);
    // The first round warms up.
    if (round > 0)
      rounds.push(round % 2 === 0 ? { plain: first, secure: second } : { plain: second, secure: first });
  }
  const of = (side: 'plain' | 'secure', what: keyof Round): number =>
    median(rounds.map((each) => each[side][what]));
  const result = {
    stages,
    streams,
    tokens,
    plainPerSecond: of('plain', 'perSecond'),
    securePerSecond: of('secure', 'perSecond'),
    ratio: median(rounds.map((each) => each.secure.perSecond / each.plain.perSecond)),
    plainOverheadMs: of('plain', 'overheadMs'),
    secureOverheadMs: of('secure', 'overheadMs'),
    /** Each token goes from stage to stage and back to the first. */
    msPerHop: median(rounds.map((each) => (each.secure.overheadMs - each.plain.overheadMs) / stages)),
  };
  printTable(
    `TLS between processes, medians of ${repeats} rounds: ${streams} streams over ${stages} stages, and one`,
    [
      'plain tok/s',
      'TLS tok/s',
      'ratio',
      'to reach',
      'plain overhead ms',
      'TLS overhead ms',
      'ms per hop',
      'at most',
    ],
    [
      [
        result.plainPerSecond,
        result.securePerSecond,
        result.ratio,
        ratioMin,
        result.plainOverheadMs,
        result.secureOverheadMs,
        result.msPerHop,
        hopMsMax,
      ],
    ],
  );
  writeResult('security', { repeats, rounds, ...result });
}

interface Round {
  /** Of all streams together. */
  readonly perSecond: number;
  /** Of a token of one stream, outside native computation. */
  readonly overheadMs: number;
}

async function run(cluster: LocalCluster, round: number): Promise<Round> {
  const texts = await Promise.all(
    Array.from({ length: streams }, (_, stream) => {
      const seed = round * streams + stream;
      const prompt = Array.from({ length: promptTokens }, (__, at) => 300 + ((seed * 97 + at * 31) % 1000));
      return cluster.generate(prompt, tokens, { ...greedySampling, temperature: 1, seed });
    }),
  );
  const alone = await cluster.decode(promptOf(promptTokens), tokens);
  return {
    perSecond: texts.reduce((sum, text) => sum + decodePerSecond(text), 0),
    overheadMs: median(timesOf(alone).map(({ overheadMs }) => overheadMs)),
  };
}
