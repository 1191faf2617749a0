import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { ensure, silentLogger, systemClock } from '@butterfly/common';
import type { GenerateEvent, GenerateRequest } from '@butterfly/engine';
import { SharedTokenAdmission } from '@butterfly/identity';
import { type DeployedModel, type DraftOptions, Orchestrator } from '@butterfly/orchestrator';
import { withHead } from '@butterfly/model';
import { plainWishes } from '@butterfly/planning';
import { TcpProxy, freePort } from '@butterfly/testkit';
import { tokenPieces } from '@butterfly/text';
import { type TokenTable, greedySampling } from '@butterfly/wire';
import { openModel } from 'butterfly/command';

const program = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
const readyMs = 60_000;

interface EngineClusterOptions {
  /** Another model that guesses. */
  readonly draft?: DraftOptions;
  /** From any process of it to any other, one way; by default they reach each other directly. */
  readonly hopMs?: number;
  /** Whether the model's own head guesses; by default not. */
  readonly hasHead?: boolean;
}

type TokenEvent = Exclude<GenerateEvent, { kind: 'end' | 'error' }>;

/** An orchestrator in this process, whose engine tests ask without an API, over workers that are processes. */
export class EngineCluster implements AsyncDisposable {
  readonly #children: ChildProcess[] = [];

  private constructor(
    private readonly orchestrator: Orchestrator,
    private readonly model: DeployedModel,
    private readonly vocabulary: TokenTable,
    private readonly doors: readonly Door[],
  ) {}

  /** Deterministic, so that a text has the same numbers to the last bit however it came to be. */
  static async start(
    modelPath: string,
    workers: number,
    { draft, hopMs, hasHead = false }: EngineClusterOptions = {},
  ): Promise<EngineCluster> {
    const model = await openModel(modelPath, { ggmlDirectory: undefined, surveys: null, log: silentLogger });
    const pieces = tokenPieces(model.vocabulary);
    model.vocabulary[Symbol.dispose]();
    // The first stands before the orchestrator.
    const doors = hopMs === undefined ? [] : await openDoors(1 + workers, hopMs);
    const orchestrator = await Orchestrator.start({
      ...{ host: '127.0.0.1', port: doors[0]?.port ?? 0, admission: new SharedTokenAdmission(null) },
      ...{ clock: systemClock, observe: () => undefined },
    });
    const deployed = orchestrator.deploy({
      spec: hasHead ? withHead(model.spec) : model.spec,
      modelId: 'tested',
      capacity: { contextTokens: 256, parallel: 4 },
      numerics: { kvCacheType: 'f16', isDeterministic: true },
      wishes: { ...plainWishes, stagesMin: workers },
      speculation: 'auto',
      workersExpected: workers,
      vocabulary: () => pieces,
      draft,
    });
    const cluster = new EngineCluster(orchestrator, deployed, pieces, doors);
    for (let index = 1; index <= workers; index++) cluster.startWorker(index);
    const endMs = performance.now() + readyMs;
    while (!deployed.engine.status().ready) {
      ensure(performance.now() < endMs, () => deployed.engine.status().detail);
      await sleep(50);
    }
    return cluster;
  }

  /** As what guesses for another model. */
  get draft(): DraftOptions {
    return { engine: this.model.engine, vocabulary: () => this.vocabulary };
  }

  draftFigures(): ReturnType<DeployedModel['engine']['draftFigures']> {
    return this.model.engine.draftFigures();
  }

  /** Ends a worker without a goodbye. */
  kill(index: number): void {
    this.#children[index]?.kill('SIGKILL');
  }

  /** All that is told of a request's tokens. */
  async ask(change: Partial<GenerateRequest>, onEvent: (event: TokenEvent) => void = () => undefined) {
    const events: TokenEvent[] = [];
    const generation = this.model.engine.submit({
      promptTokens: Int32Array.of(1),
      outputTokensMax: 16,
      sampling: greedySampling,
      logprobs: null,
      promptLogprobs: null,
      stopTokens: new Set(),
      priority: 0,
      timeoutMs: readyMs,
      ...change,
    });
    for await (const event of generation) {
      if (event.kind === 'error') throw event.error;
      if (event.kind === 'end') return { events, cachedPromptTokens: event.cachedPromptTokens };
      events.push(event);
      onEvent(event);
    }
    throw new RangeError('The request ended without an end.');
  }

  /** One more worker, or one that was killed once more, from 1. */
  startWorker(index: number): void {
    const door = this.doors[index];
    const where = `127.0.0.1:${this.doors[0]?.proxy.port ?? this.orchestrator.clusterPort}`;
    const args = [
      program,
      'worker',
      '--join',
      where,
      '--insecure',
      '--threads',
      '1',
      '--name',
      `worker-${index}`,
      ...(door ? ['--data-port', `${door.port}`, '--advertise', `127.0.0.1:${door.proxy.port}`] : []),
    ];
    this.#children.push(spawn(process.execPath, args, { stdio: 'ignore' }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const exits = this.#children.map(
      async (child) => child.exitCode ?? child.signalCode ?? (await once(child, 'exit')),
    );
    await this.orchestrator.stop();
    for (const child of this.#children) child.kill('SIGKILL');
    await Promise.all(exits);
    await Promise.all(this.doors.map(({ proxy }) => proxy.close()));
  }
}

/** Where a process listens, and what stands before it. */
interface Door {
  readonly port: number;
  readonly proxy: TcpProxy;
}

function openDoors(count: number, latencyMs: number): Promise<Door[]> {
  return Promise.all(
    Array.from({ length: count }, async () => {
      const port = await freePort();
      return { port, proxy: await TcpProxy.start({ to: { host: '127.0.0.1', port }, latencyMs }) };
    }),
  );
}
