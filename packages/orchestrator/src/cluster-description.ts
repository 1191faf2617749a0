import type {
  ClusterDescription,
  LinkDescription,
  ReplicaDescription,
  WorkerDescription,
} from './view/cluster-view.js';
import { lanesInUse } from '@butterfly/control';
import type { ReplicatedEngine, SchedulerStats } from '@butterfly/engine';
import type { Cluster } from './cluster.js';
import type { Lane } from './deployment/lane.js';
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
  const replicas = lanesInUse(cluster.deployment.lanes).map((lane) =>
    describeReplica(lane, loads[lane.replica - 1]),
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

function describeReplica(lane: Lane, load?: SchedulerStats): ReplicaDescription {
  const { replica, isLive, epoch, plan } = lane;
  const [running, queued] = [load?.running ?? 0, load?.waiting ?? 0];
  return { replica, isReady: isLive, detail: lane.describe(), epoch, plan, running, queued };
}

/** What `serve` and the demo print of a worker. */
export function viewOf(cluster: Cluster, worker: FleetWorker): WorkerView {
  const { workerId, identity, loadedBytes, totalBytes } = worker;
  const lane = cluster.deployment.laneOf(workerId);
  return {
    workerId,
    name: identity.name,
    threads: identity.threads,
    replica: cluster.deployment.lanes.length === 1 ? null : (lane?.replica ?? null),
    layers: layersOf(lane, workerId),
    loadedBytes,
    totalBytes,
    report: lane?.reportOf(workerId) ?? null,
  };
}

function layersOf(lane: Lane | null, workerId: string): readonly [number, number] | null {
  const stage = lane?.plan?.stages.find((each) => each.workerId === workerId);
  return stage ? [stage.layerStart, stage.layerEnd - 1] : null;
}

function describeWorker(cluster: Cluster, worker: FleetWorker): WorkerDescription {
  const { workerId, identity, profile, loadedBytes, totalBytes, reports } = worker;
  const lane = cluster.deployment.laneOf(workerId);
  const report = lane?.reportOf(workerId) ?? [...reports.values()].at(-1) ?? null;
  return {
    workerId,
    name: identity.name,
    state: lane?.stateOf(workerId) ?? 'measuring',
    replica: lane?.replica ?? null,
    layers: layersOf(lane, workerId),
    stepMicros: lane?.rowMicrosOf(workerId) ?? null,
    threads: identity.threads,
    memoryBytes: identity.memoryBytes,
    residentBytes: report?.residentBytes ?? null,
    loading: loadedBytes < totalBytes ? { loadedBytes, totalBytes } : null,
    loaded: report?.loaded ?? null,
    profile,
    links: linksOf(cluster, lane, workerId),
  };
}

/** To the orchestrator and to the worker's neighbours in the pipeline: all of them would be a thousand times a thousand. */
function linksOf(cluster: Cluster, lane: Lane | null, workerId: string): LinkDescription[] {
  const stages = lane?.plan?.stages ?? [];
  const index = stages.findIndex((stage) => stage.workerId === workerId);
  const next = index === -1 ? undefined : stages[index + 1]?.workerId;
  const targets = next === undefined ? [null] : [null, next];
  return targets.map((toWorkerId) => ({ toWorkerId, ...cluster.link(workerId, toWorkerId) }));
}
