import type { Clock, EventOf, EventStage } from '@butterfly/common';
import { buckets } from './buckets.js';
import { type Handlers, modelOf, seconds } from './handlers.js';
import type { Instruments } from './instruments.js';

/** A plan that is in force, or was until `retiredMs`. */
interface KnownPlan {
  readonly model: string;
  readonly stages: readonly EventStage[];
  readonly retiredMs: number | null;
}

interface StageTime {
  readonly computeMicros: number;
  readonly hostMicros: number;
}

/** Workers that come and go, the plans that they carry out, and what becomes of both. */
export class FleetMetrics {
  /** Names by id, of those that are here. */
  readonly #workers = new Map<string, string>();
  /** By model and replica. */
  readonly #plans = new Map<string, KnownPlan>();
  /** Models that each worker computed of, and so has series of. */
  readonly #computed = new Map<string, Set<string>>();
  readonly #metrics: ReturnType<typeof fleetInstruments>;

  constructor(
    instruments: Instruments,
    private readonly clock: Clock,
  ) {
    this.#metrics = fleetInstruments(instruments);
    // The first one that is lost is an increase only of what was there.
    for (const how of ['orderly', 'lost']) this.#metrics.left.inc({ how }, 0);
  }

  readonly handlers: Handlers = {
    workerJoined: ({ workerId, name }) => {
      this.#workers.set(workerId, name);
      this.#metrics.joined.inc();
    },
    workerLeft: ({ workerId, isOrderly }) => {
      this.#metrics.left.inc({ how: isOrderly ? 'orderly' : 'lost' });
      this.#forget(workerId);
    },
    planLive: (event) => this.#live(event),
    planRetired: (event) => {
      const key = keyOf(event);
      const plan = this.#plans.get(key);
      this.#metrics.retired.inc({ model: modelOf(event) });
      if (plan?.retiredMs === null) this.#plans.set(key, { ...plan, retiredMs: this.clock.nowMs() });
    },
    shardLoaded: (event) => this.#loaded(event),
    modelLoaded: ({ modelId }) => this.#metrics.loads.inc({ model: modelId, how: 'loaded' }),
    modelNotLoaded: ({ modelId }) => this.#metrics.loads.inc({ model: modelId, how: 'failed' }),
    modelUnloading: ({ modelId }) => {
      this.#metrics.unloads.inc({ model: modelId });
      for (const [key, { model }] of this.#plans) if (model === modelId) this.#plans.delete(key);
    },
    localWorkerEnded: () => this.#metrics.localEnds.inc(),
  };

  /** A step went through the stages of a plan; each of them took this long. */
  computed(model: string, replica: number, stageTimes: readonly StageTime[]): void {
    const { stages = [] } = this.#plans.get(keyOf({ modelId: model, replica })) ?? {};
    for (const [index, { computeMicros, hostMicros }] of stageTimes.entries()) {
      const workerId = stages[index]?.workerId;
      const worker = workerId === undefined ? undefined : this.#workers.get(workerId);
      // Its last results may come after its end, when its series are gone.
      if (workerId === undefined || worker === undefined) continue;
      const labels = { model, worker, worker_id: workerId };
      this.#metrics.compute.inc(labels, seconds(computeMicros / 1000));
      this.#metrics.host.inc(labels, seconds(hostMicros / 1000));
      const models = this.#computed.get(workerId);
      if (models) models.add(model);
      else this.#computed.set(workerId, new Set([model]));
    }
  }

  #forget(workerId: string): void {
    const worker = this.#workers.get(workerId);
    if (worker !== undefined)
      for (const model of this.#computed.get(workerId) ?? []) {
        this.#metrics.compute.remove({ model, worker, worker_id: workerId });
        this.#metrics.host.remove({ model, worker, worker_id: workerId });
      }
    this.#workers.delete(workerId);
    this.#computed.delete(workerId);
  }

  #live(event: EventOf<'planLive'>): void {
    const key = keyOf(event);
    const model = modelOf(event);
    const before = this.#plans.get(key);
    this.#plans.set(key, { model, stages: event.stages, retiredMs: null });
    this.#metrics.plans.inc({ model });
    if (before?.retiredMs == null) return;
    const isLoss = before.stages.some(({ workerId }) => !this.#workers.has(workerId));
    const cause = isLoss ? 'worker_lost' : 'other';
    this.#metrics.recovery.observe({ model, cause }, seconds(this.clock.nowMs() - before.retiredMs));
  }

  #loaded(event: EventOf<'shardLoaded'>): void {
    const { fileBytes, cacheBytes, peerBytes, orchestratorBytes, elapsedMs } = event;
    const model = modelOf(event);
    this.#metrics.shardSeconds.observe({ model }, seconds(elapsedMs));
    for (const [source, bytes] of [
      ['file', fileBytes],
      ['cache', cacheBytes],
      ['peer', peerBytes],
      ['orchestrator', orchestratorBytes],
    ] as const)
      this.#metrics.shardBytes.inc({ model, source }, bytes);
  }
}

const keyOf = (event: { readonly modelId?: string; readonly replica: number }): string =>
  `${event.replica} ${modelOf(event)}`;

const workerLabels = ['model', 'worker', 'worker_id'] as const;

function fleetInstruments(make: Instruments) {
  return {
    ...planInstruments(make),
    joined: make.counter('butterfly_workers_joined_total', 'Workers that joined.'),
    left: make.counter(
      'butterfly_workers_left_total',
      'Workers that left, in order or since they were lost.',
      ['how'],
    ),
    localEnds: make.counter(
      'butterfly_local_workers_ended_total',
      'Worker processes of this machine that ended and that nobody had sent away.',
    ),
    compute: make.counter(
      'butterfly_stage_compute_seconds_total',
      'How long the stage of a worker computed: its rate is the share of time that it is busy.',
      workerLabels,
    ),
    host: make.counter(
      'butterfly_stage_host_seconds_total',
      "How long the worker's own code around it took.",
      workerLabels,
    ),
  };
}

function planInstruments(make: Instruments) {
  return {
    plans: make.counter('butterfly_plans_live_total', 'Plans that came into force.', ['model']),
    retired: make.counter('butterfly_plans_retired_total', 'Epochs that ended.', ['model']),
    recovery: make.histogram(
      'butterfly_recovery_duration_seconds',
      'From the end of an epoch until the next plan of its replica is in force, by whether a worker of it is gone.',
      ['model', 'cause'],
      buckets.recoverySeconds,
    ),
    loads: make.counter(
      'butterfly_model_loads_total',
      'Loads of models that somebody asked for, beyond those of the start of the server.',
      ['model', 'how'],
    ),
    unloads: make.counter('butterfly_model_unloads_total', 'Models that were unloaded.', ['model']),
    shardSeconds: make.histogram(
      'butterfly_shard_load_duration_seconds',
      'How long a worker took to load a shard.',
      ['model'],
      buckets.loadSeconds,
    ),
    shardBytes: make.counter(
      'butterfly_shard_loaded_bytes_total',
      'Bytes of shards that were loaded, by where they came from.',
      ['model', 'source'],
    ),
  };
}
