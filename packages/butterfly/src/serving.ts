import type { ListeningApi } from '@butterfly/api';
import {
  ButterflyError,
  deadlines,
  exitCodes,
  logObserver,
  systemClock,
  type Logger,
  type Observer,
} from '@butterfly/common';
import { type ClusterSecurity, openSecurity, type OpenedSecurity } from '@butterfly/identity';
import type { WindowCache } from '@butterfly/llama-graph';
import { FileServer, Orchestrator, type Capacity, type Numerics } from '@butterfly/orchestrator';
import type { ExpertWish, PlanWishes } from '@butterfly/planning';
import { tokenPieces, type PromptMaker, type TokenPieces } from '@butterfly/text';
import type { HttpOptions } from './http-api.js';
import type { LogFormat } from './log-formats.js';
import { LocalWorkers } from './local-workers.js';
import { availableMemoryBytes, checkThreads, threadsPerWorker, warnOfCrowding } from './machine.js';
import { contextTokens, type OpenedModel, servedModel } from './model.js';
import { cpusOfWorkers } from './placement.js';
import type { WorkerProgram } from './worker-processes.js';

export interface ServingOptions {
  readonly model: OpenedModel;
  readonly prompts: PromptMaker;
  /** Null for no API. */
  readonly http: HttpOptions | null;
  readonly clusterHost: string;
  readonly clusterPort: number;
  readonly security: ClusterSecurity;
  /** Local worker processes, and what they run. */
  readonly workerProgram: WorkerProgram;
  /** Where each of them computes, as `listDevices` calls it. */
  readonly devices: readonly string[];
  /** Where those of them on cards have the experts of a model; undefined for their default. */
  readonly experts?: ExpertWish | undefined;
  /** Workers from elsewhere to wait for before the first plan. */
  readonly workersElsewhere: number;
  /** Whether workers from elsewhere may come at any time, so that no lack of workers is final. */
  readonly othersMayJoin: boolean;
  readonly threads: number | undefined;
  /** Whether each of several local workers keeps to cores of its own, where there are enough. */
  readonly pin: boolean;
  /** Whether local workers keep the cores from deep sleep while steps come and go. */
  readonly awake: boolean;
  readonly numerics: Numerics;
  readonly wishes: PlanWishes;
  readonly speculation: 'auto' | 'off';
  /** The share of requests whose steps spare workers compute too, to be compared; by default none. */
  readonly verifyRate?: number | undefined;
  /** Of the local workers; undefined for their defaults. */
  readonly cacheDirectory?: string | undefined;
  readonly cacheBytes?: number | undefined;
  /** Without a context, that of the model within reason. */
  readonly capacity: Pick<Capacity, 'parallel'> & {
    readonly contextTokens: number | undefined;
    /** States kept where layers have such; undefined for as many as are usual. */
    readonly stateCheckpoints: number | undefined;
    /** What layers with a sliding window keep. */
    readonly windowCache: WindowCache;
  };
  /** Of the local workers; undefined leaves that to the environment. */
  readonly logFormat?: LogFormat | undefined;
  readonly log: Logger;
  /** Hears all that the log does. */
  readonly onEvent?: Observer | undefined;
}

/** An orchestrator with its local workers, stopped together. */
export interface Serving {
  readonly orchestrator: Orchestrator;
  /** Of the API; 0 without one. */
  readonly httpPort: number;
  readonly token: string;
  /** Resolves when no worker is left and none will come. */
  readonly lost: Promise<ButterflyError>;
  /** What keeps these workers from running the model. @throws ButterflyError that, when no others will come */
  checkTrouble(): ButterflyError | null;
  stop(): Promise<void>;
}

/** @throws ButterflyError PORT_IN_USE, ADDRESS_INVALID, CONFIG_INVALID */
export async function startServing(options: ServingOptions): Promise<Serving> {
  const { log } = options;
  const observe = observerOf(options);
  const workers = options.devices.length;
  const threads = checkThreads(options.threads ?? threadsPerWorker(workers));
  warnOfCrowding(workers, threads, log);
  const security = await openSecurity(options.security);
  const { token } = security;
  const orchestrator = await startOrchestrator(options, security, observe);
  const api = await startApi(options, orchestrator, token, observe);
  let tellLost: (error: ButterflyError) => void = () => undefined;
  const lost = new Promise<ButterflyError>((resolve) => (tellLost = resolve));
  let givenUp = 0;
  const localWorkers = new LocalWorkers({
    program: options.workerProgram,
    devices: options.devices,
    clusterHost: options.clusterHost,
    clusterPort: orchestrator.clusterPort,
    token,
    isInsecure: options.security.kind === 'insecure',
    threads,
    cpus: options.pin ? cpusOfWorkers(workers, threads) : null,
    awake: options.awake,
    memoryBytes: options.devices.every((name) => name === 'cpu')
      ? Math.floor(availableMemoryBytes() / Math.max(1, workers))
      : undefined,
    experts: options.experts,
    cacheDirectory: options.cacheDirectory,
    cacheBytes: options.cacheBytes,
    logFormat: options.logFormat,
    observe,
    onGivenUp: (name, lasting) => {
      if (!lasting || options.othersMayJoin) observe({ kind: 'localWorkerGivenUp', name, lasting });
      if (++givenUp === workers && !options.othersMayJoin)
        tellLost(
          lasting ??
            new ButterflyError(
              'WORKER_LOST',
              'The local workers ended again and again; run with BUTTERFLY_LOG=info to see why.',
            ),
        );
    },
  });
  return {
    orchestrator,
    httpPort: api?.port ?? 0,
    token,
    lost,
    checkTrouble: () => {
      const { trouble } = orchestrator;
      if (!trouble || !isLasting(trouble)) return null;
      if (!options.othersMayJoin && orchestrator.workers().length >= workers) throw trouble;
      return trouble;
    },
    stop: async () => {
      // Answers that are under way end before their connections are closed, and workers go last.
      await orchestrator.engine.drain(deadlines.drainMs);
      await api?.close();
      await options.prompts.close();
      await orchestrator.stop(0);
      await localWorkers.stop();
    },
  };
}

export function observerOf({ log, onEvent }: Pick<ServingOptions, 'log' | 'onEvent'>): Observer {
  const logged = logObserver(log);
  if (!onEvent) return logged;
  return (event) => {
    logged(event);
    onEvent(event);
  };
}

/** With the model's files held open from before anybody may ask for them. */
async function startOrchestrator(
  options: ServingOptions,
  { admission, transport }: OpenedSecurity,
  observe: Observer,
): Promise<Orchestrator> {
  const { model, log } = options;
  const tokens = contextTokens(model.spec, options.capacity.contextTokens, log);
  const { parallel, stateCheckpoints: checkpoints, windowCache } = options.capacity;
  const spec = servedModel(model.spec, { contextTokens: tokens, parallel, checkpoints, windowCache });
  const files = new FileServer(spec);
  await files.hold({ clock: systemClock, observe });
  const starting = Orchestrator.start({
    spec,
    modelId: model.id,
    cluster: { host: options.clusterHost, port: options.clusterPort, admission, transport },
    capacity: {
      contextTokens: tokens,
      parallel,
    },
    workersExpected: options.devices.length + options.workersElsewhere,
    numerics: options.numerics,
    wishes: options.wishes,
    speculation: options.speculation,
    verifyRate: options.verifyRate,
    files,
    vocabulary: madeOnce(() => tokenPieces(model.vocabulary)),
    clock: systemClock,
    observe,
  });
  return await starting.catch(async (error: unknown) => {
    await files.close();
    throw error;
  });
}

/** Most servers are never asked for it. */
function madeOnce(make: () => TokenPieces): () => TokenPieces {
  let made: TokenPieces | null = null;
  return () => (made ??= make());
}

async function startApi(
  { http, model, prompts }: ServingOptions,
  orchestrator: Orchestrator,
  token: string,
  observe: Observer,
): Promise<ListeningApi | null> {
  if (!http) return null;
  try {
    // Takes a while to load, and is for servers alone.
    const { startHttpApi } = await import('./http-api.js');
    return await startHttpApi({ http, model, prompts, orchestrator, token, observe });
  } catch (error) {
    await orchestrator.stop(0);
    throw error;
  }
}

/** A worker that died or a plan that was replaced may be better the next time; a model that does not fit is not. */
function isLasting({ code, kind }: ButterflyError): boolean {
  return kind.exitCode !== exitCodes.network && code !== 'CANCELLED';
}
