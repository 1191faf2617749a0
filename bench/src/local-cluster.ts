import { residentBytes } from '@butterfly/testkit';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Constraint } from '@butterfly/constraint';
import { type EventOf, type Observer, silentLogger, systemClock } from '@butterfly/common';
import { type Vocabulary, loadGgml, loadVocabulary } from '@butterfly/ggml';
import { describeAny, servedSpec, surveyInChild } from '@butterfly/llama-graph';
import { openGguf } from '@butterfly/model';
import { openSecurity } from '@butterfly/identity';
import { type DeployedModel, type DraftOptions, Orchestrator } from '@butterfly/orchestrator';
import { plainWishes } from '@butterfly/planning';
import { tokenPieces } from '@butterfly/text';
import { type SamplingParams, greedySampling } from '@butterfly/wire';
import type { RequestRecord } from './load/run-load.js';

const readyDeadlineMs = 120_000;
/** As a server has them at least, of models that keep states; and its steps. */
const checkpointsMin = 4;
const stepRowsMax = 512;
const main = fileURLToPath(new URL('../../packages/cli/dist/main.js', import.meta.url));

export interface WorkerMemory {
  readonly name: string;
  readonly shardBytes: number;
  readonly arenaBytes: number;
  readonly residentBytes: number;
}

export interface LocalClusterOptions {
  readonly workers: number;
  /** Of each worker. */
  readonly threads: number;
  /** Of one request. */
  readonly contextTokens: number;
  readonly parallel: number;
  readonly speculation: 'auto' | 'off';
  /** Another model that guesses. */
  readonly draft?: DraftOptions;
  readonly isDeterministic?: boolean;
  /** Pipeline stages at least; by default all workers. */
  readonly stagesMin?: number;
  readonly spares?: number;
  readonly replicasMax?: number;
  /** Where workers join; by default a port that the system chooses. */
  readonly clusterPort?: number;
  /** Where workers dial instead, if something stands before that port. */
  readonly joinPort?: number;
  /** Whether nothing is encrypted; by default everything is, as it is for users. */
  readonly isInsecure?: boolean;
  /** Hears what happens in the orchestrator. */
  readonly observe?: Observer;
  /** Further arguments of a worker, by its index from 1. */
  readonly workerArguments?: (index: number) => readonly string[];
}

/** What came of one request, and when. */
export interface GeneratedText extends RequestRecord {
  readonly tokenIds: readonly number[];
  /** Whether it came to its end before it had all tokens that it might have. */
  readonly isStopped: boolean;
}

/** A step and when its result was there, on this process's clock. */
export interface TimedStep extends EventOf<'stepDone'> {
  readonly endedMs: number;
}

/** The product as it runs: an orchestrator in this process and real worker processes on this machine. */
export class LocalCluster implements AsyncDisposable {
  /** By name. */
  readonly #children = new Map<string, ChildProcess>();

  private constructor(
    private readonly orchestrator: Orchestrator,
    private readonly model: DeployedModel,
    private readonly options: LocalClusterOptions & { readonly token: string },
    private readonly vocabulary: Vocabulary,
    private readonly traces: TimedStep[],
    /** Where workers keep their certificates. */
    private readonly directory: string,
  ) {}

  static async start(path: string, options: LocalClusterOptions): Promise<LocalCluster> {
    const described = await describeAny(await openGguf(path), (request) =>
      surveyInChild(request, { ggmlDirectory: undefined }),
    );
    const spec = servedSpec(described, {
      contextTokens: options.contextTokens,
      sequences: options.parallel,
      checkpoints: checkpointsMin,
      windowCache: 'full',
      rowsMax: stepRowsMax,
    });
    const vocabulary = loadVocabulary(loadGgml({ log: silentLogger }), path);
    const traces: TimedStep[] = [];
    const pieces = tokenPieces(vocabulary);
    const { admission, transport, token } = await openSecurity(
      options.isInsecure
        ? { kind: 'insecure', token: undefined }
        : { kind: 'certificates', directory: null, token: undefined },
    );
    const orchestrator = await Orchestrator.start({
      ...{ host: '127.0.0.1', port: options.clusterPort ?? 0, admission, transport },
      clock: systemClock,
      observe: (event) => {
        if (event.kind === 'stepDone') traces.push({ ...event, endedMs: performance.now() });
        options.observe?.(event);
      },
    });
    const model = orchestrator.deploy({
      spec,
      modelId: 'bench',
      capacity: { contextTokens: options.contextTokens, parallel: options.parallel },
      numerics: { kvCacheType: 'auto', isDeterministic: options.isDeterministic ?? false },
      wishes: {
        ...plainWishes,
        stagesMin: options.stagesMin ?? options.workers,
        spares: options.spares ?? 0,
        replicasMax: options.replicasMax ?? 1,
      },
      speculation: options.speculation,
      draft: options.draft,
      workersExpected: options.workers,
      vocabulary: () => pieces,
    });
    const cluster = new LocalCluster(
      orchestrator,
      model,
      { ...options, token },
      vocabulary,
      traces,
      await mkdtemp(join(tmpdir(), 'butterfly-bench-')),
    );
    for (let index = 1; index <= options.workers; index++) cluster.startWorker(index);
    await cluster.#until(() => model.engine.status().ready);
    return cluster;
  }

  /** Resolves when each worker is a stage, those of further replicas too. */
  async allServe(): Promise<void> {
    await this.#until(() => this.describe().workers.every(({ state }) => state === 'serving'));
  }

  async #until(isSo: () => boolean): Promise<void> {
    const deadlineMs = performance.now() + readyDeadlineMs;
    while (!isSo()) {
      if (performance.now() > deadlineMs)
        throw new Error(`The cluster is not ready: ${this.model.engine.status().detail}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Starts one more worker, or one again. */
  startWorker(index: number): void {
    const { threads, workerArguments, token, isInsecure = false, joinPort } = this.options;
    const name = `worker-${index}`;
    const args = [
      [main, 'worker', '--join', `127.0.0.1:${joinPort ?? this.orchestrator.clusterPort}`],
      ['--threads', String(threads), '--name', name, '--token-file', '-'],
      isInsecure ? ['--insecure'] : ['--data-dir', this.directory],
      workerArguments?.(index) ?? [],
    ];
    const child = spawn(process.execPath, args.flat(), { stdio: ['pipe', 'ignore', 'inherit'] });
    child.stdin.end(token);
    this.#children.set(name, child);
  }

  /** As what guesses for another model. */
  get draft(): DraftOptions {
    const { engine } = this.model;
    return { engine, vocabulary: () => tokenPieces(this.vocabulary) };
  }

  /** What became of guesses of another model. */
  draftFigures(): ReturnType<DeployedModel['engine']['draftFigures']> {
    return this.model.engine.draftFigures();
  }

  /** Sends a signal to a worker's process. */
  signal(name: string, signal: NodeJS.Signals): void {
    this.#children.get(name)?.kill(signal);
  }

  /** The cluster as `butterfly status` shows it. */
  describe(): ReturnType<Orchestrator['describe']> {
    return this.orchestrator.describe();
  }

  get vocabularySize(): number {
    return this.vocabulary.size;
  }

  /** Decodes greedily after a prompt; gives the traces of the decode steps. */
  async decode(prompt: readonly number[], tokens: number): Promise<TimedStep[]> {
    const traces = await this.decodeAll([prompt], tokens);
    return traces.filter(({ rows }) => rows === 1);
  }

  /** Decodes greedily after all of the prompts at once; gives the traces of every step. */
  async decodeAll(prompts: readonly (readonly number[])[], tokens: number): Promise<TimedStep[]> {
    this.traces.length = 0;
    await Promise.all(prompts.map((prompt) => this.generate(prompt, tokens + 1)));
    return [...this.traces];
  }

  /** Tokens of a text, with the one that begins it. */
  tokenize(text: string): number[] {
    return [...this.vocabulary.tokenize(text, { addSpecial: true, parseSpecial: false })];
  }

  /** What tokens stand for as text; bytes that are none are U+FFFD. */
  textOf(tokens: readonly number[]): string {
    return Buffer.concat(
      tokens.map((token) => this.vocabulary.tokenToBytes(token, { special: false })),
    ).toString();
  }

  /** One request, past tokens that end the text, unless it has a constraint. */
  async generate(
    prompt: readonly number[],
    tokens: number,
    sampling: SamplingParams = greedySampling,
    onPiece: (pieces: number) => void = () => undefined,
    constraint?: Constraint,
  ): Promise<GeneratedText> {
    const startMs = performance.now();
    const generation = this.model.engine.submit({
      promptTokens: Int32Array.from(prompt),
      outputTokensMax: tokens,
      logprobs: null,
      promptLogprobs: null,
      sampling,
      stopTokens: new Set(),
      priority: 0,
      timeoutMs: readyDeadlineMs,
      ...(constraint ? { constraint } : {}),
    });
    const tokenIds: number[] = [];
    const piecesMs: number[] = [];
    let isStopped = false;
    for await (const event of generation) {
      if (event.kind === 'error') throw event.error;
      if (event.kind === 'end') {
        isStopped = event.reason === 'stop';
        break;
      }
      tokenIds.push(event.token);
      piecesMs.push(performance.now());
      onPiece(piecesMs.length);
    }
    return { startMs, piecesMs, tokens: tokenIds.length, tokenIds, isStopped };
  }

  /** Resident memory now, from the system, beside what each worker holds. */
  memory(): WorkerMemory[] {
    return this.model.workers().map(({ name, report }) => ({
      name,
      shardBytes: report?.shardBytes ?? 0,
      arenaBytes: report?.arenaBytes ?? 0,
      residentBytes: residentBytes(this.#children.get(name)?.pid ?? 0),
    }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const exits = [...this.#children.values()].map(
      async (child) => child.exitCode ?? child.signalCode ?? (await once(child, 'exit')),
    );
    await this.orchestrator.stop();
    // Whoever was paused or did not come back in time has no goodbye to hear.
    for (const child of this.#children.values()) child.kill('SIGKILL');
    await Promise.all(exits);
    this.vocabulary[Symbol.dispose]();
    await rm(this.directory, { recursive: true, force: true });
  }
}
