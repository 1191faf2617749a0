import { isLoopbackHost } from '@butterfly/common';
import type { Joining, Member } from '@butterfly/control';
import type {
  Connection,
  ControlMessageOf,
  IncomingStream,
  PeerIdentity,
  WorkerIdentity,
  WorkerProfile,
} from '@butterfly/wire';

/** What a worker tells about a shard that it holds. */
export type StageReport = Omit<ControlMessageOf<'prepared'>, 'kind' | 'shardId'>;

/** What is known of a worker that is here. The fleet alone changes it. */
export interface FleetWorker {
  readonly workerId: string;
  /** What it says of itself. */
  readonly identity: WorkerIdentity;
  /** Who its certificate proves it to be; null where there are none. */
  readonly member: PeerIdentity | null;
  readonly connection: Connection;
  readonly remoteHost: string;
  /** The address of this machine that the worker dialled. */
  readonly localHost: string;
  /** Null until it has measured itself. */
  readonly profile: WorkerProfile | null;
  /** Of the shard that it loads, or loaded last. */
  readonly loadedBytes: number;
  readonly totalBytes: number;
  /** By shard. */
  readonly reports: ReadonlyMap<string, StageReport>;
}

/** The same, to be changed. */
export interface WorkerRecord extends FleetWorker {
  /** With the end of its latest certificate. */
  member: PeerIdentity | null;
  profile: WorkerProfile | null;
  loadedBytes: number;
  totalBytes: number;
  readonly reports: Map<string, StageReport>;
  /** Ends the wait for its profile. */
  cancelDeadline: () => void;
  /** Ends the wait for the end of its certificate. */
  cancelExpiry: () => void;
}

/** A worker as the outside sees it. */
export interface WorkerView {
  readonly workerId: string;
  readonly name: string;
  /** Where it computes. */
  readonly device: string;
  readonly threads: number;
  /** Number of the replica that it belongs to, from 1; null where there can be only one. */
  readonly replica: number | null;
  readonly layers: readonly [first: number, last: number] | null;
  readonly loadedBytes: number;
  readonly totalBytes: number;
  /** Of the shard that serves; null without one. */
  readonly report: StageReport | null;
}

export function createWorkerRecord(
  workerId: string,
  identity: WorkerIdentity,
  connection: Connection,
  stream: Pick<IncomingStream, 'remoteAddress' | 'localAddress'>,
  member: PeerIdentity | null = null,
): WorkerRecord {
  return {
    workerId,
    identity,
    member,
    connection,
    remoteHost: plainAddress(stream.remoteAddress),
    localHost: plainAddress(stream.localAddress),
    profile: null,
    loadedBytes: 0,
    totalBytes: 0,
    reports: new Map(),
    cancelDeadline: () => undefined,
    cancelExpiry: () => undefined,
  };
}

/** The same for a worker that comes back: what its certificate proves, or else what it says. */
export function identityOf({ identity, member }: Pick<FleetWorker, 'identity' | 'member'>): string {
  return member?.id ?? `${identity.machineId} ${identity.name}`;
}

/** What a worker brings to a replica; null for one that is gone, or has not measured itself. */
export function joiningOf(worker: FleetWorker | undefined): Joining | null {
  if (!worker?.profile) return null;
  const { workerId, identity, profile, reports } = worker;
  const { name } = identity;
  const member = { workerId, name, identity: identityOf(worker), ...offerOf(identity), profile };
  return { member, heldShards: [...reports.keys()] };
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

function plainAddress(address: string | undefined): string {
  return (address ?? '127.0.0.1').replace(/^::ffff:/, '');
}

/** Where `from` reaches `to`, and whom it must find there. */
export function peerFor(from: FleetWorker, to: FleetWorker): ControlMessageOf<'prepare'>['sources'][number] {
  const { workerId, identity, member } = to;
  const address = { workerId, host: addressFor(from, to), port: identity.dataPort };
  return member ? { ...address, member: member.id } : address;
}

/** Where `from` reaches `to`: a worker on this very machine is seen from elsewhere under this machine's address. */
export function addressFor(from: FleetWorker, to: FleetWorker): string {
  if (to.identity.dataHost !== undefined) return to.identity.dataHost;
  return isLoopbackHost(to.remoteHost) && !isLoopbackHost(from.remoteHost) ? from.localHost : to.remoteHost;
}
