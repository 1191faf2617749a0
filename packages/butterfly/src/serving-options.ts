import type { Logger, Observer } from '@butterfly/common';
import type { ClusterSecurity } from '@butterfly/identity';
import type { WindowCache } from '@butterfly/llama-graph';
import type { Capacity, Numerics } from '@butterfly/orchestrator';
import type { ExpertWish, PlanWishes } from '@butterfly/planning';
import type { Metrics, Traces } from '@butterfly/telemetry';
import type { PromptMaker } from '@butterfly/text';
import type { HttpOptions } from './http-api.js';
import type { LogFormat } from './log-formats.js';
import type { MtpWish } from './models/model.js';
import type { OpenedModel } from './models/opened-model.js';
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
  /** A small one of the same vocabulary, which guesses for the first and is offered too. */
  readonly draft?: ModelSource | undefined;
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
  /** Whether the layer of a model that predicts further tokens guesses. */
  readonly mtp: MtpWish;
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
  /** What counts what happens, for whoever asks; by default nothing is counted. */
  readonly metrics?: Metrics | undefined;
  /** What sends traces of requests, and is closed with it; by default nobody does. */
  readonly traces?: Traces | undefined;
  readonly log: Logger;
  /** Hears all that the log does. */
  readonly onEvent?: Observer | undefined;
}
