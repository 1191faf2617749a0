import { interleave } from './load/compare.js';
import { figureCells, figureHeader, tokensRatio, type LoadFigures, type LoadRun } from './load/run-load.js';
import { contextTokens, parallel, requestsFor, serverSide, type Server } from './load/sides.js';
import { chatLengths } from './load/traffic.js';
import { benchModels, vocabularyOf, type BenchModel } from './models.js';
import type { BenchOptions } from './options.js';
import { ServeProcess } from './processes/serve-process.js';
import { printTable, writeResult } from './report.js';
import { binariesIfGiven, type LlamaBinaries } from './servers/binaries.js';
import { LlamaServer } from './servers/llama-server.js';

const wholeClients = 8;
const splitClients = 16;

/** Two workers and one of one program; the ratio is that of their tokens per second. */
interface Pair {
  readonly split: LoadFigures;
  readonly whole: LoadFigures;
  readonly ratio: number;
}

interface SplitResult extends Pair {
  readonly model: string;
  /** llama.cpp's RPC mode beside its own server, and our tokens per second over its; null without `--llama-bin`. */
  readonly llamaServer: (Pair & { readonly splitRatio: number; readonly wholeRatio: number }) | null;
}

/**
 * Two workers with half the threads each and twice the clients, beside one worker with all of the threads: each stage
 * then sees batches of the same size. All are asked the same requests.
 * @throws ButterflyError as `openBinaries`
 */
export async function benchSplit(options: BenchOptions): Promise<void> {
  const { repeats, threads } = options;
  const binaries = await binariesIfGiven(options.llamaBin);
  const results: SplitResult[] = [];
  for (const model of await benchModels(options.model)) {
    const result = await measure(model, binaries, options);
    print(result, options);
    results.push(result);
    writeResult('split', { repeats, threads, lengths: chatLengths, results });
  }
}

async function measure(
  model: BenchModel,
  binaries: LlamaBinaries | null,
  { repeats, threads, requests: least }: BenchOptions,
): Promise<SplitResult> {
  const wholeShape = { contextTokens, parallel, workers: 1, threads };
  const splitShape = { contextTokens, parallel, workers: 2, threads: Math.max(1, threads >> 1) };
  const llama = (shape: typeof wholeShape): Promise<LlamaServer> | null =>
    binaries && LlamaServer.start(model.path, { ...shape, binaries });
  await using whole = await ServeProcess.start(model.path, wholeShape);
  await using split = await ServeProcess.start(model.path, splitShape);
  await using llamaWhole = await llama(wholeShape);
  await using llamaSplit = await llama(splitShape);
  const vocabulary = await vocabularyOf(model.path);
  const requests = requestsFor(splitClients, vocabulary, least);
  const warmUp = requestsFor(2, vocabulary, null).slice(0, 4);
  const load = async (server: Server, clients: number): Promise<() => Promise<LoadRun>> => {
    const side = serverSide(server, vocabulary);
    await side(warmUp, { kind: 'closed', clients: 2 });
    return () => side(requests, { kind: 'closed', clients });
  };
  const ours = { split: await load(split, splitClients), whole: await load(whole, wholeClients) };
  if (!llamaSplit || !llamaWhole)
    return { model: model.name, ...pairOf(await interleave(repeats, ours)), llamaServer: null };
  const figures = await interleave(repeats, {
    ...ours,
    llamaSplit: await load(llamaSplit, splitClients),
    llamaWhole: await load(llamaWhole, wholeClients),
  });
  return {
    model: model.name,
    ...pairOf(figures),
    llamaServer: {
      ...pairOf({ split: figures.llamaSplit, whole: figures.llamaWhole }),
      splitRatio: tokensRatio(figures.split, figures.llamaSplit),
      wholeRatio: tokensRatio(figures.whole, figures.llamaWhole),
    },
  };
}

function pairOf({ split, whole }: Omit<Pair, 'ratio'>): Pair {
  return { split, whole, ratio: tokensRatio(split, whole) };
}

function print({ model, split, whole, ratio, llamaServer }: SplitResult, options: BenchOptions): void {
  const { repeats, threads } = options;
  const [two, one] = [String(splitClients), String(wholeClients)];
  printTable(
    `${model}: workers that share ${threads} threads, medians of ${repeats}`,
    ['workers', 'side', 'clients', ...figureHeader, 'two / one', 'butterfly / it'],
    [
      ['2', 'butterfly', two, ...figureCells(split), ratio, ''],
      ['1', 'butterfly', one, ...figureCells(whole), '', ''],
      ...(llamaServer
        ? [
            [
              ...['2', 'llama-server by RPC', two, ...figureCells(llamaServer.split)],
              ...[llamaServer.ratio, llamaServer.splitRatio],
            ],
            ['1', 'llama-server', one, ...figureCells(llamaServer.whole), '', llamaServer.wholeRatio],
          ]
        : []),
    ],
  );
}
