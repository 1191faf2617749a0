import { vocabularyOf } from '../models.js';
import type { OneStreamSpeeds } from '../one-process.js';
import { ServeProcess } from '../processes/serve-process.js';
import { printTable } from '../report.js';
import { inTurn } from './beside.js';
import type { LlamaBinaries } from './binaries.js';
import { LlamaServer } from './llama-server.js';
import { oneStream, type Round } from './loads.js';

const promptTokens = 512;
/** The first of them comes with the prompt. */
const outputTokens = 129;
const contextTokens = 1024;
/** Those of one process, then what further workers cost: llama.cpp has them by RPC. */
const settings = [
  { workers: 1, threads: 1 },
  { workers: 1, threads: 2 },
  { workers: 2, threads: 1 },
  { workers: 3, threads: 1 },
] as const;

export interface OneStreamResult {
  readonly workers: number;
  /** Of each worker. */
  readonly threads: number;
  /** Prompts by the time to the first token, which has all that HTTP and text cost. */
  readonly butterfly: OneStreamSpeeds;
  readonly llamaServer: OneStreamSpeeds;
  readonly prefillRatio: number;
  readonly decodeRatio: number;
}

/** One stream over HTTP, `butterfly serve` beside llama.cpp's own server and its RPC mode, turn by turn. */
export async function measureOneStream(
  path: string,
  binaries: LlamaBinaries,
  repeats: number,
): Promise<OneStreamResult[]> {
  const load = oneStream(await vocabularyOf(path), { promptTokens, outputTokens });
  const results: OneStreamResult[] = [];
  for (const { workers, threads } of settings) {
    const shape = { workers, threads, contextTokens, parallel: 1 };
    await using ours = await ServeProcess.start(path, shape);
    await using theirs = await LlamaServer.start(path, { ...shape, binaries });
    for (const { client } of [ours, theirs]) await load.run(client, 0);
    const beside = await inTurn(load, ours.client, theirs.client, repeats);
    const [butterfly, llamaServer] = [speedsOf(beside.butterfly), speedsOf(beside.llamaServer)];
    results.push({
      ...{ workers, threads, butterfly, llamaServer },
      prefillRatio: butterfly.prefillPerSecond / llamaServer.prefillPerSecond,
      decodeRatio: beside.ratio,
    });
  }
  return results;
}

export function printOneStream(results: readonly OneStreamResult[], repeats: number): void {
  printTable(
    `One stream over HTTP, 1B shape, Q4_0: tokens per second, medians of ${repeats}`,
    ['workers', 'threads of each', 'phase', 'butterfly', 'llama-server', 'ratio'],
    results.flatMap(({ workers, threads, butterfly, llamaServer, prefillRatio, decodeRatio }) => [
      [
        ...[String(workers), String(threads), 'prefill 512, to the first token'],
        ...[butterfly.prefillPerSecond, llamaServer.prefillPerSecond, prefillRatio],
      ],
      [
        ...[String(workers), String(threads), 'decode 128'],
        ...[butterfly.decodePerSecond, llamaServer.decodePerSecond, decodeRatio],
      ],
    ]),
  );
}

function speedsOf({ figure, firstTokenMs }: Round): OneStreamSpeeds {
  return { prefillPerSecond: (promptTokens * 1000) / firstTokenMs, decodePerSecond: figure };
}
