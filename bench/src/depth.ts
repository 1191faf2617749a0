import { type CacheType, cacheTypes } from '@butterfly/wire';
import { decodePerSecond } from './load/run-load.js';
import { median } from './load/statistics.js';
import type { TokenRequest } from './load/traffic.js';
import { benchModel, promptOf } from './models.js';
import type { BenchOptions } from './options.js';
import { Peer } from './processes/peer.js';
import { ServeProcess } from './processes/serve-process.js';
import { printTable, writeResult } from './report.js';

const depths = [512, 2048];
const outputTokens = 64;
const contextTokens = 2304;
const choices = [...cacheTypes, 'auto'] as const;
type Choice = (typeof choices)[number];

interface DepthResult {
  readonly depth: number;
  /** Tokens per second by type of cache. */
  readonly butterfly: Readonly<Record<Choice, number>>;
  readonly llamaCpp: Readonly<Record<CacheType, number>>;
  /** Ours with the type that it chose by itself over llama.cpp's best. */
  readonly ratio: number;
}

/** Decoding behind a long prompt with each type of cache, beside llama.cpp with each. */
export async function benchDepth(options: BenchOptions): Promise<void> {
  const { repeats, threads } = options;
  const { name, path } = await benchModel(options.model);
  const results = await withServers(path, threads, async (servers) => {
    await using peer = Peer.start(path);
    const measured: DepthResult[] = [];
    for (const depth of depths) measured.push(await measureDepth(depth, servers, peer, threads, repeats));
    return measured;
  });
  printTable(
    `Decode of ${outputTokens} tokens, ${name}, ${threads} threads, medians of ${repeats}: tokens per second`,
    ['depth', 'side', ...choices, 'ours with auto / best of llama.cpp'],
    results.flatMap(({ depth, butterfly, llamaCpp, ratio }) => [
      [String(depth), 'butterfly', ...choices.map((choice) => butterfly[choice]), ratio],
      ['', 'llama.cpp', ...cacheTypes.map((type) => llamaCpp[type]), '-', ''],
    ]),
  );
  writeResult('depth', {
    repeats,
    model: name,
    threads,
    results,
  });
}

type Servers = ReadonlyMap<Choice, ServeProcess>;

/** One server for each choice, all idle but the one that is asked. */
async function withServers<T>(
  path: string,
  threads: number,
  use: (servers: Servers) => Promise<T>,
): Promise<T> {
  const servers = new Map<Choice, ServeProcess>();
  try {
    for (const choice of choices) {
      const more = ['--kv-cache-type', choice, '--speculation', 'off'];
      const shape = { workers: 1, threads, contextTokens, parallel: 1 };
      servers.set(choice, await ServeProcess.start(path, { ...shape, more }));
    }
    return await use(servers);
  } finally {
    for (const server of servers.values()) await server[Symbol.asyncDispose]();
  }
}

async function measureDepth(
  depth: number,
  servers: Servers,
  peer: Peer,
  threads: number,
  repeats: number,
): Promise<DepthResult> {
  const request: TokenRequest = { prompt: promptOf(depth), outputTokens };
  const ours: Record<Choice, number[]> = { f16: [], bf16: [], q8_0: [], auto: [] };
  const theirs: Record<CacheType, number[]> = { f16: [], bf16: [], q8_0: [] };
  for (let round = 0; round < repeats; round++)
    for (const choice of choices) {
      const server = servers.get(choice);
      if (server) ours[choice].push(decodePerSecond(await server.client.complete(request)));
      if (choice === 'auto') continue;
      const batch = { threads, sequences: 1, contextTokens, cacheType: choice };
      const { records } = await peer.run(batch, [request], { kind: 'closed', clients: 1 });
      theirs[choice].push(...records.map(decodePerSecond));
    }
  const medians = { f16: median(theirs.f16), bf16: median(theirs.bf16), q8_0: median(theirs.q8_0) };
  return {
    depth,
    butterfly: {
      f16: median(ours.f16),
      bf16: median(ours.bf16),
      q8_0: median(ours.q8_0),
      auto: median(ours.auto),
    },
    llamaCpp: medians,
    ratio: median(ours.auto) / Math.max(...Object.values(medians)),
  };
}
