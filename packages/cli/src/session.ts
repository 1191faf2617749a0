import { randomBytes } from 'node:crypto';
import { systemClock, type Logger } from '@butterfly/common';
import { Orchestrator, type OrchestratorOptions, type StepTrace } from '@butterfly/orchestrator';
import { LocalWorkers } from './local-workers.js';
import { contextTokens, type OpenedModel } from './model.js';
import { availableMemoryBytes, threadsPerWorker } from './options.js';

export interface SessionOptions {
  readonly model: OpenedModel;
  readonly http: OrchestratorOptions['http'];
  readonly clusterHost: string;
  readonly clusterPort: number;
  /** Undefined lets a session with local workers alone make one up. */
  readonly token: string | undefined;
  /** Local worker processes. */
  readonly workers: number;
  /** Workers from elsewhere to wait for before the first plan. */
  readonly workersElsewhere: number;
  readonly threads: number | undefined;
  readonly contextTokens: number | undefined;
  readonly parallel: number;
  readonly log: Logger;
  readonly onStep?: (trace: StepTrace) => void;
}

/** An orchestrator with its local workers, stopped together. */
export interface Session {
  readonly orchestrator: Orchestrator;
  readonly localWorkers: LocalWorkers;
  readonly token: string;
  stop(): Promise<void>;
}

/** @throws ButterflyError PORT_IN_USE, ADDRESS_INVALID, CONFIG_INVALID */
export async function startSession(options: SessionOptions): Promise<Session> {
  const { model, log } = options;
  const token = options.token ?? randomBytes(16).toString('hex');
  const orchestrator = await Orchestrator.start({
    spec: model.spec,
    vocabulary: model.vocabulary,
    modelId: model.id,
    http: options.http,
    cluster: { host: options.clusterHost, port: options.clusterPort, token },
    contextTokens: contextTokens(model.spec, options.contextTokens, log),
    parallel: options.parallel,
    workersExpected: options.workers + options.workersElsewhere,
    clock: systemClock,
    log,
    ...(options.onStep ? { onStep: options.onStep } : {}),
  });
  const localWorkers = new LocalWorkers({
    count: options.workers,
    clusterPort: orchestrator.clusterPort,
    token,
    threads: options.threads ?? threadsPerWorker(options.workers),
    memoryBytes: Math.floor(availableMemoryBytes() / Math.max(1, options.workers)),
    log,
    onGivenUp: (name) => log.error({ name }, 'A local worker ended too often and is not started again; see the log above.'),
  });
  return {
    orchestrator,
    localWorkers,
    token,
    stop: async () => {
      await orchestrator.stop();
      await localWorkers.stop();
    },
  };
}
