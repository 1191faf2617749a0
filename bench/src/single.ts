import { measureHops, type StagesResult } from './hops.js';
import { lightModel, oneBillion } from './models.js';
import { measureOneProcess } from './one-process.js';
import type { BenchOptions } from './options.js';
import { printTable, writeResult } from './report.js';
import { binariesIfGiven } from './servers/binaries.js';
import { measureOneStream, printOneStream } from './servers/one-stream.js';

const mebibyte = 2 ** 20;
/** Of each repeat of the large model: what a hop costs is little beside how much a run differs from the next. */
const lightRepeats = 5;

/**
 * One stream: against llama.cpp in one process, over HTTP against its own server, and what each further stage costs.
 * @throws ButterflyError as `openBinaries`
 */
export async function benchSingle({ repeats, llamaBin }: BenchOptions): Promise<void> {
  const binaries = await binariesIfGiven(llamaBin);
  const path = await oneBillion();
  const results = [];
  for (const threads of [1, 2]) results.push(await measureOneProcess(path, threads, repeats));
  printTable(
    `One process, 1B shape, Q4_0: tokens per second, medians of ${repeats}`,
    ['threads', 'phase', 'butterfly', 'llama.cpp', 'ratio'],
    results.flatMap((r) => [
      [
        String(r.threads),
        'prefill 512',
        r.butterfly.prefillPerSecond,
        r.llamaCpp.prefillPerSecond,
        r.prefillRatio,
      ],
      [
        String(r.threads),
        'decode 128',
        r.butterfly.decodePerSecond,
        r.llamaCpp.decodePerSecond,
        r.decodeRatio,
      ],
    ]),
  );
  const overHttp = binaries && (await measureOneStream(path, binaries, repeats));
  if (overHttp) printOneStream(overHttp, repeats);
  const stages = await measureHops(path, repeats);
  printHops('1B shape', stages);
  const lightStages = await measureHops(await lightModel(), repeats * lightRepeats);
  printHops('light model', lightStages);
  printTable(
    'Memory of each worker in MiB',
    ['stages', 'worker', 'shard', 'KV cache', 'resident', 'resident / (1.1 (shard + cache) + 150)'],
    stages.flatMap((s) =>
      s.memory.map((m) => [
        String(s.stages),
        m.name,
        m.shardBytes / mebibyte,
        m.arenaBytes / mebibyte,
        m.residentBytes / mebibyte,
        m.residentBytes / mebibyte / ((1.1 * (m.shardBytes + m.arenaBytes)) / mebibyte + 150),
      ]),
    ),
  );
  writeResult('single', {
    repeats,
    oneProcess: results,
    overHttp,
    stages,
    lightStages,
  });
}

function printHops(model: string, stages: readonly StagesResult[]): void {
  printTable(
    `Local stages of one thread each, ${model}: milliseconds per token`,
    [
      'stages',
      'hops',
      'total',
      'outside native compute',
      'per hop',
      'outside',
      'per further stage',
      'outside',
    ],
    stages.map((s) => [
      String(s.stages),
      String(s.hops),
      s.msPerToken,
      s.overheadMs,
      s.beyondOne?.msPerHop ?? '-',
      s.beyondOne?.overheadMsPerHop ?? '-',
      s.beyondOne?.msPerFurtherStage ?? '-',
      s.beyondOne?.overheadMsPerFurtherStage ?? '-',
    ]),
  );
}
