import type { ListeningApi } from '@butterfly/api';
import {
  ButterflyError,
  deadlines,
  logObserver,
  systemClock,
  type Logger,
  type Observer,
} from '@butterfly/common';
import { type ClusterSecurity, openSecurity } from '@butterfly/identity';
import type { WindowCache } from '@butterfly/llama-graph';
import { Orchestrator, type Capacity, type Numerics } from '@butterfly/orchestrator';
import type { ExpertWish, PlanWishes } from '@butterfly/planning';
import type { PromptMaker } from '@butterfly/text';
import type { HttpOptions } from './http-api.js';
import type { LogFormat } from './log-formats.js';
import { LocalWorkers } from './local-workers.js';
import { availableMemoryBytes, checkThreads, threadsPerWorker, warnOfCrowding } from './machine.js';
import type { OpenedModel } from './models/model.js';
import type { ModelShelf } from './models/model-shelf.js';
import { isLasting } from './models/shelved-model.js';
import { stockedShelf } from './models/stocked-shelf.js';
import { cpusOfWorkers } from './placement.js';
import type { WorkerProgram } from './worker-processes.js';

/** A model file that is to be offered. */
export interface ModelSource {
  readonly path: string;
  /** Other names than that of the file. */
  readonly aliases: readonly string[];
}

export interface ServingOptions {
  /** The first answers where no model is named. At least one. */
  readonly models: readonly ModelSource[];
  /** How long a model stays loaded when nobody uses it; Infinity for ever. */
  readonly keepMs: number;
  /** Reads what the orchestrator needs of a file. @throws ButterflyError as `openModel` does */
  readonly openModel: (path: string) => Promise<OpenedModel>;
  /** What makes prompts for it. @throws ButterflyError CONFIG_INVALID */
  readonly openPrompts: (model: OpenedModel) => Promise<PromptMaker>;
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

/** An orchestrator with its models and local workers, stopped together. */
export interface Serving {
  readonly orchestrator: Orchestrator;
  readonly models: ModelShelf;
  /** Of the first model, as it was opened: its name, and what was read of its file. */
  readonly first: Pick<OpenedModel, 'id' | 'spec'>;
  /** Of the API; 0 without one. */
  readonly httpPort: number;
  readonly token: string;
  /** Resolves when no worker is left and none will come. */
  readonly lost: Promise<ButterflyError>;
  /**
   * What keeps these workers from running a model. One of several that do not fit beside the others is given up, and loaded when
   * it is asked for. @throws ButterflyError that, when no others will come
   */
  checkTrouble(): ButterflyError | null;
  stop(): Promise<void>;
}

/** @throws ButterflyError PORT_IN_USE, ADDRESS_INVALID, CONFIG_INVALID, and as `openModel` and `openPrompts` do */
export async function startServing(options: ServingOptions): Promise<Serving> {
  const { log } = options;
  const observe = observerOf(options);
  const workers = options.devices.length;
  const threads = checkThreads(options.threads ?? threadsPerWorker(workers));
  warnOfCrowding(workers, threads, log);
  const { admission, transport, token } = await openSecurity(options.security);
  const { clusterHost: host, clusterPort: port } = options;
  const orchestrator = await Orchestrator.start({
    ...{ host, port, admission, transport, observe },
    clock: systemClock,
  });
  const { models, first } = await stockedShelf({ ...options, orchestrator, observe }).catch(
    async (error: unknown) => {
      await orchestrator.stop(0);
      throw error;
    },
  );
  const api = await startApi(options, { orchestrator, models, token, observe });
  models.watch();
  const { localWorkers, lost } = startLocalWorkers(options, { orchestrator, token, threads, observe });
  return {
    ...{ orchestrator, models, first, token, lost },
    httpPort: api?.port ?? 0,
    checkTrouble: () => checkTrouble(options, orchestrator, models),
    stop: async () => {
      models.close();
      // Answers that are under way end before their connections are closed, and workers go last.
      await Promise.all(models.deployed.map(({ engine }) => engine.drain(deadlines.drainMs)));
      await api?.close();
      await orchestrator.stop(0);
      await models.unloadAll();
      await localWorkers.stop();
    },
  };
}

function checkTrouble(
  { devices, othersMayJoin }: ServingOptions,
  orchestrator: Orchestrator,
  models: ModelShelf,
): ButterflyError | null {
  const { deployed } = models;
  const troubled = deployed.find(({ trouble }) => trouble && isLasting(trouble));
  const trouble = troubled?.trouble;
  if (!trouble) return null;
  if (othersMayJoin || orchestrator.workers < devices.length) return trouble;
  if (deployed.length === 1) throw trouble;
  void models.giveUp(troubled, trouble);
  return trouble;
}

function startLocalWorkers(
  options: ServingOptions,
  {
    orchestrator,
    token,
    threads,
    observe,
  }: {
    readonly orchestrator: Orchestrator;
    readonly token: string;
    readonly threads: number;
    readonly observe: Observer;
  },
): { readonly localWorkers: LocalWorkers; readonly lost: Promise<ButterflyError> } {
  const workers = options.devices.length;
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
  return { localWorkers, lost };
}

export function observerOf({ log, onEvent }: Pick<ServingOptions, 'log' | 'onEvent'>): Observer {
  const logged = logObserver(log);
  if (!onEvent) return logged;
  return (event) => {
    logged(event);
    onEvent(event);
  };
}

async function startApi(
  { http }: ServingOptions,
  parts: {
    readonly orchestrator: Orchestrator;
    readonly models: ModelShelf;
    readonly token: string;
    readonly observe: Observer;
  },
): Promise<ListeningApi | null> {
  if (!http) return null;
  try {
    // Takes a while to load, and is for servers alone.
    const { startHttpApi } = await import('./http-api.js');
    return await startHttpApi({ http, ...parts, view: parts.orchestrator });
  } catch (error) {
    await parts.orchestrator.stop(0);
    throw error;
  }
}
