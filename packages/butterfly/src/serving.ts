import type { JoinWishes, ListeningApi } from '@butterfly/api';
import { ButterflyError, deadlines, logObserver, systemClock, type Observer } from '@butterfly/common';
import { openSecurity } from '@butterfly/identity';
import { Orchestrator } from '@butterfly/orchestrator';
import { type JoinLine, Telemetry } from '@butterfly/telemetry';
import { LocalWorkers } from './local-workers.js';
import { availableMemoryBytes, checkThreads, threadsPerWorker, warnOfCrowding } from './machine.js';
import type { OpenedModel } from './models/opened-model.js';
import type { ModelShelf } from './models/model-shelf.js';
import { isLasting } from './models/shelved-model.js';
import { stockedShelf } from './models/stocked-shelf.js';
import { cpusOfWorkers } from './placement.js';
import type { ServingOptions } from './serving-options.js';
import { joinLineOf, watched } from './watched.js';

/** An orchestrator with its models and local workers, stopped together. */
export interface Serving {
  readonly orchestrator: Orchestrator;
  readonly models: ModelShelf;
  /** Hears what happens to requests from elsewhere than its own API. */
  readonly observe: Observer;
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
  const { log, metrics, traces } = options;
  const telemetry = new Telemetry(systemClock);
  const others = [metrics, traces].flatMap((each) => each?.observe ?? []);
  const observe = observerOf(options, telemetry.observe, ...others);
  traces?.watch({ timeline: (id) => telemetry.timeline(id), observe });
  const workers = options.devices.length;
  const threads = checkThreads(options.threads ?? threadsPerWorker(workers));
  warnOfCrowding(workers, threads, log);
  const { admission, transport, token, makeToken } = await openSecurity(options.security);
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
  metrics?.watch({ orchestrator, directory: models });
  const joinLine = (wishes: JoinWishes): Promise<JoinLine> =>
    joinLineOf(wishes, { host, port: orchestrator.clusterPort }, makeToken);
  const api = await startApi(options, { orchestrator, models, token, observe, telemetry, joinLine });
  // Not before the API listens: its timers would outlive a port that is taken.
  telemetry.start(watched(orchestrator, models));
  models.watch();
  const { localWorkers, lost } = startLocalWorkers(options, { orchestrator, token, threads, observe });
  return {
    ...{ orchestrator, models, observe, first, token, lost },
    httpPort: api?.port ?? 0,
    checkTrouble: () => checkTrouble(options, orchestrator, models),
    stop: async () => {
      models.close();
      await api?.suspend();
      // Answers that are under way end before their connections are closed, and workers go last.
      await Promise.all(models.deployed.map(({ engine }) => engine.drain(deadlines.drainMs)));
      // Whoever watches would else hold it up.
      telemetry[Symbol.dispose]();
      await api?.close();
      // The last requests are over, and a collector may be slow.
      const tracesSent = traces?.close();
      await orchestrator.stop(0);
      await models.unloadAll();
      await localWorkers.stop();
      await tracesSent;
    },
  };
}

function checkTrouble(
  { devices, workersElsewhere, othersMayJoin }: ServingOptions,
  orchestrator: Orchestrator,
  models: ModelShelf,
): ButterflyError | null {
  const { deployed } = models;
  const troubled = deployed.find(({ trouble }) => trouble && isLasting(trouble));
  const trouble = troubled?.trouble;
  if (!trouble) return null;
  const isLate = orchestrator.workers >= devices.length + workersElsewhere;
  // One of several is loaded when it is asked for, in the place of others.
  if (isLate && deployed.length > 1) void models.giveUp(troubled, trouble);
  else if (isLate && !othersMayJoin) throw trouble;
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

/** The log, others of ours, and whoever embeds the server, one after the other. */
function observerOf(
  { log, onEvent }: Pick<ServingOptions, 'log' | 'onEvent'>,
  ...others: readonly Observer[]
): Observer {
  const observers = [logObserver(log), ...others, ...(onEvent ? [onEvent] : [])];
  return (event) => {
    for (const observe of observers) observe(event);
  };
}

async function startApi(
  { http, metrics }: ServingOptions,
  parts: {
    readonly orchestrator: Orchestrator;
    readonly models: ModelShelf;
    readonly token: string;
    readonly observe: Observer;
    readonly telemetry: Telemetry;
    readonly joinLine: (wishes: JoinWishes) => Promise<JoinLine>;
  },
): Promise<ListeningApi | null> {
  if (!http) return null;
  try {
    // Takes a while to load, and is for servers alone.
    const { startHttpApi } = await import('./http-api.js');
    return await startHttpApi({ http, metrics, ...parts, view: parts.orchestrator });
  } catch (error) {
    await parts.orchestrator.stop(0);
    throw error;
  }
}
