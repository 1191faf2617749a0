import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describeFamilyModel, openGguf, shardTensors } from '@butterfly/model';
import { TcpProxy, freePort } from '@butterfly/testkit';
import { LocalCluster } from './local-cluster.js';

/** What came over the network to one worker that had nothing, counted by proxies before all that it dials. */
export interface Moved {
  readonly name: string;
  readonly worker: string;
  /** Of the tensors of its layers, in the file. */
  readonly shardBytes: number;
  /** All that passed, in both directions, until it served: weights, measurements of the network and messages. */
  readonly wireBytes: number;
  readonly peerBytes: number;
}

interface Scenario {
  readonly name: string;
  readonly workers: number;
  readonly stages: number;
  readonly replicas: number;
  /** Workers that have the model's file, by their index from 1; they are not counted. */
  readonly withFile: readonly number[];
}

const scenarios: readonly Scenario[] = [
  { name: 'three stages', workers: 3, stages: 3, replicas: 1, withFile: [] },
  { name: 'a replica beside one with the file', workers: 2, stages: 1, replicas: 2, withFile: [1] },
];

export async function measureMoved(path: string): Promise<Moved[]> {
  const directory = await mkdtemp(join(tmpdir(), 'butterfly-moved-'));
  try {
    const moved: Moved[] = [];
    for (const scenario of scenarios) moved.push(...(await load(path, scenario, directory)));
    return moved;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** The links to the orchestrator and to the door of each worker. */
async function openWays(workers: number): Promise<{
  clusterPort: number;
  doors: number[];
  toOrchestrator: TcpProxy[];
  toDoors: TcpProxy[];
}> {
  const proxyTo = (port: number): Promise<TcpProxy> => TcpProxy.start({ to: { host: '127.0.0.1', port } });
  const clusterPort = await freePort();
  const [doors, toOrchestrator, toDoors]: [number[], TcpProxy[], TcpProxy[]] = [[], [], []];
  for (let worker = 0; worker < workers; worker++) {
    const door = await freePort();
    doors.push(door);
    toOrchestrator.push(await proxyTo(clusterPort));
    toDoors.push(await proxyTo(door));
  }
  return { clusterPort, doors, toOrchestrator, toDoors };
}

async function load(path: string, scenario: Scenario, directory: string): Promise<Moved[]> {
  const { name, workers, stages, replicas, withFile } = scenario;
  const spec = describeFamilyModel(await openGguf(path));
  const { clusterPort, doors, toOrchestrator, toDoors } = await openWays(workers);
  try {
    await using cluster = await LocalCluster.start(path, {
      workers,
      threads: 1,
      contextTokens: 256,
      parallel: 1,
      speculation: 'off',
      stagesMin: stages,
      replicasMax: replicas,
      clusterPort,
      workerArguments: (index) => [
        ...['--join', `127.0.0.1:${toOrchestrator[index - 1]?.port ?? 0}`],
        ...['--data-port', String(doors[index - 1] ?? 0)],
        ...['--advertise', `127.0.0.1:${toDoors[index - 1]?.port ?? 0}`],
        ...['--cache-dir', join(directory, `${replicas}-${index}`)],
        ...(withFile.includes(index) ? [] : ['--remote-only']),
      ],
    });
    await cluster.allServe();
    return cluster.describe().workers.flatMap((worker): Moved[] => {
      const index = Number(worker.name.split('-').at(-1));
      if (withFile.includes(index) || !worker.layers || !worker.loaded) return [];
      const [first, last] = worker.layers;
      const tensors = new Set(shardTensors(spec, first, last + 1));
      const shardBytes = [...tensors].reduce((sum, { bytes }) => sum + bytes, 0);
      // Whoever else is dialled is one who has the file: the others have nothing to give yet.
      const passed = [toOrchestrator[index - 1], ...withFile.map((other) => toDoors[other - 1])];
      const wireBytes = passed.reduce((sum, proxy) => sum + (proxy?.passedBytes ?? 0), 0);
      return [{ name, worker: worker.name, shardBytes, wireBytes, peerBytes: worker.loaded.peerBytes }];
    });
  } finally {
    await Promise.all([...toOrchestrator, ...toDoors].map((proxy) => proxy.close()));
  }
}
