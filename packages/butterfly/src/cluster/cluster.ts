import type * as Api from '@butterfly/api';
import { ButterflyError, deadlines, silentLogger, systemClock } from '@butterfly/common';
import { type EmbedSpec, type Embeddings, EmbeddingRun, type GenerationSpec } from '@butterfly/generation';
import type { ClusterDescription } from '@butterfly/orchestrator';
import { isOwn } from '@butterfly/planning';
import type { Metrics } from '@butterfly/telemetry';
import { PromptMaker } from '@butterfly/text';
import { surveysDirectory } from '../directories.js';
import type * as HttpApi from '../http-api.js';
import { openModel, ownModel, resolveModelPath } from '../models/model.js';
import { openServerMetrics } from '../server-metrics.js';
import { openServerTraces } from '../server-traces.js';
import { type Serving, startServing } from '../serving.js';
import type { ServingOptions } from '../serving-options.js';
import type { WorkerProgram } from '../worker-processes.js';
import { type Answer, answerOf } from './answers.js';
import { workerCommand } from './command.js';
import type { ClusterOptions } from './options.js';

/** A request as OpenAI's `/v1/chat/completions` has it; `stream` changes nothing here. docs/api.md names all fields. */
export interface ChatRequest {
  readonly messages: readonly object[];
  readonly [field: string]: unknown;
}

/** A request as OpenAI's `/v1/completions` has it. */
export interface TextRequest {
  readonly prompt: string | readonly string[] | readonly number[];
  readonly [field: string]: unknown;
}

/** How vectors are made of texts; by default as the model has it, of length 1. */
export interface EmbedOptions extends Partial<Pick<EmbedSpec, 'pooling' | 'dimensions' | 'isNormalised'>> {
  /** By default the first. */
  readonly model?: string;
  readonly signal?: AbortSignal;
}

const readyPollMs = 50;
const parallelDefault = 4;
/** The server in front decides who may ask. */
const open = { keys: null, isKeyRequired: false } as const;

interface Parts {
  readonly serving: Serving;
  readonly metrics: Metrics;
  readonly api: typeof Api;
  readonly handler: Api.FetchHandler;
}

/** Models on workers, inside a program: an orchestrator in this process, local workers as child processes, others from elsewhere. */
export class Cluster implements AsyncDisposable {
  #closing: Promise<void> | null = null;

  constructor(private readonly parts: Parts) {}

  /** Name of the first model, which answers where none is named. */
  get modelId(): string {
    return this.parts.serving.first.id;
  }

  /** All models, loaded or not: one that is not is when it is asked for. */
  get models(): readonly Api.OfferedModel[] {
    return this.parts.serving.models.list();
  }

  /** Loads a model, and keeps it as long as `ClusterOptions.keepMs` says. @throws ButterflyError NOT_FOUND, MODEL_TOO_LARGE */
  async load(modelId: string, signal?: AbortSignal): Promise<void> {
    using _use = await this.#use(modelId, signal);
  }

  /** Unloads a model once nobody uses it. @throws ButterflyError NOT_FOUND */
  unload(modelId: string): Promise<void> {
    return this.parts.serving.models.unload(modelId);
  }

  /** What others need to join: `butterfly worker --join HOST:PORT` with this token. */
  get joining(): { readonly port: number; readonly token: string } {
    const { orchestrator, token } = this.parts.serving;
    return { port: orchestrator.clusterPort, token };
  }

  /** Who is here, what they hold, and the plan in force. */
  describe(): ClusterDescription {
    return this.parts.serving.orchestrator.describe();
  }

  /**
   * What is counted of the cluster, and how it stands, as a scraper of Prometheus takes it; not of this process, which is the
   * program's own. `fetch` has no route for it, since whoever may ask models may not see this.
   * @param accept as the scraper's header says
   */
  metrics(accept?: string): Promise<{ readonly contentType: string; readonly text: string }> {
    return this.parts.metrics.page(accept);
  }

  /**
   * Resolves when the model can be asked.
   * @throws ButterflyError why it never will; CANCELLED for the signal
   */
  async ready(signal?: AbortSignal): Promise<void> {
    const { serving } = this.parts;
    const lost: { error: ButterflyError | null } = { error: null };
    void serving.lost.then((error) => (lost.error = error));
    while (!serving.models.status().ready) {
      if (signal?.aborted || this.#closing) throw new ButterflyError('CANCELLED', 'Nobody waits any more.');
      const error = lost.error ?? serving.checkTrouble();
      // One of several that does not fit is loaded when it is asked for, in the place of others.
      if (error && (error === lost.error || serving.models.deployed.length < 2)) throw error;
      await new Promise((resolve) => setTimeout(resolve, readyPollMs));
    }
  }

  /** Answers a conversation. @throws ButterflyError REQUEST_INVALID or REQUEST_UNSUPPORTED, naming the field */
  chat({ signal, ...request }: ChatRequest & { readonly signal?: AbortSignal }): Answer {
    const { model, spec } = this.parts.api.parseChatRequest({ model: this.modelId, ...request });
    return this.#answer(model, spec, signal);
  }

  /** Continues a text. @throws ButterflyError REQUEST_INVALID or REQUEST_UNSUPPORTED, naming the field */
  generate({ signal, ...request }: TextRequest & { readonly signal?: AbortSignal }): Answer {
    const { model, spec } = this.parts.api.parseTextRequest({ model: this.modelId, ...request });
    return this.#answer(model, spec, signal);
  }

  /**
   * One vector for each text, of length 1 by default.
   * @throws ButterflyError CONTEXT_EXCEEDED, REQUEST_INVALID, REQUEST_UNSUPPORTED, CANCELLED
   */
  async embed(texts: readonly string[], options: EmbedOptions = {}): Promise<Embeddings> {
    const { signal, pooling = null, dimensions = null, isNormalised = true } = options;
    if (signal?.aborted) throw new ButterflyError('CANCELLED', 'The request was cancelled before it began.');
    const inputs = texts.map((text) => ({ kind: 'text' as const, text }));
    using use = await this.#use(options.model ?? this.modelId, signal);
    const run = new EmbeddingRun(use.model, {
      ...{ inputs, inputField: 'input', pooling, dimensions, isNormalised },
      ...{ isTruncated: false, timeoutMs: deadlines.requestMs },
    });
    const cancel = (): void => run.cancel();
    signal?.addEventListener('abort', cancel, { once: true });
    try {
      return await run.run();
    } finally {
      signal?.removeEventListener('abort', cancel);
    }
  }

  /**
   * The HTTP API as a function, to be mounted inside a server that speaks `fetch`: `/v1/...`, `/api/...` and all others of
   * docs/api.md. That server decides who may ask.
   */
  readonly fetch = (request: Request): Promise<Response> => this.parts.handler.fetch(request);

  /** Running answers may end, then workers and sockets go. */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  /** `close`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** @throws ButterflyError NOT_FOUND for a model that there is not */
  #answer(model: string | null, spec: GenerationSpec, signal: AbortSignal | undefined): Answer {
    const named = model ?? this.modelId;
    this.#find(named);
    return answerOf({ use: (stopped) => this.#use(named, stopped), spec, clock: systemClock, signal });
  }

  #use(named: string, signal: AbortSignal | undefined): Promise<Api.ModelUse> {
    return this.parts.serving.models.use(this.#find(named).id, signal ? { signal } : {});
  }

  #find(named: string): Api.OfferedModel {
    const found = this.parts.serving.models.find(named);
    if (found) return found;
    throw new ButterflyError(
      'NOT_FOUND',
      `There is no model "${named}" here; this cluster has ${this.models.map(({ id }) => `"${id}"`).join(', ')}.`,
      { param: 'model' },
    );
  }

  async #close(): Promise<void> {
    const { serving, handler } = this.parts;
    await handler.close();
    await serving.stop();
  }
}

/**
 * Starts a cluster; it loads while this returns: `ready()` waits for that, and so do requests within their time.
 * @throws ButterflyError as `openModel` and `startServing` do
 */
export async function createCluster(options: ClusterOptions = {}): Promise<Cluster> {
  const { log = silentLogger, cacheDirectory } = options;
  // A library has no main: this is its edge.
  // eslint-disable-next-line no-restricted-properties
  const environment = options.environment ?? process.env;
  const [api, { apiContext }]: [typeof Api, typeof HttpApi] = await Promise.all([
    import('@butterfly/api'),
    import('../http-api.js'),
  ]);
  const wanted = [options.model ?? ownModel].flat();
  const sources = await Promise.all(
    wanted.map(async (named) => ({
      path: named === ownModel ? named : await resolveModelPath(named, environment, cacheDirectory),
      aliases: Object.entries(options.aliases ?? {}).flatMap(([alias, of]) => (of === named ? [alias] : [])),
    })),
  );
  const metrics = await openServerMetrics({ isOfProcess: false });
  const { traces: collector } = options;
  const traces = collector === undefined ? undefined : await openServerTraces({ collector });
  const serving = await startServing({
    ...servingOptions(options, environment),
    ...{ metrics, traces },
    models: sources,
    draft:
      options.draft === undefined
        ? undefined
        : { path: await resolveModelPath(options.draft, environment, cacheDirectory), aliases: [] },
    openModel: (path) =>
      openModel(path, {
        ggmlDirectory: environment.BUTTERFLY_GGML_DIR,
        surveys: surveysDirectory(environment, cacheDirectory),
        log,
      }),
    log,
  });
  const { models, observe } = serving;
  const handler = api.createFetchHandler(apiContext({ models, observe }, open));
  return new Cluster({ serving, metrics, api, handler });
}

function servingOptions(
  options: ClusterOptions,
  environment: WorkerProgram['environment'],
): Omit<ServingOptions, 'models' | 'openModel' | 'log'> {
  const { workers = 1, join } = options;
  const devices = typeof workers === 'number' ? Array.from({ length: workers }, () => 'cpu') : workers;
  const { replicas = 1, objective = 'throughput' } = options;
  return {
    http: null,
    keepMs: options.keepMs ?? Infinity,
    openPrompts: ({ spec, vocabulary }) => {
      const { chatTemplate, rerankTemplate } = spec.tokenizer;
      const templates = { vocabulary, chatTemplate, rerankTemplate };
      return Promise.resolve(new PromptMaker({ ...templates, readsSpecialInMessages: false }));
    },
    clusterHost: join?.host ?? '127.0.0.1',
    clusterPort: join?.port ?? 0,
    security: { kind: 'certificates', directory: join?.authorityDirectory ?? null, token: join?.token },
    workerProgram: workerCommand(environment),
    devices,
    workersElsewhere: join?.waitFor ?? 0,
    othersMayJoin: join !== undefined,
    threads: options.threads,
    pin: true,
    awake: true,
    numerics: { kvCacheType: 'auto', isDeterministic: options.isDeterministic ?? false },
    wishes: {
      objective,
      stagesMin: isOwn(objective) ? 1 : Math.max(1, Math.floor(devices.length / replicas)),
      spares: options.spares ?? 0,
      replicasMax: replicas,
    },
    speculation: 'auto',
    mtp: 'off',
    cacheDirectory: options.cacheDirectory,
    capacity: {
      contextTokens: options.contextTokens,
      parallel: options.parallel ?? parallelDefault,
      stateCheckpoints: undefined,
      windowCache: 'auto',
    },
    onEvent: options.onEvent,
  };
}
