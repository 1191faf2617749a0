import type {
  ClusterDescription,
  HostDescription,
  LinkDescription,
  ReplicaDescription,
  WorkerDescription,
} from './view/cluster-view.js';
import { replicasInUse } from '@butterfly/control';
import type { ReplicatedEngine, SchedulerStats } from '@butterfly/engine';
import type { PlanStage } from '@butterfly/planning';
import type { Cluster } from './cluster.js';
import { kernelsOf } from './fleet/kernel-kinds.js';
import type { Replica } from './deployment/replica.js';
import type { FleetWorker, WorkerView } from './fleet/fleet-worker.js';

/** The cluster as people and tools see it. */
export function describeCluster(
  cluster: Cluster,
  engine: Pick<ReplicatedEngine, 'loads' | 'measured' | 'status'>,
  model: ClusterDescription['model'],
): ClusterDescription {
  const { ready, detail } = engine.status();
  const { trouble } = cluster.deployment;
  const loads = engine.loads();
  const replicas = replicasInUse(cluster.deployment.replicas).map((replica) =>
    describeReplica(replica, loads[replica.number - 1]),
  );
  return {
    model,
    isReady: ready,
    detail,
    epoch: replicas[0]?.epoch ?? null,
    plan: replicas[0]?.plan ?? null,
    replicas,
    measured: engine.measured(),
    workers: cluster.workers().map((worker) => describeWorker(cluster, worker)),
    drains: cluster.drains,
    notes: cluster.notes,
    trouble: trouble && { code: trouble.code, message: trouble.message },
  };
}

function describeReplica(replica: Replica, load?: SchedulerStats): ReplicaDescription {
  const { number, isLive, epoch, plan } = replica;
  const [running, queued] = [load?.running ?? 0, load?.waiting ?? 0];
  const detail = replica.describe();
  const verification = replica.verification?.describe() ?? null;
  return { replica: number, isReady: isLive, detail, epoch, plan, running, queued, verification };
}

/** What `serve` and the demo print of a worker. */
export function viewOf(cluster: Cluster, worker: FleetWorker): WorkerView {
  const { workerId, identity, loadedBytes, totalBytes } = worker;
  const replica = cluster.deployment.replicaOf(workerId);
  return {
    workerId,
    name: identity.name,
    device: identity.device?.name ?? 'cpu',
    threads: identity.threads,
    replica: cluster.deployment.replicas.length === 1 ? null : (replica?.number ?? null),
    layers: layersOf(replica, workerId),
    loadedBytes,
    totalBytes,
    report: replica?.reportOf(workerId) ?? null,
  };
}

function stageOf(replica: Replica | null, workerId: string): PlanStage | null {
  return replica?.plan?.stages.find((each) => each.workerId === workerId) ?? null;
}

function hostOf(replica: Replica | null, { workerId, identity }: FleetWorker): HostDescription | null {
  if (!identity.device) return null;
  const planned = stageOf(replica, workerId)?.host;
  return {
    memoryBytes: identity.device.host?.memoryBytes ?? 0,
    plannedBytes: planned?.bytes ?? 0,
    expertLayers: planned?.experts ?? 0,
  };
}

function layersOf(replica: Replica | null, workerId: string): readonly [number, number] | null {
  const stage = stageOf(replica, workerId);
  return stage ? [stage.layerStart, stage.layerEnd - 1] : null;
}

function describeWorker(cluster: Cluster, worker: FleetWorker): WorkerDescription {
  const { workerId, identity, profile, loadedBytes, totalBytes, reports } = worker;
  const replica = cluster.deployment.replicaOf(workerId);
  const report = replica?.reportOf(workerId) ?? [...reports.values()].at(-1) ?? null;
  return {
    workerId,
    name: identity.name,
    version: identity.butterflyVersion,
    kernels: kernelsOf(worker),
    state: replica?.stateOf(workerId) ?? 'measuring',
    replica: replica?.number ?? null,
    layers: layersOf(replica, workerId),
    stepMicros: replica?.rowMicrosOf(workerId) ?? null,
    device: deviceOf(identity),
    threads: identity.threads,
    memoryBytes: identity.memoryBytes,
    residentBytes: report?.residentBytes ?? null,
    host: hostOf(replica, worker),
    loading: loadedBytes < totalBytes ? { loadedBytes, totalBytes } : null,
    loaded: report?.loaded ?? null,
    profile,
    links: linksOf(cluster, replica, workerId),
  };
}

function deviceOf({ device, cpuVariant }: FleetWorker['identity']): WorkerDescription['device'] {
  if (!device) return { name: 'cpu', kind: 'cpu', description: cpuVariant };
  const { name, kind, description } = device;
  return { name, kind, description };
}

/** To the orchestrator and to the worker's neighbours in the pipeline: all of them would be a thousand times a thousand. */
function linksOf(cluster: Cluster, replica: Replica | null, workerId: string): LinkDescription[] {
  const stages = replica?.plan?.stages ?? [];
  const index = stages.findIndex((stage) => stage.workerId === workerId);
  const next = index === -1 ? undefined : stages[index + 1]?.workerId;
  const targets = next === undefined ? [null] : [null, next];
  return targets.map((toWorkerId) => ({ toWorkerId, ...cluster.link(workerId, toWorkerId) }));
}
