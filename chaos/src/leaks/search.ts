import { setTimeout as sleep } from 'node:timers/promises';
import { cachedSyntheticModel } from '@butterfly/testkit';
import { ChaosCluster } from '../cluster.js';
import { failMany, mayBeKilled, noFailures, type Failures } from './failures.js';
import { coursesOf, type Course, type SampleAt } from './flatness.js';
import { joinMany } from './joins.js';
import { loadMany } from './loads.js';
import { askMany } from './requests.js';
import { RunningStream } from './running-stream.js';
import { probedNode, sampleOf } from './sample.js';

export interface SearchOptions {
  readonly requests: number;
  readonly joins: number;
  readonly failures: number;
  /** How often the model is unloaded and loaded again. */
  readonly loads: number;
  /** Samples of each phase, beside that at its beginning. */
  readonly samples: number;
  readonly workers: number;
  /** Whether a whole worker process joins before each sample too; by default it does. */
  readonly hasVisitors?: boolean;
  readonly onSample?: (phase: string, sample: number) => void;
}

export interface PhaseReport {
  readonly phase: string;
  readonly events: number;
  readonly elapsedMs: number;
  readonly processes: readonly {
    readonly name: string;
    readonly courses: readonly Course[];
    readonly samples: readonly SampleAt[];
  }[];
}

export interface SearchReport {
  readonly phases: readonly PhaseReport[];
  /** Requests and streams that came to something else than they should have. */
  readonly wrong: readonly string[];
  readonly failures: Failures;
  /** Streams that ran to their end while links were cut. */
  readonly streams: number;
  readonly realJoins: number;
}

const quietMs = 60_000;
const lookMs = 100;
/** After which sockets that were closed are gone. */
const restMs = 500;
const joinMs = 60_000;

/** Small enough that a request takes milliseconds, with a template so that there are chats. */
const model = {
  architecture: 'llama',
  layers: 4,
  hidden: 64,
  heads: 4,
  kvHeads: 2,
  headSize: 16,
  feedForward: 128,
  vocabulary: 512,
  tiedEmbeddings: true,
  type: 'Q8_0',
  seed: 1,
  contextTrained: 1024,
  chatTemplate:
    '{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant:',
} as const;

/** Puts a cluster of real processes through requests, loads, joins and failures, and looks at what each holds meanwhile. */
export async function searchLeaks(options: SearchOptions): Promise<SearchReport> {
  await using cluster = await ChaosCluster.start({
    model: await cachedSyntheticModel(model),
    workers: options.workers,
    stages: 2,
    // Who takes the place of a lost one at once.
    spares: options.workers - 2,
    streams: 8,
    contextTokens: 1024,
    isDeterministic: false,
    node: probedNode,
  });
  try {
    return await new Search(cluster, options).run();
  } catch (cause) {
    const said = [cluster.orchestrator, ...cluster.workers.map((worker) => worker.process)];
    const lines = said.flatMap((process) => (process?.isRunning === false ? process.lines.slice(-30) : []));
    throw new Error(['A search for leaks came to no end.', ...lines].join('\n'), { cause });
  }
}

class Search {
  readonly #wrong: string[] = [];
  readonly #phases: PhaseReport[] = [];
  #failures = noFailures;
  #streams = 0;
  #realJoins = 0;

  constructor(
    private readonly cluster: ChaosCluster,
    private readonly options: SearchOptions,
  ) {}

  async run(): Promise<SearchReport> {
    const { requests, joins, failures, loads } = this.options;
    const { cluster } = this;
    const all = ['orchestrator', ...cluster.workers.map(({ name }) => name)];
    // What is compiled, cached and opened once.
    await this.#requests(0, Math.ceil(requests / 20));
    await this.#phase('requests', requests, all, (from, count) => this.#requests(from, count));
    await this.#phase('loads', loads, all, (_, count) => this.#loads(count));
    await this.#phase('joins', joins, all, (from, count) => this.#joins(from, count));
    const lasting = all.filter((name) => !mayBeKilled(cluster).some((worker) => worker.name === name));
    await this.#phase('failures', failures, lasting, (from, count) => this.#fail(from, count));
    return {
      phases: this.#phases,
      wrong: this.#wrong,
      failures: this.#failures,
      streams: this.#streams,
      realJoins: this.#realJoins,
    };
  }

  async #phase(
    phase: string,
    total: number,
    names: readonly string[],
    work: (from: number, count: number) => Promise<void>,
  ): Promise<void> {
    const startMs = performance.now();
    const samples = new Map<string, SampleAt[]>(names.map((name) => [name, []]));
    const look = async (events: number): Promise<void> => {
      await this.#rest();
      await Promise.all(
        [...samples].map(async ([name, taken]) => {
          const { cluster } = this;
          const worker = cluster.workers.find((each) => each.name === name);
          const process = worker ? worker.process : cluster.orchestrator;
          if (!process) throw new Error(`${name} does not run.`);
          taken.push({ events, ...(await sampleOf(process)) });
        }),
      );
    };
    await look(0);
    for (let i = 0; i < this.options.samples; i++) {
      const [from, to] = [i, i + 1].map((n) => Math.round((total * n) / this.options.samples)) as [
        number,
        number,
      ];
      await work(from, to - from);
      await look(to);
      this.options.onSample?.(phase, i + 1);
    }
    const processes = [...samples].map(([name, taken]) => ({
      name,
      courses: coursesOf(taken),
      samples: taken,
    }));
    this.#phases.push({ phase, events: total, elapsedMs: performance.now() - startMs, processes });
  }

  async #requests(from: number, count: number): Promise<void> {
    const { wrong } = await askMany(this.cluster.url, from, count);
    this.#wrong.push(...wrong);
  }

  async #loads(count: number): Promise<void> {
    this.#wrong.push(...(await loadMany(this.cluster.url, count)));
  }

  /** Of which one is a real worker, that is stopped or killed when it has joined. */
  async #joins(from: number, count: number): Promise<void> {
    if (count === 0) return;
    const { hasVisitors = true } = this.options;
    await joinMany(this.cluster, from, hasVisitors ? count - 1 : count);
    if (!hasVisitors) return;
    const visitor = await this.cluster.visitor();
    try {
      const joined = this.cluster.joins(visitor, joinMs);
      visitor.start();
      if (!(await joined)) throw new Error('A worker did not join.');
      this.#realJoins++;
      if (this.#realJoins % 2 === 0) await visitor.process?.stop();
    } finally {
      await visitor.close();
    }
  }

  async #fail(from: number, count: number): Promise<void> {
    const stream = new RunningStream(this.cluster.url);
    const { controlCuts, dataCuts, kills, longestMs } = await failMany(this.cluster, stream, from, count);
    await stream.stop();
    this.#streams += stream.ended;
    this.#wrong.push(...stream.broken);
    const before = this.#failures;
    this.#failures = {
      controlCuts: before.controlCuts + controlCuts,
      dataCuts: before.dataCuts + dataCuts,
      kills: before.kills + kills,
      longestMs: Math.max(before.longestMs, longestMs),
    };
  }

  /** Until everybody is here, nothing is asked or loaded, and what was closed is gone. */
  async #rest(): Promise<void> {
    const endMs = performance.now() + quietMs;
    while (!(await this.#isQuiet())) {
      if (performance.now() > endMs) throw new Error('The cluster does not come to rest.');
      await sleep(lookMs);
    }
    await sleep(restMs);
  }

  async #isQuiet(): Promise<boolean> {
    const { isReady, workers, replicas } = await this.cluster.describe();
    return (
      isReady &&
      workers.length === this.options.workers &&
      workers.every(({ loading, profile }) => loading === null && profile !== null) &&
      replicas.every(({ running, queued }) => running + queued === 0)
    );
  }
}
