import { randomInt } from 'node:crypto';
import {
  ButterflyError,
  type Clock,
  type Observer,
  deadlines,
  observerOfModel,
  runningMaxOf,
} from '@butterfly/common';
import {
  ConstraintDesk,
  type DraftModel,
  EngineLedger,
  PipelineEngine,
  ReplicatedEngine,
  type SchedulerStats,
  sharedTokens,
} from '@butterfly/engine';
import { type ModelSpec, cacheBlockSlots, servedHead, stateSlotsOf, windowsOf } from '@butterfly/model';
import type { PlanWishes } from '@butterfly/planning';
import type { TokenTable } from '@butterfly/wire';
import { describeCluster, type DescribedCluster, viewOf } from './cluster-description.js';
import { clusterPlanner } from './deployment/cluster-planner.js';
import type { Deployment } from './deployment/deployment.js';
import type { DeploymentSettings } from './deployment/deployment-types.js';
import { engineModel, stepRowsMax } from './deployment/served-requests.js';
import type { FileServer } from './fleet/file-server.js';
import type { ClusterDescription, WorkerView } from './view/cluster-view.js';

/** How much runs at once. */
export interface Capacity {
  /** Prompt plus output of one request, in tokens. */
  readonly contextTokens: number;
  /** Requests that may hold a place in the arena at once. */
  readonly parallel: number;
}

/** What decides the last bits of numbers. */
export interface Numerics {
  /** Type of cached keys and values, one of `cacheTypes`, or `auto`, the fastest whose loss is allowed. */
  readonly kvCacheType: string;
  /** Whether stages compute so that a token's numbers depend on the tokens before it alone. */
  readonly isDeterministic: boolean;
}

/** A model and how it is to be served. */
export interface ModelOptions {
  readonly spec: ModelSpec;
  /** Name under which the model is offered. */
  readonly modelId: string;
  readonly capacity: Capacity;
  readonly wishes: PlanWishes;
  readonly numerics: Numerics;
  /** To wait for before the first plan. */
  readonly workersExpected: number;
  /** The share of requests whose steps spare workers compute too, to be compared; by default none. */
  readonly verifyRate?: number | undefined;
  /** A number from 0 to below 1 that nobody can foresee, which chooses them; by default the system's. */
  readonly draw?: (() => number) | undefined;
  /** Whether tokens are guessed by prompt lookup where that pays and changes nothing; by default they are. */
  readonly speculation?: 'auto' | 'off' | undefined;
  /**
   * Another model with the same vocabulary, which guesses what this one will say where that pays; by default there is none. It is
   * to serve as long as this one does. Needs `vocabulary`.
   */
  readonly draft?: DraftOptions | undefined;
  /** The model's files, held open, which are closed with it; by default they are opened when they are first asked for. */
  readonly files?: FileServer | undefined;
  /** What tokens stand for, asked for with the first constraint; without it no answer can be held to one. */
  readonly vocabulary?: (() => TokenTable) | undefined;
}

/** A model that guesses. */
export interface DraftOptions {
  readonly engine: DraftModel['engine'];
  readonly vocabulary: () => TokenTable;
}

/** How much a model has to do. */
export interface ModelLoad {
  readonly running: number;
  readonly queued: number;
  readonly arenaSlots: number;
  /** Of these, those that are free or hold only what may be dropped at once. */
  readonly availableSlots: number;
}

/** What all models of an orchestrator have in common. */
export interface Surroundings {
  readonly clock: Clock;
  readonly observe: Observer;
}

/** The cluster as a model needs it. */
export interface ServingCluster extends DescribedCluster {
  /** @throws ButterflyError QUEUE_FULL, CONFIG_INVALID */
  deploy(settings: DeploymentSettings & { readonly files?: FileServer | undefined }): Deployment;
  withdraw(deployment: Deployment): Promise<void>;
}

/** How long after one worker joined others are waited for. */
const gatherMs = 300;

/** A model as it is served: its deployment in the cluster, and the engine that its requests go through. */
export class DeployedModel {
  readonly #arenaSlots: number;
  readonly #deployment: Deployment;
  readonly engine: ReplicatedEngine;

  /** @throws ButterflyError CONFIG_INVALID, also for a draft of which no guesses can be had; QUEUE_FULL where there are too many models */
  constructor(
    private readonly cluster: ServingCluster,
    private readonly options: ModelOptions,
    surroundings: Surroundings,
  ) {
    const around = {
      ...surroundings,
      observe: observerOfModel(surroundings.observe, options.modelId),
    };
    const draft = draftModel(options);
    const { spec, modelId, capacity, wishes, numerics, files, vocabulary } = options;
    const contextSlots = Math.ceil(capacity.contextTokens / cacheBlockSlots) * cacheBlockSlots;
    this.#arenaSlots = contextSlots * capacity.parallel;
    const rowsMax = stepRowsMax(spec, capacity.contextTokens);
    const sizes = { spec, arenaSlots: this.#arenaSlots, rowsMax };
    const { kvCacheType, isDeterministic } = numerics;
    const planning = { ...sizes, wishes, kvCacheType, concurrency: capacity.parallel };
    this.#deployment = cluster.deploy({
      name: modelId,
      shards: { ...sizes, isDeterministic },
      wishes,
      verification: { rate: options.verifyRate ?? 0, draw: options.draw ?? unforeseeable },
      gathering: { workersExpected: options.workersExpected, gatherMs },
      planner: clusterPlanner({ ...planning, observe: around.observe }),
      files,
      vocabulary,
    });
    this.engine = startEngine(options, draft, this.#deployment, this.#arenaSlots, around);
  }

  get id(): string {
    return this.options.modelId;
  }

  /** Why the last plan could not be made or carried out; null when there is a newer one. */
  get trouble(): ButterflyError | null {
    return this.#deployment.trouble;
  }

  /** Whether a plan is in force. */
  get isLive(): boolean {
    return this.#deployment.isLive;
  }

  /** Memory of all workers that its shards take or will take, in bytes. */
  get bytes(): number {
    return [...this.#deployment.taken.values()].reduce((sum, bytes) => sum + bytes, 0);
  }

  /** Requests that hold a place and that wait for one, and slots of its arenas; of all replicas together. */
  get load(): ModelLoad {
    const loads = this.engine.loads();
    const sum = (of: (stats: SchedulerStats) => number): number =>
      loads.reduce((total, stats) => total + of(stats), 0);
    return {
      running: sum(({ running }) => running),
      queued: sum(({ waiting }) => waiting),
      arenaSlots: this.#arenaSlots * loads.length,
      availableSlots: sum(({ availableSlots }) => availableSlots),
    };
  }

  workers(): WorkerView[] {
    return [...this.#deployment.fleet.workers.values()].map((worker) => viewOf(this.#deployment, worker));
  }

  /** The cluster as this model sees it. */
  describe(): ClusterDescription {
    const { modelId: id, spec } = this.options;
    const model = { id, layers: spec.layers, arenaSlots: this.#arenaSlots };
    return describeCluster(this.cluster, this.#deployment, this.engine, model);
  }

  /** Takes no more requests, finishes what runs (for at most `timeoutMs`), and has workers let go of it. */
  async stop(timeoutMs: number = deadlines.drainMs): Promise<void> {
    await this.engine.drain(timeoutMs);
    await this.cluster.withdraw(this.#deployment);
  }
}

const unforeseeable = (): number => randomInt(2 ** 47) / 2 ** 47;

/** @throws ButterflyError CONFIG_INVALID for a draft of which no guesses can be had */
function draftModel({ draft, vocabulary, speculation }: ModelOptions): DraftModel | undefined {
  if (!draft) return undefined;
  const refused = (reason: string): ButterflyError =>
    new ButterflyError('CONFIG_INVALID', reason, { param: 'draft' });
  if (speculation === 'off')
    throw refused('A draft model guesses tokens, and speculation is off; leave out one or the other.');
  if (!draft.engine.model.generates)
    throw refused('The draft model continues no texts; choose one that generates text.');
  if (!vocabulary)
    throw refused('Nothing is known of the vocabulary that a draft model must have; start with one.');
  return { engine: draft.engine, sharedTokens: sharedTokens(vocabulary(), draft.vocabulary()) };
}

/** An engine for each replica, and one in front of them. @throws ButterflyError CONFIG_INVALID for an arena that cannot be scheduled */
function startEngine(
  options: ModelOptions,
  draft: DraftModel | undefined,
  deployment: Deployment,
  arenaSlots: number,
  { clock, observe }: Surroundings,
): ReplicatedEngine {
  const { contextTokens, parallel } = options.capacity;
  const ledger = new EngineLedger(clock.nowMs());
  const stateSlots = stateSlotsOf(options.spec);
  const scheduler = {
    contextTokensMax: contextTokens,
    arenaSlots,
    stages: 1,
    // Each that runs takes two slots for states, however short it is; the rest is for checkpoints. Rooms are for all.
    runningMax: stateSlots > 0 ? parallel : runningMaxOf(parallel),
    stepRowsMax: stepRowsMax(options.spec, contextTokens),
    model: engineModel(options.spec),
    ...{ stateSlots, windows: windowsOf(options.spec) },
    ...(options.speculation === 'off' ? { guessesMax: 0 } : {}),
    draftTokensMax: draft?.engine.contextTokensMax ?? 0,
    headGuessesMax: servedHead(options.spec) ? 1 : 0,
  };
  const onIdle = (): void => replicated.idle();
  const replicas = deployment.replicas.map((replica) => ({
    replica,
    engine: new PipelineEngine({
      pipeline: replica,
      replica: replica.number,
      scheduler,
      ledger,
      clock,
      observe,
      draft,
      isToVerify: () => replica.verification?.isWanted ?? false,
      onIdle,
    }),
    get state() {
      return replica.state;
    },
    get tokensPerSecond() {
      return replica.plan?.predicted.tokensPerSecond ?? 0;
    },
  }));
  const constraints = constraintDesk(options, deployment, clock);
  const describe = (): string => deployment.describe();
  const shared = { ledger, contextTokensMax: contextTokens, constraints };
  const replicated = new ReplicatedEngine({ replicas, ...shared, describe, clock });
  for (const { replica, engine } of replicas)
    replica.attach({
      onLive: (current, reports) => {
        engine.onLive(current.plan.stages, reports);
        replicated.spread();
      },
      onDown: () => {
        engine.onDown();
        replicated.spread();
      },
      onResult: (result) => engine.onResult(result),
      isIdle: () => engine.isIdle,
      constraintsInUse: () => constraints?.inUse() ?? [],
      onConstraintRefused: (id, error) => constraints?.refuse(id, error),
    });
  return replicated;
}

/** Over the last stages of all replicas; null without a vocabulary. */
function constraintDesk(
  { vocabulary }: ModelOptions,
  { replicas }: Deployment,
  clock: Clock,
): ConstraintDesk | null {
  if (!vocabulary) return null;
  return new ConstraintDesk({
    clock,
    stopTokens: () => {
      const { stopTokens } = vocabulary();
      if (stopTokens.length > 0) return stopTokens;
      throw new ButterflyError(
        'REQUEST_UNSUPPORTED',
        'The model has no token that ends an answer, so that no answer can be held to a constraint.',
      );
    },
    stages: {
      prepare: (constraint) => {
        const waits = replicas.flatMap((replica) => replica.constraints.prepare(constraint) ?? []);
        return waits.length === 0 ? null : Promise.all(waits).then(() => undefined);
      },
      drop: (id) => {
        for (const replica of replicas) replica.constraints.drop(id);
      },
    },
  });
}
