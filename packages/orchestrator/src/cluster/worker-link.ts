import type { Socket } from 'node:net';
import type { Connection, ControlMessageOf, WorkerIdentity } from '@butterfly/common';
import type { EpochPlan } from './controller.js';

/** What a worker tells about a stage that it holds. */
export type StageReport = Pick<
  ControlMessageOf<'ready'>,
  'shardBytes' | 'arenaBytes' | 'residentBytes' | 'stepCurve' | 'isBatchInvariant'
>;

/** A worker that joined, with its connection. */
export interface WorkerLink {
  readonly workerId: string;
  readonly identity: WorkerIdentity;
  readonly connection: Connection;
  readonly remoteHost: string;
  /** The address of this machine that the worker dialled. */
  readonly localHost: string;
  loadedBytes: number;
  totalBytes: number;
  report: StageReport | null;
}

/** A worker as the outside sees it. */
export interface WorkerView {
  readonly workerId: string;
  readonly name: string;
  readonly threads: number;
  readonly layers: readonly [first: number, last: number] | null;
  readonly loadedBytes: number;
  readonly totalBytes: number;
  readonly report: StageReport | null;
}

export function createWorkerLink(
  workerId: string,
  identity: WorkerIdentity,
  connection: Connection,
  socket: Pick<Socket, 'remoteAddress' | 'localAddress'>,
): WorkerLink {
  return {
    workerId,
    identity,
    connection,
    remoteHost: plainAddress(socket.remoteAddress),
    localHost: plainAddress(socket.localAddress),
    loadedBytes: 0,
    totalBytes: 0,
    report: null,
  };
}

export function viewOf(worker: WorkerLink, current: EpochPlan | null): WorkerView {
  const stage = current?.plan.stages.find(({ workerId }) => workerId === worker.workerId);
  return {
    workerId: worker.workerId,
    name: worker.identity.name,
    threads: worker.identity.threads,
    layers: stage ? [stage.layerStart, stage.layerEnd - 1] : null,
    loadedBytes: worker.loadedBytes,
    totalBytes: worker.totalBytes,
    report: worker.report,
  };
}

function plainAddress(address: string | undefined): string {
  return (address ?? '127.0.0.1').replace(/^::ffff:/, '');
}

function isLoopback(address: string): boolean {
  return address === '::1' || address.startsWith('127.');
}

/** Where `from` reaches `to`: a worker on this very machine is seen from elsewhere under this machine's address. */
export function addressFor(from: WorkerLink, to: WorkerLink): string {
  return isLoopback(to.remoteHost) && !isLoopback(from.remoteHost) ? from.localHost : to.remoteHost;
}
