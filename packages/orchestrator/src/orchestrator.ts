import {
  deadlines,
  limits,
  listenError,
  type ButterflyError,
  type Clock,
  type Logger,
  type Transport,
} from '@butterfly/common';
import type { Vocabulary } from '@butterfly/ggml';
import { cacheBlockSlots, PromptMaker, type ModelSpec } from '@butterfly/model';
import type { FastifyInstance } from 'fastify';
import type { HttpSettings } from './api/completions.js';
import { hostName } from './api/host-check.js';
import { createApi } from './api/server.js';
import type { ClusterDescription, ClusterView } from './api/cluster-view.js';
import { Cluster, defaultRowsMax } from './cluster/cluster.js';
import { describeCluster, viewOf } from './cluster/cluster-description.js';
import { clusterPlanner } from './cluster/cluster-planner.js';
import type { FileServer } from './cluster/file-server.js';
import type { WorkerView } from './cluster/worker-link.js';
import { PipelineEngine, type StepTrace } from './engine/engine.js';
import { EngineLedger } from './engine/ledger.js';
import { ReplicatedEngine } from './engine/replicated-engine.js';
import type { Objective } from './planning/types.js';

export interface OrchestratorOptions {
  readonly spec: ModelSpec;
  readonly vocabulary: Vocabulary;
  /** Makes the prompts of requests; by default with the template of the model. */
  readonly prompts?: PromptMaker | undefined;
  /** Name under which the API offers the model. */
  readonly modelId: string;
  /** Where the HTTP API listens, and by default for no pages but its own; null for none. */
  readonly http:
    | ({ readonly host: string; readonly port: number } & {
        readonly [K in keyof HttpSettings]?: HttpSettings[K] | undefined;
      })
    | null;
  readonly cluster: { readonly host: string; readonly port: number; readonly token: string | null };
  /** Prompt plus output of one request, in tokens. */
  readonly contextTokens: number;
  /** Requests that may hold a place in the arena at once. */
  readonly parallel: number;
  readonly workersExpected: number;
  /** Type of cached keys and values, one of `cacheTypes`; by default `auto`, the fastest whose loss is allowed. */
  readonly kvCacheType?: string | undefined;
  /** Whether tokens are guessed by prompt lookup where that pays and changes nothing; by default they are. */
  readonly speculation?: 'auto' | 'off' | undefined;
  /** What plans are to be best at; by default tokens per second of all requests together. */
  readonly objective?: Objective | undefined;
  /** Pipeline stages at least, where there are as many workers; default 1. */
  readonly stagesMin?: number | undefined;
  /** Workers of each pipeline that hold a second copy of a shard instead of having a stage, where memory allows; default 0. */
  readonly spares?: number | undefined;
  /** Whether stages compute so that a token's numbers depend on the tokens before it alone; default false. */
  readonly isDeterministic?: boolean | undefined;
  /** Pipelines at most, each with all layers, where workers and memory allow more than one; default 1. */
  readonly replicasMax?: number | undefined;
  /** The model's files, held open, which the orchestrator closes in the end; by default they are opened when they are first asked for. */
  readonly files?: FileServer | undefined;
  readonly clock: Clock;
  readonly log: Logger;
  /** Sockets, unless a simulation says otherwise. */
  readonly transport?: Transport;
  readonly onStep?: (trace: StepTrace) => void;
}

/** How long after one worker joined others are waited for. */
const gatherMs = 300;

/** Cluster, engine and API of one model, wired together. */
export class Orchestrator {
  private constructor(
    readonly engine: ReplicatedEngine,
    private readonly cluster: Cluster,
    private readonly view: ClusterView,
    private readonly api: FastifyInstance | null,
    readonly httpPort: number,
  ) {}

  /** @throws ButterflyError PORT_IN_USE, ADDRESS_INVALID, CONFIG_INVALID */
  static async start(options: OrchestratorOptions): Promise<Orchestrator> {
    const { spec, clock, log } = options;
    const contextSlots = Math.ceil(options.contextTokens / cacheBlockSlots) * cacheBlockSlots;
    const arenaSlots = contextSlots * options.parallel;
    const { isDeterministic = false, stagesMin = 1, objective = 'throughput', replicasMax = 1 } = options;
    const cluster = await Cluster.start({
      ...options.cluster,
      shards: { spec, arenaSlots, rowsMax: defaultRowsMax, isDeterministic },
      replicasMax,
      files: options.files,
      clock,
      log,
      ...(options.transport ? { transport: options.transport } : {}),
      controller: {
        workersExpected: options.workersExpected,
        gatherMs,
        stagesMin,
        spares: options.spares ?? 0,
      },
      planner: clusterPlanner({
        spec,
        arenaSlots,
        rowsMax: defaultRowsMax,
        kvCacheType: options.kvCacheType,
        objective,
        concurrency: options.parallel,
        stagesMin,
        spares: options.spares,
        replicasMax,
        log,
      }),
    });
    let engine: ReplicatedEngine | null = null;
    try {
      engine = startEngine(options, cluster, arenaSlots);
      const view = clusterView(options, cluster, engine, arenaSlots);
      const { api, port } = await startApi(options, engine, view);
      return new Orchestrator(engine, cluster, view, api, port);
    } catch (error) {
      await engine?.drain(0);
      await cluster.close();
      throw error;
    }
  }

  get clusterPort(): number {
    return this.cluster.port;
  }

  /** Why the last plan could not be made or carried out; null when there is a newer one. */
  get trouble(): ButterflyError | null {
    return this.cluster.trouble;
  }

  /** Whether a plan is in force. */
  get isLive(): boolean {
    return this.cluster.isLive;
  }

  /**
   * Begins to empty a worker while requests go on; it is told goodbye when it is empty.
   * @throws ButterflyError NOT_FOUND, MODEL_TOO_LARGE when the others cannot hold the model; nothing has changed then
   */
  drain(workerId: string): void {
    this.view.drain(workerId);
  }

  workers(): WorkerView[] {
    return this.cluster.workers().map((worker) => viewOf(this.cluster, worker));
  }

  describe(): ClusterDescription {
    return this.view.describe();
  }

  /** Finishes what runs (for at most `timeoutMs`), then closes API, workers and sockets. */
  async stop(timeoutMs: number = deadlines.drainMs): Promise<void> {
    await this.engine.drain(timeoutMs);
    await this.api?.close();
    await this.cluster.close();
  }
}

/** An engine for each lane, and one in front of them. @throws ButterflyError CONFIG_INVALID for an arena that cannot be scheduled */
function startEngine(options: OrchestratorOptions, cluster: Cluster, arenaSlots: number): ReplicatedEngine {
  const { clock, log, onStep, contextTokens } = options;
  const ledger = new EngineLedger(clock.nowMs());
  const scheduler = {
    contextTokensMax: contextTokens,
    arenaSlots,
    stages: 1,
    runningMax: Math.min(options.parallel * 4, limits.stepSequencesMax),
    stepRowsMax: defaultRowsMax,
    ...(options.speculation === 'off' ? { guessesMax: 0 } : {}),
  };
  const onIdle = (): void => replicated.idle();
  const replicas = cluster.lanes.map((lane) => ({
    lane,
    engine: new PipelineEngine({ pipeline: lane, scheduler, ledger, clock, log, onStep, onIdle }),
    get state() {
      return lane.state;
    },
    get tokensPerSecond() {
      return lane.plan?.predicted.tokensPerSecond ?? 0;
    },
  }));
  const describe = (): string => cluster.describe();
  const replicated = new ReplicatedEngine({
    replicas,
    ledger,
    contextTokensMax: contextTokens,
    describe,
    clock,
  });
  for (const { lane, engine } of replicas)
    lane.attach({
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
    });
  return replicated;
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
  };
}

async function startApi(
  options: OrchestratorOptions,
  engine: ReplicatedEngine,
  view: ClusterView,
): Promise<{ api: FastifyInstance | null; port: number }> {
  if (!options.http) return { api: null, port: 0 };
  const { vocabulary, spec, clock, log } = options;
  const { host, port, keepAliveMs = deadlines.keepAliveMs, corsOrigins = [], hostNames = [] } = options.http;
  const { chatTemplate } = spec.tokenizer;
  const api = createApi({
    engine,
    vocabulary,
    prompts: options.prompts ?? new PromptMaker({ vocabulary, chatTemplate }),
    model: { id: options.modelId, createdS: Math.floor(Date.now() / 1000) },
    administration: { view, token: options.cluster.token },
    http: { keepAliveMs, corsOrigins, hostNames: [host, ...hostNames].map(hostName) },
    clock,
    log,
  });
  try {
    await api.listen({ host, port });
  } catch (cause) {
    await api.close();
    throw listenError(host, port, cause);
  }
  const address = api.server.address();
  return { api, port: typeof address === 'object' && address ? address.port : port };
}
