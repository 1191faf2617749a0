import { networkInterfaces } from 'node:os';
import type { JoinWishes } from '@butterfly/api';
import {
  addressForOthers,
  ButterflyError,
  formatAddress,
  isLoopbackHost,
  packageVersion,
} from '@butterfly/common';
import type { OpenedSecurity } from '@butterfly/identity';
import type { Orchestrator, WorkerDescription } from '@butterfly/orchestrator';
import type { ClusterGlance, JoinLine, ModelGlance, Watched } from '@butterfly/telemetry';
import type { ModelShelf } from './models/model-shelf.js';

/** What those who watch are shown of this server. */
export function watched(orchestrator: Orchestrator, models: ModelShelf): Watched {
  const startedMs = Date.now();
  return {
    glance: () => glanceOf(orchestrator, models, startedMs),
    loads: () => models.deployed.map((model) => ({ id: model.id, ...model.load })),
  };
}

function glanceOf(orchestrator: Orchestrator, models: ModelShelf, startedMs: number): ClusterGlance {
  const { ready: isReady, detail } = models.status();
  return {
    ...{ startedMs, version: packageVersion, isReady, detail },
    workers: orchestrator.describe().workers.map((worker) => ({
      ...{ workerId: worker.workerId, name: worker.name, version: worker.version, kernels: worker.kernels },
      ...{ device: worker.device, threads: worker.threads, memoryBytes: worker.memoryBytes },
      ...{ residentBytes: worker.residentBytes, host: worker.host, links: worker.links },
    })),
    models: models.list().map((offered): ModelGlance => {
      const { id, aliases, state, contextTokens, loadedBytes } = offered;
      const deployed = models.deployed.find((each) => each.id === id);
      const { workers = [], ...cluster } = deployed?.describe() ?? {};
      return {
        ...{ id, aliases, state, contextTokens, loadedBytes },
        cluster: 'replicas' in cluster ? cluster : null,
        workers: workers.map(ofModel),
      };
    }),
  };
}

function ofModel(worker: WorkerDescription): ModelGlance['workers'][number] {
  const { workerId, state, replica, layers, stepMicros, residentBytes, loading } = worker;
  return { workerId, state, replica, layers, stepMicros, residentBytes, loading };
}

/**
 * Makes the line with which the next machine joins.
 * @param cluster where workers join
 */
export async function joinLineOf(
  { lifeMs, usesMax, host }: JoinWishes,
  cluster: { readonly host: string; readonly port: number },
  makeToken: OpenedSecurity['makeToken'],
): Promise<JoinLine> {
  if (isLoopbackHost(cluster.host))
    throw new ButterflyError(
      'REQUEST_UNSUPPORTED',
      `Workers join at ${cluster.host} here, where no other machine reaches it; start "butterfly serve" with --cluster-host 0.0.0.0.`,
    );
  const note = 'made on the page';
  const { token, expiresAtMs, usesMax: uses } = await makeToken({ lifeMs, usesMax, note });
  const address = formatAddress({ host: hostForOthers(host), port: cluster.port });
  return {
    line: `BUTTERFLY_TOKEN=${token} butterfly worker --join ${address}`,
    expiresMs: expiresAtMs,
    usesMax: uses,
  };
}

/** Where somebody reached this machine from, others do too; a loopback address is no help to them. */
function hostForOthers(asked: string): string {
  if (asked !== '' && !isLoopbackHost(asked)) return asked;
  return addressForOthers(networkInterfaces()) ?? 'HOST';
}
