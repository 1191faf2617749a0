import type { ClusterDescription, WorkerDescription } from '@butterfly/orchestrator';
import type { Gauge } from 'prom-client';
import type { Instruments } from './instruments.js';

/** A model that is loaded, as far as it is measured. */
export interface MeasuredModel {
  readonly id: string;
  describe(): ClusterDescription;
  readonly engine: {
    /** Of each replica, in order. */
    loads(): readonly {
      readonly running: number;
      readonly waiting: number;
      readonly inFlight: number;
      readonly availableSlots: number;
    }[];
    draftFigures(): {
      readonly asked: number;
      readonly missed: number;
      readonly guessed: number;
      readonly confirmed: number;
    };
  };
}

/** Where it is read how things stand. */
export interface MeasuredServer {
  readonly orchestrator: {
    readonly models: readonly MeasuredModel[];
    describe(): ClusterDescription;
  };
  readonly directory: {
    /** All that are offered. */
    list(): readonly { readonly id: string; readonly state: string }[];
    status(): { readonly ready: boolean };
  };
}

/** How things stand at the moment at which somebody asks: what is gone by then has no series. */
export class StateMetrics {
  readonly #metrics: ReturnType<typeof stateInstruments>;

  constructor(instruments: Instruments) {
    this.#metrics = stateInstruments(instruments);
  }

  read({ orchestrator, directory }: MeasuredServer): void {
    for (const metric of Object.values(this.#metrics)) metric.reset();
    this.#metrics.ready.set(directory.status().ready ? 1 : 0);
    for (const { id, state } of directory.list())
      this.#metrics.modelLoaded.set({ model: id }, state === 'loaded' ? 1 : 0);
    const { models } = orchestrator;
    const described = models.map((model) => ({ model, cluster: model.describe() }));
    const clusters = described.map(({ cluster }) => cluster);
    for (const { workers } of clusters.length === 0 ? [orchestrator.describe()] : clusters)
      this.#readWorkers(workers);
    for (const { model, cluster } of described) {
      this.#readModel(model, cluster);
      for (const worker of cluster.workers) this.#readWorkerOf(model.id, worker);
    }
  }

  /** The same in each description, but for links: each model has those between its own stages. */
  #readWorkers(workers: readonly WorkerDescription[]): void {
    this.#metrics.workers.set(workers.length);
    const names = new Map(workers.map(({ workerId, name }) => [workerId, name]));
    for (const { workerId, name, memoryBytes, links } of workers) {
      const labels = { worker: name, worker_id: workerId };
      this.#metrics.memory.set(labels, memoryBytes);
      this.#readLinks(labels, links, names);
    }
  }

  #readLinks(
    from: { readonly worker: string; readonly worker_id: string },
    links: WorkerDescription['links'],
    names: ReadonlyMap<string, string>,
  ): void {
    for (const { toWorkerId, latencyMicros, bytesPerSecond } of links) {
      const to =
        toWorkerId === null
          ? { to: 'orchestrator' }
          : { to: names.get(toWorkerId) ?? toWorkerId, to_id: toWorkerId };
      setKnown(this.#metrics.linkLatency, { ...from, ...to }, latencyMicros / 1e6);
      setKnown(this.#metrics.linkSpeed, { ...from, ...to }, bytesPerSecond);
    }
  }

  #readModel({ id, engine }: MeasuredModel, { isReady, model, replicas }: ClusterDescription): void {
    this.#metrics.modelReady.set({ model: id }, isReady ? 1 : 0);
    const loads = engine.loads();
    for (const { replica, isReady: isLive, epoch, plan } of replicas) {
      const of = { model: id, replica: String(replica) };
      const named = { model_name: id, replica: of.replica };
      this.#metrics.live.set(of, isLive ? 1 : 0);
      if (epoch !== null) this.#metrics.epoch.set(of, epoch);
      if (plan) setKnown(this.#metrics.predicted, of, plan.predicted.tokensPerSecond);
      const load = loads[replica - 1];
      if (!load || !model) continue;
      this.#metrics.running.set(named, load.running);
      this.#metrics.waiting.set(named, load.waiting);
      this.#metrics.inFlight.set(of, load.inFlight);
      this.#metrics.slots.set(of, model.arenaSlots);
      this.#metrics.arena.set(named, 1 - load.availableSlots / model.arenaSlots);
    }
    const { asked, missed, guessed, confirmed } = engine.draftFigures();
    this.#metrics.draftAsked.inc({ model: id, how: 'answered' }, asked - missed);
    this.#metrics.draftAsked.inc({ model: id, how: 'missed' }, missed);
    this.#metrics.draftTokens.inc({ model: id, what: 'guessed' }, guessed);
    this.#metrics.draftTokens.inc({ model: id, what: 'confirmed' }, confirmed);
  }

  #readWorkerOf(modelId: string, worker: WorkerDescription): void {
    const { name, workerId, layers, stepMicros, residentBytes, state, loading } = worker;
    const labels = { model: modelId, worker: name, worker_id: workerId };
    this.#metrics.state.set({ ...labels, state }, 1);
    if (layers) this.#metrics.layers.set(labels, layers[1] - layers[0] + 1);
    if (stepMicros !== null) setKnown(this.#metrics.stageStep, labels, stepMicros / 1e6);
    if (residentBytes !== null) this.#metrics.resident.set(labels, residentBytes);
    if (loading) this.#metrics.loading.set(labels, loading.totalBytes - loading.loadedBytes);
  }
}

/** Some of what is measured may be infinite, as the speed of a link within a machine. */
function setKnown<L extends string>(
  gauge: Gauge<L>,
  labels: Partial<Record<L, string>>,
  value: number,
): void {
  if (Number.isFinite(value)) gauge.set(labels, value);
}

const ofReplica = ['model', 'replica'] as const;
const ofStage = ['model', 'worker', 'worker_id'] as const;
const ofLink = ['worker', 'worker_id', 'to', 'to_id'] as const;

function stateInstruments(make: Instruments) {
  return {
    ...loadInstruments(make),
    ...workerInstruments(make),
    ready: make.gauge(
      'butterfly_ready',
      'Whether every loaded model has a plan in force, which the first token has gone through; as /ready.',
    ),
    modelLoaded: make.gauge('butterfly_model_loaded', 'Whether a model that is offered is loaded.', [
      'model',
    ]),
    modelReady: make.gauge('butterfly_model_ready', 'Whether a plan for a loaded model is in force.', [
      'model',
    ]),
    live: make.gauge('butterfly_replica_live', 'Whether a plan for this replica is in force.', ofReplica),
    epoch: make.gauge('butterfly_epoch', 'Number of the plan in force.', ofReplica),
    predicted: make.gauge(
      'butterfly_plan_predicted_tokens_per_second',
      'What the planner expects of the plan with the requests that it was made for.',
      ofReplica,
    ),
  };
}

function loadInstruments(make: Instruments) {
  const named = ['model_name', 'replica'] as const;
  return {
    running: make.gauge('vllm:num_requests_running', 'Sequences that hold a place in the cache.', named),
    waiting: make.gauge('vllm:num_requests_waiting', 'Sequences that wait for a place.', named),
    arena: make.gauge(
      'vllm:kv_cache_usage_perc',
      'Share of the slots of the cache that is in use, from 0 to 1, without what may be dropped at once.',
      named,
    ),
    slots: make.gauge('butterfly_arena_slots', 'Tokens that the cache of a replica has room for.', ofReplica),
    inFlight: make.gauge('butterfly_steps_in_flight', 'Steps whose results have not come.', ofReplica),
    draftAsked: make.counter(
      'butterfly_draft_asks_total',
      'How often a draft model was asked to guess for this one, and whether it answered in time.',
      ['model', 'how'],
    ),
    draftTokens: make.counter(
      'butterfly_draft_tokens_total',
      'Tokens that a draft model guessed for this one, and those that were right.',
      ['model', 'what'],
    ),
  };
}

function workerInstruments(make: Instruments) {
  return {
    workers: make.gauge('butterfly_workers', 'Workers that are here.'),
    state: make.gauge('butterfly_worker_state', 'Always 1, for the state of a worker.', [
      ...ofStage,
      'state',
    ]),
    memory: make.gauge('butterfly_worker_memory_bytes', 'Memory that a worker offers.', [
      'worker',
      'worker_id',
    ]),
    resident: make.gauge(
      'butterfly_worker_resident_bytes',
      'Native memory that the shard of a worker takes, as it said when it had loaded.',
      ofStage,
    ),
    loading: make.gauge('butterfly_worker_loading_bytes', 'What a worker has yet to load.', ofStage),
    layers: make.gauge('butterfly_stage_layers', 'Layers of the stage of a worker.', ofStage),
    stageStep: make.gauge(
      'butterfly_stage_step_seconds',
      'Time of a step of one row in the stage of a worker, as it was of late.',
      ofStage,
    ),
    linkLatency: make.gauge(
      'butterfly_link_latency_seconds',
      'Latency of the link of a worker to the orchestrator, and to the next stage.',
      ofLink,
    ),
    linkSpeed: make.gauge('butterfly_link_bytes_per_second', 'What was measured of such a link.', ofLink),
  };
}
