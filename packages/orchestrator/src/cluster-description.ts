import type {
  ClusterDescription,
  DrainDescription,
  HostDescription,
  LinkDescription,
  ReplicaDescription,
  WorkerDescription,
  WorkerView,
} from './view/cluster-view.js';
import { replicasInUse } from '@butterfly/control';
import type { ReplicatedEngine, SchedulerStats } from '@butterfly/engine';
import type { Link, PlanStage } from '@butterfly/planning';
import { kernelsOf } from './fleet/kernel-kinds.js';
import type { Replica } from './deployment/replica.js';
import type { Deployment } from './deployment/deployment.js';
import type { FleetWorker } from './fleet/fleet-worker.js';
import type { ModelWorker } from './fleet/model-worker.js';

/** What is the same for all models. */
export interface DescribedCluster {
  workers(): readonly FleetWorker[];
  /** Null stands for the orchestrator. */
  link(from: string | null, to: string | null): Link;
  readonly drains: readonly DrainDescription[];
  readonly notes: readonly string[];
}

/** The cluster as people and tools see it, and one of its models. */
export function describeCluster(
  cluster: DescribedCluster,
  deployment: Deployment,
  engine: Pick<ReplicatedEngine, 'loads' | 'measured' | 'status'>,
  model: NonNullable<ClusterDescription['model']>,
): ClusterDescription {
  const { ready, detail } = engine.status();
  const { trouble } = deployment;
  const loads = engine.loads();
  const replicas = replicasInUse(deployment.replicas).map((replica) =>
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
    workers: [...deployment.fleet.workers.values()].map((worker) =>
      describeWorker(cluster, worker, deployment.replicaOf(worker.workerId)),
    ),
    drains: cluster.drains,
    notes: [...cluster.notes, ...deployment.notes],
    trouble: trouble && { code: trouble.code, message: trouble.message },
  };
}

/** The same without any model. */
export function describeBare(cluster: DescribedCluster): ClusterDescription {
  return {
    model: null,
    isReady: false,
    detail: 'no model is loaded',
    epoch: null,
    plan: null,
    replicas: [],
    measured: null,
    workers: cluster.workers().map((worker) => describeBareWorker(cluster, worker)),
    drains: cluster.drains,
    notes: cluster.notes,
    trouble: null,
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
export function viewOf(deployment: Deployment, worker: ModelWorker): WorkerView {
  const { workerId, identity, loadedBytes, totalBytes } = worker;
  const replica = deployment.replicaOf(workerId);
  return {
    workerId,
    name: identity.name,
    device: identity.device?.name ?? 'cpu',
    threads: identity.threads,
    replica: deployment.replicas.length === 1 ? null : (replica?.number ?? null),
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

function describeWorker(
  cluster: DescribedCluster,
  worker: ModelWorker,
  replica: Replica | null,
): WorkerDescription {
  const { workerId, profile, loadedBytes, totalBytes, reports } = worker;
  const report = replica?.reportOf(workerId) ?? [...reports.values()].at(-1) ?? null;
  return {
    ...describeBareWorker(cluster, worker),
    state: replica?.stateOf(workerId) ?? 'measuring',
    replica: replica?.number ?? null,
    layers: layersOf(replica, workerId),
    stepMicros: replica?.rowMicrosOf(workerId) ?? null,
    residentBytes: report?.residentBytes ?? null,
    host: hostOf(replica, worker),
    loading: loadedBytes < totalBytes ? { loadedBytes, totalBytes } : null,
    loaded: report?.loaded ?? null,
    profile,
    links: linksOf(cluster, replica, workerId),
  };
}

/** What is known of a worker whatever it works on. */
function describeBareWorker(cluster: DescribedCluster, worker: FleetWorker): WorkerDescription {
  const { workerId, identity } = worker;
  return {
    workerId,
    name: identity.name,
    version: identity.butterflyVersion,
    kernels: kernelsOf(worker),
    state: 'idle',
    replica: null,
    layers: null,
    stepMicros: null,
    device: deviceOf(identity),
    threads: identity.threads,
    memoryBytes: identity.memoryBytes,
    residentBytes: null,
    host: hostOf(null, worker),
    loading: null,
    loaded: null,
    profile: null,
    links: linksOf(cluster, null, workerId),
  };
}

function deviceOf({ device, cpuVariant }: FleetWorker['identity']): WorkerDescription['device'] {
  if (!device) return { name: 'cpu', kind: 'cpu', description: cpuVariant };
  const { name, kind, description } = device;
  return { name, kind, description };
}

/** To the orchestrator and to the worker's neighbours in the pipeline: all of them would be a thousand times a thousand. */
function linksOf(cluster: DescribedCluster, replica: Replica | null, workerId: string): LinkDescription[] {
  const stages = replica?.plan?.stages ?? [];
  const index = stages.findIndex((stage) => stage.workerId === workerId);
  const next = index === -1 ? undefined : stages[index + 1]?.workerId;
  const targets = next === undefined ? [null] : [null, next];
  return targets.map((toWorkerId) => ({ toWorkerId, ...cluster.link(workerId, toWorkerId) }));
}
