import { randomInt } from 'node:crypto';
import { ButterflyError, type Clock, type Observer, deadlines, runningMaxOf } from '@butterfly/common';
import {
  ConstraintDesk,
  type DraftModel,
  EngineLedger,
  PipelineEngine,
  ReplicatedEngine,
  sharedTokens,
} from '@butterfly/engine';
import type { Admission } from '@butterfly/identity';
import { type ModelSpec, cacheBlockSlots, stateSlotsOf, windowsOf } from '@butterfly/model';
import type { PlanWishes } from '@butterfly/planning';
import type { TokenTable, Transport } from '@butterfly/wire';
import type { ClusterDescription, ClusterView } from './view/cluster-view.js';
import { Cluster } from './cluster.js';
import { describeCluster, viewOf } from './cluster-description.js';
import { engineModel, stepRowsMax } from './deployment/served-requests.js';
import { clusterPlanner } from './deployment/cluster-planner.js';
import type { FileServer } from './fleet/file-server.js';
import type { WorkerView } from './fleet/fleet-worker.js';

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

export interface OrchestratorOptions {
  readonly spec: ModelSpec;
  /** Name under which the model is offered. */
  readonly modelId: string;
  readonly cluster: {
    readonly host: string;
    readonly port: number;
    /** Decides who may join. */
    readonly admission: Admission;
    /** Over which workers join; plain sockets, unless certificates or a simulation say otherwise. */
    readonly transport?: Transport | undefined;
  };
  readonly capacity: Capacity;
  readonly wishes: PlanWishes;
  readonly numerics: Numerics;
  readonly workersExpected: number;
  /** The share of requests whose steps spare workers compute too, to be compared; by default none. */
  readonly verifyRate?: number | undefined;
  /** A number from 0 to below 1 that nobody can foresee, which chooses them; by default the system's. */
  readonly draw?: (() => number) | undefined;
  /** Whether tokens are guessed by prompt lookup where that pays and changes nothing; by default they are. */
  readonly speculation?: 'auto' | 'off' | undefined;
  /**
   * Another model with the same vocabulary, which guesses what this one will say where that pays; by default there is none.
   * Whoever started it stops it, after this one. Needs `vocabulary`.
   */
  readonly draft?: DraftOptions | undefined;
  /** The model's files, held open, which the orchestrator closes in the end; by default they are opened when they are first asked for. */
  readonly files?: FileServer | undefined;
  /** What tokens stand for, asked for with the first constraint; without it no answer can be held to one. */
  readonly vocabulary?: (() => TokenTable) | undefined;
  readonly clock: Clock;
  /** Hears what happens. */
  readonly observe: Observer;
}

/** A model that guesses. */
export interface DraftOptions {
  /** Over workers of its own: that of another orchestrator. */
  readonly engine: DraftModel['engine'];
  readonly vocabulary: () => TokenTable;
}

/** How long after one worker joined others are waited for. */
const gatherMs = 300;

/** Cluster and engine of one model, wired together. */
export class Orchestrator {
  private constructor(
    readonly engine: ReplicatedEngine,
    private readonly cluster: Cluster,
    /** The cluster as people and tools see it. */
    readonly view: ClusterView,
  ) {}

  /** @throws ButterflyError PORT_IN_USE, ADDRESS_INVALID, CONFIG_INVALID, also for a draft of which no guesses can be had */
  static async start(options: OrchestratorOptions): Promise<Orchestrator> {
    const draft = draftModel(options);
    const { spec, capacity, wishes, numerics, files, clock, observe } = options;
    const contextSlots = Math.ceil(capacity.contextTokens / cacheBlockSlots) * cacheBlockSlots;
    const sizes = {
      spec,
      arenaSlots: contextSlots * capacity.parallel,
      rowsMax: stepRowsMax(spec, capacity.contextTokens),
    };
    const { kvCacheType, isDeterministic } = numerics;
    const cluster = await Cluster.start({
      ...options.cluster,
      shards: { ...sizes, isDeterministic },
      wishes,
      verification: { rate: options.verifyRate ?? 0, draw: options.draw ?? unforeseeable },
      gathering: { workersExpected: options.workersExpected, gatherMs },
      planner: clusterPlanner({ ...sizes, wishes, kvCacheType, concurrency: capacity.parallel, observe }),
      files,
      vocabulary: options.vocabulary,
      clock,
      observe,
    });
    try {
      const engine = startEngine(options, draft, cluster, sizes.arenaSlots);
      return new Orchestrator(engine, cluster, clusterView(options, cluster, engine, sizes.arenaSlots));
    } catch (error) {
      await cluster.close();
      throw error;
    }
  }

  get clusterPort(): number {
    return this.cluster.port;
  }

  /** Why the last plan could not be made or carried out; null when there is a newer one. */
  get trouble(): ButterflyError | null {
    return this.cluster.deployment.trouble;
  }

  /** Whether a plan is in force. */
  get isLive(): boolean {
    return this.cluster.deployment.isLive;
  }

  workers(): WorkerView[] {
    return this.cluster.workers().map((worker) => viewOf(this.cluster, worker));
  }

  describe(): ClusterDescription {
    return this.view.describe();
  }

  /** Takes no more requests, finishes what runs (for at most `timeoutMs`), then closes workers and sockets. */
  async stop(timeoutMs: number = deadlines.drainMs): Promise<void> {
    await this.engine.drain(timeoutMs);
    await this.cluster.close();
  }
}

const unforeseeable = (): number => randomInt(2 ** 47) / 2 ** 47;

/** @throws ButterflyError CONFIG_INVALID for a draft of which no guesses can be had */
function draftModel({ draft, vocabulary, speculation }: OrchestratorOptions): DraftModel | undefined {
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
  options: OrchestratorOptions,
  draft: DraftModel | undefined,
  cluster: Cluster,
  arenaSlots: number,
): ReplicatedEngine {
  const { clock, observe } = options;
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
    stateSlots,
    windows: windowsOf(options.spec),
    ...(options.speculation === 'off' ? { guessesMax: 0 } : {}),
    draftTokensMax: draft?.engine.contextTokensMax ?? 0,
  };
  const onIdle = (): void => replicated.idle();
  const replicas = cluster.deployment.replicas.map((replica) => ({
    replica,
    engine: new PipelineEngine({
      pipeline: replica,
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
  const constraints = constraintDesk(options, cluster);
  const describe = (): string => cluster.deployment.describe();
  const replicated = new ReplicatedEngine({
    replicas,
    ledger,
    contextTokensMax: contextTokens,
    constraints,
    describe,
    clock,
  });
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
function constraintDesk({ vocabulary, clock }: OrchestratorOptions, cluster: Cluster): ConstraintDesk | null {
  if (!vocabulary) return null;
  const { replicas } = cluster.deployment;
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

function clusterView(
  options: OrchestratorOptions,
  cluster: Cluster,
  engine: ReplicatedEngine,
  arenaSlots: number,
): ClusterView {
  const model = { id: options.modelId, layers: options.spec.layers, arenaSlots };
  return {
    describe: () => describeCluster(cluster, engine, model),
    drain: (workerId) => cluster.drain(workerId),
    revoke: (workerId) => cluster.revoke(workerId),
  };
}
