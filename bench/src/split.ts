import { interleave } from './load/compare.js';
import { figureCells, figureHeader } from './load/run-load.js';
import { contextTokens, parallel, requestsFor, serverSide } from './load/sides.js';
import { chatLengths } from './load/traffic.js';
import { benchModels, vocabularyOf, type BenchModel } from './models.js';
import type { BenchOptions } from './options.js';
import { ServeProcess } from './processes/serve-process.js';
import { printTable, writeResult } from './report.js';

const wholeClients = 8;
const splitClients = 16;

/**
 * Two workers with half the threads each and twice the clients, beside one worker with all of the threads: each stage
 * then sees batches of the same size. Both are asked the same requests.
 */
export async function benchSplit(options: BenchOptions): Promise<void> {
  const { repeats, threads } = options;
  const results = [];
  for (const model of await benchModels(options.model)) {
    const { split, whole } = await compare(model, options);
    const ratio = split.tokensPerSecond / whole.tokensPerSecond;
    printTable(
      `${model.name}: workers that share ${threads} threads, medians of ${repeats}`,
      ['workers', 'clients', ...figureHeader, 'ratio'],
      [
        ['2', String(splitClients), ...figureCells(split), ratio],
        ['1', String(wholeClients), ...figureCells(whole), ''],
      ],
    );
    results.push({ model: model.name, split, whole, ratio });
    writeResult('split', { repeats, threads, lengths: chatLengths, results });
  }
}

async function compare(model: BenchModel, { repeats, threads, requests: least }: BenchOptions) {
  const shared = { contextTokens, parallel };
  const threadsEach = Math.max(1, threads >> 1);
  await using whole = await ServeProcess.start(model.path, { ...shared, workers: 1, threads });
  await using split = await ServeProcess.start(model.path, { ...shared, workers: 2, threads: threadsEach });
  const vocabulary = await vocabularyOf(model.path);
  const sides = { split: serverSide(split, vocabulary), whole: serverSide(whole, vocabulary) };
  const warmUp = requestsFor(2, vocabulary, null).slice(0, 4);
  for (const side of Object.values(sides)) await side(warmUp, { kind: 'closed', clients: 2 });
  const requests = requestsFor(splitClients, vocabulary, least);
  return await interleave(repeats, {
    split: () => sides.split(requests, { kind: 'closed', clients: splitClients }),
    whole: () => sides.whole(requests, { kind: 'closed', clients: wholeClients }),
  });
}
