import { isLoopbackHost } from '@butterfly/common';
import type {
  Connection,
  ControlMessageOf,
  IncomingStream,
  PeerIdentity,
  WorkerIdentity,
} from '@butterfly/wire';

/** What is known of a worker that is here, whatever it works on. The fleet alone changes it. */
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
}

/** The same, to be changed. */
export interface WorkerRecord extends FleetWorker {
  /** With the end of its latest certificate. */
  member: PeerIdentity | null;
  /** Ends the wait for the end of its certificate. */
  cancelExpiry: () => void;
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
    cancelExpiry: () => undefined,
  };
}

/** The same for a worker that comes back: what its certificate proves, or else what it says. */
export function identityOf({ identity, member }: Pick<FleetWorker, 'identity' | 'member'>): string {
  return member?.id ?? `${identity.machineId} ${identity.name}`;
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
