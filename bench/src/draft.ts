import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Engine, GenerateEvent, GenerateRequest, Generation } from '@butterfly/engine';
import type { DraftOptions } from '@butterfly/orchestrator';
import { TcpProxy, cachedSyntheticModel, freePort, randomBits, successorsOf } from '@butterfly/testkit';
import { LocalCluster } from './local-cluster.js';
import { decodePerSecond } from './load/run-load.js';
import { median } from './load/statistics.js';
import type { BenchOptions } from './options.js';
import { printTable, writeResult } from './report.js';

/** What repeats itself in the lower half of the vocabulary; texts are of the upper half, where nothing does. */
const circleTokens = 48;
const promptTokens = 96;
const outputTokens = 128;
const hopMs = 5;
/** How often a guess of the draft is right, once all before it were. */
const rightRate = 0.7;

interface DraftResult {
  readonly stages: number;
  readonly offPerSecond: number;
  readonly onPerSecond: number;
  /** The median over the rounds. */
  readonly ratio: number;
  /** Of the guesses that steps computed, the share that was right: none counts behind a wrong one. */
  readonly confirmedShare: number;
  readonly tokensPerStep: number;
  readonly identical: boolean;
}

/** A small model guesses for one that is spread over stages that are 5 ms apart, and is wrong at a seeded rate. */
export async function benchDraft(options: BenchOptions): Promise<void> {
  const { repeats } = options;
  const path = options.model ?? (await circles({ layers: 8, hidden: 256, seed: 4 }));
  await using draft = await LocalCluster.start(await circles({ layers: 2, hidden: 128, seed: 3 }), {
    ...{ workers: 1, threads: 1, contextTokens: 512, parallel: 1, speculation: 'off' },
  });
  const results: DraftResult[] = [];
  for (const stages of [2, 3])
    results.push(await measureDraft(path, stages, wrongAtTimes(draft.draft, rightRate), repeats));
  printTable(
    `Guesses of a draft, ${hopMs} ms from stage to stage, medians of ${repeats}: tokens per second`,
    ['stages', 'off', 'on', 'ratio', 'to reach', 'confirmed', 'tokens per step', 'same tokens'],
    results.map((r) => [
      String(r.stages),
      r.offPerSecond,
      r.onPerSecond,
      r.ratio,
      '1.5',
      r.confirmedShare,
      r.tokensPerStep,
      r.identical ? 'yes' : 'NO',
    ]),
  );
  writeResult('draft', { repeats, hopMs, rightRate, results });
}

/** So small that the hops weigh most, as they do where each stage is fast; both say the same. */
function circles(shape: {
  readonly layers: number;
  readonly hidden: number;
  readonly seed: number;
}): Promise<string> {
  return cachedSyntheticModel(
    {
      ...shape,
      architecture: 'llama',
      heads: shape.hidden / 64,
      kvHeads: 1,
      headSize: 64,
      feedForward: 2 * shape.hidden,
      vocabulary: 10_000,
      tiedEmbeddings: false,
      type: 'Q8_0',
      contextTrained: 512,
      circleTokens,
    },
    join(tmpdir(), 'butterfly-synthetic'),
  );
}

async function measureDraft(
  path: string,
  stages: number,
  draft: DraftOptions,
  repeats: number,
): Promise<DraftResult> {
  const shape = {
    workers: stages,
    threads: 1,
    contextTokens: 512,
    parallel: 1,
    speculation: 'auto',
  } as const;
  await using offDoors = await Doors.open(stages);
  await using onDoors = await Doors.open(stages);
  await using off = await LocalCluster.start(path, { ...shape, ...offDoors.options });
  await using on = await LocalCluster.start(path, { ...shape, ...onDoors.options, draft });
  const rounds = [];
  // The first round warms up and does not count.
  for (let round = 0; round <= repeats; round++) {
    const prompt = textFrom(off.vocabularySize, round);
    const without = await off.generate(prompt, outputTokens);
    const before = on.draftFigures();
    const with_ = await on.generate(prompt, outputTokens);
    const after = on.draftFigures();
    if (round === 0) continue;
    rounds.push({
      offPerSecond: decodePerSecond(without),
      onPerSecond: decodePerSecond(with_),
      identical: without.tokenIds.join() === with_.tokenIds.join(),
      guessed: after.guessed - before.guessed,
      confirmed: after.confirmed - before.confirmed,
    });
  }
  const guessed = rounds.reduce((sum, each) => sum + each.guessed, 0);
  const confirmed = rounds.reduce((sum, each) => sum + each.confirmed, 0);
  const tokens = outputTokens * rounds.length;
  return {
    stages,
    offPerSecond: median(rounds.map((round) => round.offPerSecond)),
    onPerSecond: median(rounds.map((round) => round.onPerSecond)),
    ratio: median(rounds.map((round) => round.onPerSecond / round.offPerSecond)),
    confirmedShare: confirmed / guessed,
    tokensPerStep: tokens / (tokens - confirmed),
    identical: rounds.every((round) => round.identical),
  };
}

/** A text in the half of the vocabulary where nothing repeats. */
function textFrom(vocabulary: number, round: number): number[] {
  const { after } = successorsOf(circleTokens, vocabulary);
  const tokens = [(vocabulary >> 1) + 1000 * (round + 1)];
  while (tokens.length < promptTokens) tokens.push(after(tokens.at(-1) ?? 0));
  return tokens;
}

/** What stands before each worker, to the orchestrator's side and to the other workers'. */
class Doors implements AsyncDisposable {
  private constructor(
    private readonly clusterPort: number,
    private readonly ports: readonly number[],
    private readonly proxies: readonly TcpProxy[],
  ) {}

  /** The first is the orchestrator's, the others are the workers'. */
  static async open(workers: number): Promise<Doors> {
    const ports: number[] = [];
    const proxies: TcpProxy[] = [];
    for (let index = 0; index <= workers; index++) {
      const port = await freePort();
      ports.push(port);
      proxies.push(await TcpProxy.start({ to: { host: '127.0.0.1', port }, latencyMs: hopMs }));
    }
    return new Doors(ports[0] ?? 0, ports, proxies);
  }

  get options(): Pick<
    Parameters<typeof LocalCluster.start>[1],
    'clusterPort' | 'joinPort' | 'workerArguments'
  > {
    return {
      clusterPort: this.clusterPort,
      joinPort: this.proxies[0]?.port ?? 0,
      workerArguments: (index) => [
        ...['--data-port', String(this.ports[index] ?? 0)],
        ...['--advertise', `127.0.0.1:${this.proxies[index]?.port ?? 0}`],
      ],
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.proxies.map((proxy) => proxy.close()));
  }
}

/** The same draft, which says another token at a seeded rate, and with that is wrong from there on. */
function wrongAtTimes({ engine, vocabulary }: DraftOptions, right: number): DraftOptions {
  const bits = randomBits('a draft that is wrong at times');
  const submit = (request: GenerateRequest): Generation => {
    const generation = (engine as Engine).submit(request);
    return {
      cancel: () => generation.cancel(),
      async *[Symbol.asyncIterator](): AsyncGenerator<GenerateEvent> {
        for await (const event of generation)
          yield event.kind === 'token' && bits() >>> 0 >= right * 2 ** 32
            ? { ...event, token: event.token - 1 }
            : event;
      },
    };
  };
  const { contextTokensMax, model } = engine;
  return { engine: { contextTokensMax, model, submit, status: () => engine.status() }, vocabulary };
}
