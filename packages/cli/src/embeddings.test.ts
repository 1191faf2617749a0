import type { DeployedModel } from '@butterfly/orchestrator';
import { setTimeout as pause } from 'node:timers/promises';
import { silentLogger } from '@butterfly/common';
import { plainWishes } from '@butterfly/planning';
import { PromptMaker } from '@butterfly/text';
import { architectureFixtures, cachedArchitectureModel, triedOf } from '@butterfly/testkit';
import { greedySampling } from '@butterfly/wire';
import { type Embedding, type Serving, openModel, startServing, vectorOf } from 'butterfly/command';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Butterfly, run } from './testing/butterfly.js';
import { workerProgram } from './worker-program.js';

const contextTokens = 256;
const request = { priority: 0, timeoutMs: 120_000 };
/** Of an encoder, of one with windows, and of a model that sees what came before alone. */
const names = ['bert', 'gemma-embedding', 'qwen3'] as const;

/** A model served by worker processes of its own, with its embedder in this process. */
class Cluster implements AsyncDisposable {
  readonly #workers = new Map<string, Butterfly>();

  private constructor(readonly serving: Serving) {}

  static async start(path: string, workers: number): Promise<Cluster> {
    const serving = await startServing({
      models: [{ path, aliases: [] }],
      keepMs: Infinity,
      openModel: (file) => openModel(file, { ggmlDirectory: undefined, surveys: null, log: silentLogger }),
      openPrompts: ({ vocabulary }) => Promise.resolve(new PromptMaker({ vocabulary, chatTemplate: null })),
      http: null,
      clusterHost: '127.0.0.1',
      clusterPort: 0,
      security: { kind: 'certificates', directory: null, token: undefined },
      workerProgram,
      devices: [],
      workersElsewhere: workers,
      othersMayJoin: true,
      threads: 1,
      pin: false,
      awake: false,
      numerics: { kvCacheType: 'f16', isDeterministic: false },
      wishes: { ...plainWishes, objective: 'latency', stagesMin: workers },
      mtp: 'off',
      speculation: 'off',
      capacity: { contextTokens, parallel: 4, stateCheckpoints: 0, windowCache: 'auto' },
      log: silentLogger,
    });
    const cluster = new Cluster(serving);
    for (let i = 1; i <= workers; i++) cluster.add(`w${i}`);
    await cluster.#ready();
    return cluster;
  }

  get engine(): DeployedModel['engine'] {
    const [model] = this.serving.models.deployed;
    if (!model) throw new Error('No model is loaded.');
    return model.engine;
  }

  /** One more worker process. */
  add(name: string): void {
    const address = `127.0.0.1:${this.serving.orchestrator.clusterPort}`;
    const flags = ['--join', address, '--token', this.serving.token, '--name', name, '--threads', '1'];
    this.#workers.set(name, new Butterfly(['worker', ...flags]));
  }

  /** Ends the process that computes the stage in the midst. */
  killMiddle(): void {
    const { workers } = this.serving.orchestrator.describe();
    const stages = workers.flatMap(({ name, layers }) => (layers ? [{ name, first: layers[0] }] : []));
    const middle = stages.sort((a, b) => a.first - b.first)[1];
    this.#workers.get(middle?.name ?? '')?.kill('SIGKILL');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.serving.stop();
    for (const worker of this.#workers.values()) await worker[Symbol.asyncDispose]();
  }

  async #ready(): Promise<void> {
    while (!this.engine.status().ready) await pause(20);
  }
}

/** Texts of many lengths, the same on every run. */
function texts(count: number, vocabulary: number): Int32Array[] {
  return Array.from({ length: count }, (_, text) =>
    Int32Array.from({ length: 1 + ((text * 37) % 200) }, (__, i) => (text * 104_729 + i * 7919) % vocabulary),
  );
}

const models = new Map<string, string>();
beforeAll(async () => {
  for (const fixture of architectureFixtures())
    if (names.some((name) => name === fixture.name))
      models.set(fixture.name, await cachedArchitectureModel(fixture, 'Q8_0'));
});

describe.each(triedOf(names))('embeddings of %s', (name) => {
  const path = (): string => models.get(name) ?? '';
  const all = texts(150, 320);
  let expected: Float32Array[];
  let whole: Cluster;
  beforeAll(async () => {
    whole = await Cluster.start(path(), 1);
    // Of one text at a time.
    expected = [];
    for (const tokens of all) expected.push(await vectorOf(whole.engine.embed({ ...request, tokens })));
  });
  afterAll(() => whole[Symbol.asyncDispose]());

  it('are the same of a whole batch as of each text alone', async () => {
    const vectors = await Promise.all(
      all.map((tokens) => vectorOf(whole.engine.embed({ ...request, tokens }))),
    );
    expect(vectors).toEqual(expected);
    expect(new Set(vectors.map(String)).size).toBe(all.length);
  });

  it('are the same of three stages, of which one is killed in the midst of a batch', async () => {
    await using cluster = await Cluster.start(path(), 3);
    let done = 0;
    let lives = 0;
    const vectors = await Promise.all(
      all.map(async (tokens) => {
        const vector = await vectorOf(cluster.engine.embed({ ...request, tokens }));
        if (++done !== 20) return vector;
        cluster.killMiddle();
        cluster.add('successor');
        lives += 1;
        return vector;
      }),
    );
    expect(lives).toBe(1);
    expect(vectors).toEqual(expected);
  });
});

describe('what an encoder does not do', () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await Cluster.start(models.get('bert') ?? '', 1);
  });
  afterAll(() => cluster[Symbol.asyncDispose]());
  const embed = (length: number, pooling: 'mean' | 'rank' = 'mean'): Embedding =>
    cluster.engine.embed({ ...request, tokens: new Int32Array(length), pooling });

  it('is refused by name: longer texts, scores, and answers', () => {
    expect(() => embed(contextTokens + 1)).toThrow(/257 tokens exceeds the context of 256/u);
    expect(() => embed(3, 'rank')).toThrow(/no head that scores/u);
    expect(() =>
      cluster.engine.submit({
        ...request,
        promptTokens: new Int32Array(3),
        outputTokensMax: 5,
        sampling: greedySampling,
        logprobs: null,
        promptLogprobs: null,
        stopTokens: new Set(),
      }),
    ).toThrow(/gives embeddings and continues none/u);
  });

  it('leaves it free for others: one that is cancelled, and one whose deadline came', async () => {
    const cancelled = embed(10);
    cancelled.cancel();
    await expect(vectorOf(cancelled)).rejects.toThrow(/cancelled/u);
    const late = cluster.engine.embed({ ...request, timeoutMs: 0, tokens: new Int32Array(200) });
    const events = [];
    for await (const event of late) events.push(event.kind);
    expect(events).toHaveLength(1);
    expect(await vectorOf(embed(contextTokens))).toHaveLength(128);
    expect(cluster.engine.status()).toMatchObject({ running: 0, queued: 0 });
  });

  it('is not planned for: inspect and plan show no cache', async () => {
    const inspected = await run(['inspect', models.get('bert') ?? '']);
    expect(inspected.stdout.join('\n')).toMatch(/KV cache +0 B per token/u);
    expect(inspected.stdout.join('\n')).toMatch(/embeddings +128 numbers/u);
    expect(inspected.stdout.join('\n')).toMatch(/attention +over whole texts/u);
    expect((await run(['plan', models.get('bert') ?? ''])).code).toBe(0);
  });
});
