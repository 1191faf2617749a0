import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { greedySampling, silentLogger, systemClock } from '@butterfly/common';
import { loadGgml, loadVocabulary, type Vocabulary } from '@butterfly/ggml';
import { describeModel, openGguf } from '@butterfly/model';
import { Orchestrator, type StepTrace } from '@butterfly/orchestrator';

const readyDeadlineMs = 120_000;

export interface WorkerMemory {
  readonly name: string;
  readonly shardBytes: number;
  readonly arenaBytes: number;
  readonly residentBytes: number;
}

/** The product as it runs: an orchestrator in this process and real worker processes on this machine. */
export class LocalCluster implements AsyncDisposable {
  private constructor(
    private readonly orchestrator: Orchestrator,
    private readonly children: ReadonlyMap<string, ChildProcess>,
    private readonly vocabulary: Vocabulary,
    private readonly traces: StepTrace[],
  ) {}

  static async start(
    path: string,
    options: { readonly workers: number; readonly threads: number; readonly contextTokens: number },
  ): Promise<LocalCluster> {
    const spec = describeModel(await openGguf(path));
    const vocabulary = loadVocabulary(loadGgml({ log: silentLogger }), path);
    const traces: StepTrace[] = [];
    const orchestrator = await Orchestrator.start({
      spec,
      vocabulary,
      modelId: 'bench',
      http: null,
      cluster: { host: '127.0.0.1', port: 0, token: null },
      contextTokens: options.contextTokens,
      parallel: 1,
      workersExpected: options.workers,
      clock: systemClock,
      log: silentLogger,
      onStep: (trace) => traces.push(trace),
    });
    const main = fileURLToPath(new URL('../../packages/cli/dist/main.js', import.meta.url));
    const children = new Map<string, ChildProcess>();
    for (let index = 1; index <= options.workers; index++) {
      const name = `worker-${index}`;
      const args = [
        main,
        'worker',
        '--join',
        `127.0.0.1:${orchestrator.clusterPort}`,
        '--threads',
        String(options.threads),
        '--name',
        name,
      ];
      children.set(name, spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit'] }));
    }
    const cluster = new LocalCluster(orchestrator, children, vocabulary, traces);
    const deadlineMs = performance.now() + readyDeadlineMs;
    while (!orchestrator.engine.status().ready) {
      if (performance.now() > deadlineMs)
        throw new Error(`The cluster is not ready: ${orchestrator.engine.status().detail}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    return cluster;
  }

  /** Decodes greedily after a prompt; gives the traces of the decode steps. */
  async decode(prompt: readonly number[], tokens: number): Promise<StepTrace[]> {
    this.traces.length = 0;
    const generation = this.orchestrator.engine.submit({
      promptTokens: Int32Array.from(prompt),
      outputTokensMax: tokens + 1,
      sampling: greedySampling,
      stopTokens: new Set(),
      timeoutMs: readyDeadlineMs,
    });
    for await (const event of generation) if (event.kind === 'error') throw event.error;
    return this.traces.filter(({ rows }) => rows === 1);
  }

  /** Resident memory now, from the system, beside what each worker holds. */
  memory(): WorkerMemory[] {
    return this.orchestrator.workers().map(({ name, report }) => {
      const status = readFileSync(`/proc/${this.children.get(name)?.pid ?? 0}/status`, 'utf8');
      const residentBytes = Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
      return {
        name,
        shardBytes: report?.shardBytes ?? 0,
        arenaBytes: report?.arenaBytes ?? 0,
        residentBytes,
      };
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const exits = [...this.children.values()].map(
      async (child) => child.exitCode ?? (await once(child, 'exit')),
    );
    await this.orchestrator.stop();
    await Promise.all(exits);
    this.vocabulary[Symbol.dispose]();
  }
}
