import type { Joining, Member } from '@butterfly/control';
import type { Channel, StageReport, WorkerIdentity, WorkerProfile } from '@butterfly/wire';
import { identityOf, type FleetWorker } from './fleet-worker.js';

/** What a worker is to one model. `ModelWorkers` alone changes it. */
export interface ModelWorker extends FleetWorker {
  /** Where all goes that is about the model. */
  readonly channel: Channel;
  /** Null until it has measured itself. */
  readonly profile: WorkerProfile | null;
  /** What it had loaded from before, as it said with its profile. */
  readonly keptShards: readonly string[];
  /** Of the shard that it loads, or loaded last. */
  readonly loadedBytes: number;
  readonly totalBytes: number;
  /** By shard. */
  readonly reports: ReadonlyMap<string, StageReport>;
}

/** What a worker brings to a replica; null for one that is gone, or has not measured itself. */
export function joiningOf(worker: ModelWorker | undefined): Joining | null {
  if (!worker?.profile) return null;
  const { workerId, identity, profile, reports, keptShards } = worker;
  const { name } = identity;
  const member = { workerId, name, identity: identityOf(worker), ...offerOf(identity), profile };
  return { member, heldShards: [...new Set([...keptShards, ...reports.keys()])] };
}

/** What memory a worker offers, and whose that is where others may offer the same. */
function offerOf({
  machineId,
  memoryBytes,
  offersAllFree,
  device,
}: WorkerIdentity): Pick<Member, 'memoryBytes' | 'memoryOf' | 'host'> {
  if (!device) return { memoryBytes, ...(offersAllFree ? { memoryOf: machineId } : {}) };
  const { host } = device;
  return {
    memoryBytes,
    // A card is a memory of its own, which two workers on it share.
    ...(offersAllFree ? { memoryOf: `${machineId} ${device.name}` } : {}),
    ...(host
      ? {
          host: {
            memoryBytes: host.memoryBytes,
            experts: host.experts,
            ...(host.offersAllFree ? { memoryOf: machineId } : {}),
          },
        }
      : {}),
  };
}
