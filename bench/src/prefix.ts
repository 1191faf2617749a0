import { median } from './load/statistics.js';
import { trafficOf } from './load/traffic.js';
import { benchModel, vocabularyOf } from './models.js';
import type { BenchOptions } from './options.js';
import { ServeProcess } from './processes/serve-process.js';
import { printTable, writeResult } from './report.js';

const sharedTokens = 1000;
/** What each request adds of its own. */
const ownTokens = 16;
const outputTokens = 4;

interface PrefixResult {
  readonly workers: number;
  readonly firstMs: number;
  readonly secondMs: number;
  readonly ratio: number;
}

/** Time to the first token of a request whose first 1,000 tokens another one had before, over that of the other. */
export async function benchPrefix(options: BenchOptions): Promise<void> {
  const { repeats, threads } = options;
  const { name, path } = await benchModel(options.model);
  const results: PrefixResult[] = [];
  for (const workers of [1, 2])
    results.push(await measurePrefix(path, workers, Math.max(1, Math.floor(threads / workers)), repeats));
  printTable(
    `A shared prompt of ${sharedTokens} tokens, ${name}, ${threads} threads, medians of ${repeats}: milliseconds to the first token`,
    ['workers', 'first request', 'second request', 'ratio'],
    results.map(({ workers, firstMs, secondMs, ratio }) => [String(workers), firstMs, secondMs, ratio]),
  );
  writeResult('prefix', {
    repeats,
    model: name,
    threads,
    sharedTokens,
    ownTokens,
    results,
  });
}

async function measurePrefix(
  path: string,
  workers: number,
  threads: number,
  repeats: number,
): Promise<PrefixResult> {
  await using server = await ServeProcess.start(path, { workers, threads, contextTokens: 2048, parallel: 4 });
  const vocabulary = await vocabularyOf(path);
  const firstMs: number[] = [];
  const secondMs: number[] = [];
  // The first round warms up and does not count. Each has a prefix of its own.
  for (let round = 0; round <= repeats; round++) {
    const [prefix = [], ...own] = [sharedTokens, ownTokens, ownTokens].map((length, index) =>
      randomPrompt(`prefix ${round} ${index}`, length, vocabulary),
    );
    for (const [index, times] of [firstMs, secondMs].entries()) {
      const prompt = [...prefix, ...(own[index] ?? [])];
      const { startMs, piecesMs } = await server.client.complete({ prompt, outputTokens });
      if (round > 0) times.push((piecesMs[0] ?? NaN) - startMs);
    }
  }
  const [first, second] = [median(firstMs), median(secondMs)];
  return { workers, firstMs: first, secondMs: second, ratio: second / first };
}

function randomPrompt(key: string, tokens: number, vocabulary: number): readonly number[] {
  const exactly = { median: tokens, sigma: 0, min: tokens, max: tokens };
  const [request] = trafficOf({
    key,
    requests: 1,
    prompt: exactly,
    output: exactly,
    tokens: [300, vocabulary],
  });
  return request?.prompt ?? [];
}
