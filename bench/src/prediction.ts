import { TcpProxy, freePort } from '@butterfly/testkit';
import { median } from './load/statistics.js';
import { LocalCluster } from './local-cluster.js';
import { benchModel, promptOf } from './models.js';
import type { BenchOptions } from './options.js';
import { printTable, writeResult } from './report.js';

const outputTokens = 64;
const promptTokens = 32;

/** A cluster on this machine, made unlike others by threads and by proxies between its workers. */
interface Cluster {
  readonly name: string;
  /** Threads of each worker. */
  readonly threads: readonly number[];
  readonly latencyMs?: number;
  readonly bytesPerSecond?: number;
}

const clusters: readonly Cluster[] = [
  { name: 'one worker of two threads', threads: [2] },
  { name: 'one worker of one thread', threads: [1] },
  { name: 'two of one thread', threads: [1, 1] },
  { name: 'three of one thread', threads: [1, 1, 1] },
  { name: 'one and two threads', threads: [1, 2] },
  { name: 'two, 5 ms apart', threads: [1, 1], latencyMs: 5 },
  { name: 'two, 20 ms apart', threads: [1, 1], latencyMs: 20 },
  { name: 'two, linked by 1 MB/s', threads: [1, 1], bytesPerSecond: 1e6 },
];

/** What the planner predicts for one stream, beside what comes of it. */
export async function benchPrediction(options: BenchOptions): Promise<void> {
  const { repeats } = options;
  const { name, path } = await benchModel(options.model);
  const results = [];
  for (const cluster of clusters) {
    const { predictedMs, measuredMs } = await measure(path, cluster, repeats);
    results.push({ ...cluster, predictedMs, measuredMs, ratio: predictedMs / measuredMs });
  }
  printTable(
    `One stream, ${name}, medians of ${repeats}: milliseconds for each token`,
    ['cluster', 'predicted', 'measured', 'ratio'],
    results.map((each) => [each.name, each.predictedMs, each.measuredMs, each.ratio]),
  );
  writeResult('prediction', { repeats, model: name, outputTokens, results });
}

async function measure(
  path: string,
  { threads, latencyMs, bytesPerSecond }: Cluster,
  repeats: number,
): Promise<{ readonly predictedMs: number; readonly measuredMs: number }> {
  await using doors = await openDoors(threads.length, {
    ...(latencyMs === undefined ? {} : { latencyMs }),
    ...(bytesPerSecond === undefined ? {} : { bytesPerSecond }),
  });
  await using cluster = await LocalCluster.start(path, {
    workers: threads.length,
    threads: 1,
    contextTokens: 1024,
    parallel: 1,
    speculation: 'off',
    workerArguments: (index) => [
      ...['--threads', String(threads[index - 1] ?? 1)],
      ...['--data-port', String(doors.ports[index - 1] ?? 0)],
      ...(latencyMs === undefined && bytesPerSecond === undefined
        ? []
        : ['--advertise', `127.0.0.1:${doors.proxies[index - 1]?.port ?? 0}`]),
    ],
  });
  const measured: number[] = [];
  // The first round warms up and does not count.
  for (let round = 0; round <= repeats; round++) {
    const prompt = promptOf(promptTokens).map((token) => token + round);
    const { piecesMs } = await cluster.generate(prompt, outputTokens);
    const elapsedMs = (piecesMs.at(-1) ?? NaN) - (piecesMs[0] ?? NaN);
    if (round > 0) measured.push(elapsedMs / (piecesMs.length - 1));
  }
  const predictedMs = (cluster.describe().plan?.predicted.latencyMicros ?? NaN) / 1000;
  return { predictedMs, measuredMs: median(measured) };
}

interface Doors extends AsyncDisposable {
  /** Where the workers listen. */
  readonly ports: readonly number[];
  /** What stands before each. */
  readonly proxies: readonly TcpProxy[];
}

async function openDoors(
  count: number,
  conditions: { readonly latencyMs?: number; readonly bytesPerSecond?: number },
): Promise<Doors> {
  const ports: number[] = [];
  const proxies: TcpProxy[] = [];
  for (let index = 0; index < count; index++) {
    const port = await freePort();
    ports.push(port);
    proxies.push(await TcpProxy.start({ to: { host: '127.0.0.1', port }, ...conditions }));
  }
  return {
    ports,
    proxies,
    [Symbol.asyncDispose]: async () => {
      await Promise.all(proxies.map((proxy) => proxy.close()));
    },
  };
}
