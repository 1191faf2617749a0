import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { ensure, silentLogger, systemClock } from '@butterfly/common';
import type { GenerateEvent, GenerateRequest } from '@butterfly/engine';
import { SharedTokenAdmission } from '@butterfly/identity';
import { type DeployedModel, Orchestrator } from '@butterfly/orchestrator';
import { plainWishes } from '@butterfly/planning';
import { greedySampling } from '@butterfly/wire';
import { openModel } from 'butterfly/command';

const program = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
const readyMs = 60_000;

type TokenEvent = Exclude<GenerateEvent, { kind: 'end' | 'error' }>;

/** An orchestrator in this process, whose engine tests ask without an API, over workers that are processes. */
export class EngineCluster implements AsyncDisposable {
  readonly #children: ChildProcess[] = [];

  private constructor(
    private readonly orchestrator: Orchestrator,
    private readonly model: DeployedModel,
  ) {}

  /** Deterministic, so that a text has the same numbers to the last bit however it came to be. */
  static async start(modelPath: string, workers: number): Promise<EngineCluster> {
    const model = await openModel(modelPath, { ggmlDirectory: undefined, surveys: null, log: silentLogger });
    model.vocabulary[Symbol.dispose]();
    const orchestrator = await Orchestrator.start({
      ...{ host: '127.0.0.1', port: 0, admission: new SharedTokenAdmission(null) },
      ...{ clock: systemClock, observe: () => undefined },
    });
    const deployed = orchestrator.deploy({
      spec: model.spec,
      modelId: 'tested',
      capacity: { contextTokens: 256, parallel: 4 },
      numerics: { kvCacheType: 'f16', isDeterministic: true },
      wishes: { ...plainWishes, stagesMin: workers },
      speculation: 'auto',
      workersExpected: workers,
    });
    const cluster = new EngineCluster(orchestrator, deployed);
    for (let index = 1; index <= workers; index++) cluster.#startWorker(index);
    const endMs = performance.now() + readyMs;
    while (!deployed.engine.status().ready) {
      ensure(performance.now() < endMs, () => deployed.engine.status().detail);
      await sleep(50);
    }
    return cluster;
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

  #startWorker(index: number): void {
    const where = `127.0.0.1:${this.orchestrator.clusterPort}`;
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
  }
}
