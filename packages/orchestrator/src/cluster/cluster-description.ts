import type { ClusterDescription, LinkDescription, WorkerDescription } from '../api/cluster-view.js';
import type { PipelineEngine } from '../engine/engine.js';
import type { Cluster } from './cluster.js';
import type { WorkerLink, WorkerView } from './worker-link.js';

/** The cluster as people and tools see it. */
export function describeCluster(
  cluster: Cluster,
  engine: Pick<PipelineEngine, 'measured' | 'status'>,
  model: ClusterDescription['model'],
): ClusterDescription {
  const { ready, detail } = engine.status();
  const { epoch, plan, trouble } = cluster;
  return {
    model,
    isReady: ready,
    detail,
    epoch,
    plan,
    measured: engine.measured(),
    workers: cluster.workers().map((worker) => describeWorker(cluster, worker)),
    trouble: trouble && { code: trouble.code, message: trouble.message },
  };
}

/** What `serve` and the demo print of a worker. */
export function viewOf(cluster: Cluster, worker: WorkerLink): WorkerView {
  const { workerId, identity, loadedBytes, totalBytes } = worker;
  return {
    workerId,
    name: identity.name,
    threads: identity.threads,
    layers: layersOf(cluster, workerId),
    loadedBytes,
    totalBytes,
    report: cluster.reportOf(workerId),
  };
}

function layersOf({ plan }: Cluster, workerId: string): readonly [number, number] | null {
  const stage = plan?.stages.find((each) => each.workerId === workerId);
  return stage ? [stage.layerStart, stage.layerEnd - 1] : null;
}

function describeWorker(cluster: Cluster, worker: WorkerLink): WorkerDescription {
  const { workerId, identity, profile, loadedBytes, totalBytes, reports } = worker;
  const report = cluster.reportOf(workerId) ?? [...reports.values()].at(-1) ?? null;
  return {
    workerId,
    name: identity.name,
    state: profile === null ? 'measuring' : cluster.stateOf(workerId),
    layers: layersOf(cluster, workerId),
    threads: identity.threads,
    memoryBytes: identity.memoryBytes,
    residentBytes: report?.residentBytes ?? null,
    loading: loadedBytes < totalBytes ? { loadedBytes, totalBytes } : null,
    loaded: report?.loaded ?? null,
    profile,
    links: linksOf(cluster, workerId),
  };
}

/** To the orchestrator and to the worker's neighbours in the pipeline: all of them would be a thousand times a thousand. */
function linksOf(cluster: Cluster, workerId: string): LinkDescription[] {
  const stages = cluster.plan?.stages ?? [];
  const index = stages.findIndex((stage) => stage.workerId === workerId);
  const next = index === -1 ? undefined : stages[index + 1]?.workerId;
  const targets = next === undefined ? [null] : [null, next];
  return targets.map((toWorkerId) => ({ toWorkerId, ...cluster.link(workerId, toWorkerId) }));
}
