import { runLoad } from './load/run-load.js';
import { slope } from './load/statistics.js';
import { trafficOf, type LoadRequest } from './load/traffic.js';
import { ownModel, vocabularyOf } from './models.js';
import type { BenchOptions } from './options.js';
import { ServeProcess } from './processes/serve-process.js';
import { printTable, writeResult } from './report.js';

const requestsDefault = 10_000;
const samples = 20;
const clients = 16;
const workers = 2;
/** One request in so many is given up by its client in the midst of its stream. */
const hangUpEvery = 20;
const mebibyte = 2 ** 20;
const lengths = {
  prompt: { median: 30, sigma: 0.8, min: 4, max: 120 },
  output: { median: 20, sigma: 0.8, min: 2, max: 80 },
};

interface MemorySample {
  readonly requests: number;
  readonly orchestratorMiB: number;
  readonly workersMiB: number;
}

/** Memory of a server with two workers over many requests, some of which their clients give up. */
export async function benchSoak(options: BenchOptions): Promise<void> {
  const path = options.model ?? ownModel;
  const requests = await soakRequests(path, options.requests ?? requestsDefault);
  await using server = await ServeProcess.start(path, {
    workers,
    threads: 1,
    contextTokens: 256,
    parallel: clients,
  });
  const results = await soak(server, requests);
  const secondHalf = results.filter((sample) => sample.requests >= requests.length / 2);
  const growth = (key: 'orchestratorMiB' | 'workersMiB'): number =>
    slope(secondHalf.map((sample) => [sample.requests / 1000, sample[key]]));
  const growthMiBPerThousand = {
    orchestrator: growth('orchestratorMiB'),
    workers: growth('workersMiB'),
  };
  printTable(
    `Resident memory in MiB, ${workers} workers, ${clients} clients`,
    ['requests', 'orchestrator', 'workers'],
    results.map((sample) => [String(sample.requests), sample.orchestratorMiB, sample.workersMiB]),
  );
  printTable(
    'Growth over the second half in MiB per 1,000 requests',
    ['orchestrator', 'workers'],
    [[growthMiBPerThousand.orchestrator, growthMiBPerThousand.workers]],
  );
  writeResult('soak', {
    repeats: 1,
    clients,
    workers,
    hangUpEvery,
    growthMiBPerThousand,
    results,
  });
}

async function soakRequests(path: string, count: number): Promise<LoadRequest[]> {
  const tokens = [300, await vocabularyOf(path)] as const;
  return trafficOf({ key: 'soak', requests: count, tokens, ...lengths }).map((request, index) => ({
    ...request,
    ...(index % hangUpEvery === hangUpEvery - 1 ? { hangUpAfter: 2 } : {}),
  }));
}

async function soak(server: ServeProcess, requests: readonly LoadRequest[]): Promise<MemorySample[]> {
  const every = Math.max(1, Math.floor(requests.length / samples));
  const results: MemorySample[] = [];
  const sample = (done: number): void => {
    const { orchestratorBytes, workersBytes } = server.memory();
    results.push({
      requests: done,
      orchestratorMiB: orchestratorBytes / mebibyte,
      workersMiB: workersBytes / mebibyte,
    });
  };
  sample(0);
  let done = 0;
  await runLoad(requests, { kind: 'closed', clients }, async (request) => {
    const record = await server.client.complete(request);
    if (++done % every === 0) sample(done);
    return record;
  });
  return results;
}
