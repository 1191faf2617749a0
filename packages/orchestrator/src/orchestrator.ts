import { ButterflyError, deadlines, limits, type Clock, type Logger } from '@butterfly/common';
import type { Vocabulary } from '@butterfly/ggml';
import { cacheBlockSlots, ChatTemplate, defaultChatTemplate, type ModelSpec } from '@butterfly/model';
import type { FastifyInstance } from 'fastify';
import { createApi } from './api/server.js';
import { Cluster, defaultRowsMax } from './cluster/cluster.js';
import { modelPlanner } from './cluster/model-planner.js';
import type { WorkerView } from './cluster/worker-link.js';
import { PipelineEngine, type StepTrace } from './engine/engine.js';

export interface OrchestratorOptions {
  readonly spec: ModelSpec;
  readonly vocabulary: Vocabulary;
  /** Name under which the API offers the model. */
  readonly modelId: string;
  /** Where the HTTP API listens; null for none. */
  readonly http: { readonly host: string; readonly port: number } | null;
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
  readonly clock: Clock;
  readonly log: Logger;
  readonly onStep?: (trace: StepTrace) => void;
}

/** How long after one worker joined others are waited for, and how long one that failed is left out. */
const gatherMs = 300;
const cooldownMs = 30_000;

/** Cluster, engine and API of one model, wired together. */
export class Orchestrator {
  private constructor(
    readonly engine: PipelineEngine,
    private readonly cluster: Cluster,
    private readonly api: FastifyInstance | null,
    readonly httpPort: number,
  ) {}

  /** @throws ButterflyError PORT_IN_USE, ADDRESS_INVALID, CONFIG_INVALID */
  static async start(options: OrchestratorOptions): Promise<Orchestrator> {
    const { spec, clock, log } = options;
    const contextSlots = Math.ceil(options.contextTokens / cacheBlockSlots) * cacheBlockSlots;
    const arenaSlots = contextSlots * options.parallel;
    const cluster = await Cluster.start({
      ...options.cluster,
      spec,
      arenaSlots,
      rowsMax: defaultRowsMax,
      clock,
      log,
      controller: {
        workersExpected: options.workersExpected,
        gatherMs,
        cooldownMs,
        plan: modelPlanner({ ...options, arenaSlots, rowsMax: defaultRowsMax }),
      },
    });
    let engine: PipelineEngine | null = null;
    try {
      engine = startEngine(options, cluster, arenaSlots);
      const { api, port } = await startApi(options, engine);
      return new Orchestrator(engine, cluster, api, port);
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

  workers(): WorkerView[] {
    return this.cluster.workers();
  }

  /** Finishes what runs (for at most `timeoutMs`), then closes API, workers and sockets. */
  async stop(timeoutMs: number = deadlines.drainMs): Promise<void> {
    await this.engine.drain(timeoutMs);
    await this.api?.close();
    await this.cluster.close();
  }
}

/** @throws ButterflyError CONFIG_INVALID for an arena that cannot be scheduled */
function startEngine(options: OrchestratorOptions, cluster: Cluster, arenaSlots: number): PipelineEngine {
  const engine = new PipelineEngine({
    pipeline: cluster,
    scheduler: {
      contextTokensMax: options.contextTokens,
      arenaSlots,
      stages: 1,
      runningMax: Math.min(options.parallel * 4, limits.stepSequencesMax),
      stepRowsMax: defaultRowsMax,
      ...(options.speculation === 'off' ? { guessesMax: 0 } : {}),
    },
    clock: options.clock,
    log: options.log,
    ...(options.onStep ? { onStep: options.onStep } : {}),
  });
  cluster.attach({
    onLive: (current, reports) => engine.onLive(current, reports),
    onDown: () => engine.onDown(),
    onResult: (result) => engine.onResult(result),
  });
  return engine;
}

async function startApi(
  options: OrchestratorOptions,
  engine: PipelineEngine,
): Promise<{ api: FastifyInstance | null; port: number }> {
  if (!options.http) return { api: null, port: 0 };
  const { vocabulary, spec, clock, log } = options;
  const tokenText = (token: number | null): string => (token === null ? '' : vocabulary.tokenText(token));
  const api = createApi({
    engine,
    vocabulary,
    chatTemplate: new ChatTemplate(spec.tokenizer.chatTemplate ?? defaultChatTemplate, {
      bosToken: tokenText(vocabulary.bos),
      eosToken: tokenText(vocabulary.eos),
    }),
    model: { id: options.modelId, createdS: Math.floor(Date.now() / 1000) },
    clock,
    log,
  });
  const { host, port } = options.http;
  try {
    await api.listen({ host, port });
  } catch (cause) {
    await api.close();
    throw listenError(cause, host, port);
  }
  const address = api.server.address();
  return { api, port: typeof address === 'object' && address ? address.port : port };
}

function listenError(cause: unknown, host: string, port: number): ButterflyError {
  const code = cause instanceof Error && 'code' in cause ? cause.code : '';
  if (code === 'EADDRINUSE')
    return new ButterflyError(
      'PORT_IN_USE',
      `Another process listens on ${host}:${port}; choose another with --port.`,
      { cause, param: 'port' },
    );
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new ButterflyError(
    'ADDRESS_INVALID',
    `The API cannot listen on ${host}:${port} (${reason}); give an address of this machine with --host, or 0.0.0.0 for all, and a free --port.`,
    { cause },
  );
}
