import type { Joining } from '@butterfly/control';
import type {
  ByteStream,
  Connection,
  ControlMessageOf,
  WorkerIdentity,
  WorkerProfile,
} from '@butterfly/wire';

/** What a worker tells about a shard that it holds. */
export type StageReport = Omit<ControlMessageOf<'prepared'>, 'kind' | 'shardId'>;

/** A worker that joined, with its connection. */
export interface WorkerLink {
  readonly workerId: string;
  readonly identity: WorkerIdentity;
  readonly connection: Connection;
  readonly remoteHost: string;
  /** The address of this machine that the worker dialled. */
  readonly localHost: string;
  /** Null until it has measured itself. */
  profile: WorkerProfile | null;
  loadedBytes: number;
  totalBytes: number;
  /** By shard. */
  readonly reports: Map<string, StageReport>;
  /** Ends the wait for its profile. */
  cancelDeadline: () => void;
}

/** A worker as the outside sees it. */
export interface WorkerView {
  readonly workerId: string;
  readonly name: string;
  readonly threads: number;
  /** Number of the replica that it belongs to, from 1; null where there can be only one. */
  readonly replica: number | null;
  readonly layers: readonly [first: number, last: number] | null;
  readonly loadedBytes: number;
  readonly totalBytes: number;
  /** Of the shard that serves; null without one. */
  readonly report: StageReport | null;
}

export function createWorkerLink(
  workerId: string,
  identity: WorkerIdentity,
  connection: Connection,
  stream: Pick<ByteStream, 'remoteAddress'> & { readonly localAddress?: string | undefined },
): WorkerLink {
  return {
    workerId,
    identity,
    connection,
    remoteHost: plainAddress(stream.remoteAddress),
    localHost: plainAddress(stream.localAddress),
    profile: null,
    loadedBytes: 0,
    totalBytes: 0,
    reports: new Map(),
    cancelDeadline: () => undefined,
  };
}

/** The same for a worker that comes back. */
export function identityOf({ identity: { machineId, name } }: Pick<WorkerLink, 'identity'>): string {
  return `${machineId} ${name}`;
}

/** What a worker brings to a lane; null for one that is gone, or has not measured itself. */
export function joiningOf(worker: WorkerLink | undefined): Joining | null {
  if (!worker?.profile) return null;
  const { workerId, identity, profile, reports } = worker;
  const { name, machineId, memoryBytes } = identity;
  const memory = { memoryBytes, ...(identity.offersAllFree ? { memoryOf: machineId } : {}) };
  const member = { workerId, name, identity: identityOf(worker), ...memory, profile };
  return { member, heldShards: [...reports.keys()] };
}

function plainAddress(address: string | undefined): string {
  return (address ?? '127.0.0.1').replace(/^::ffff:/, '');
}

function isLoopback(address: string): boolean {
  return address === '::1' || address.startsWith('127.');
}

/** Where `from` reaches `to`: a worker on this very machine is seen from elsewhere under this machine's address. */
export function addressFor(from: WorkerLink, to: WorkerLink): string {
  if (to.identity.dataHost !== undefined) return to.identity.dataHost;
  return isLoopback(to.remoteHost) && !isLoopback(from.remoteHost) ? from.localHost : to.remoteHost;
}
