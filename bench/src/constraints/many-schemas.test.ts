import { Ajv2020 } from 'ajv/dist/2020.js';
import formats from 'ajv-formats';
import { describe, expect, it } from 'vitest';
import { type Random, randomFrom, randomSchema } from '@butterfly/constraint/testing';
import { cachedSyntheticModel, tinyModel } from '@butterfly/testkit';
import { greedySampling } from '@butterfly/wire';
import { type GeneratedText, LocalCluster } from '../local-cluster.js';

/** `SCHEMAS=1000` with `--testTimeout 1800000` tries a thousand. */
const schemas = Number(process.env.SCHEMAS ?? 12);
/** After so many it is told how they were. */
const seedsAtOnce = 100;
const contextTokens = 1024;
const outputTokens = 700;
const parallel = 12;
const prompt = [1, 280, 281];

const start = async (modelSeed: number): Promise<LocalCluster> =>
  LocalCluster.start(
    await cachedSyntheticModel({ ...tinyModel, contextTrained: contextTokens, seed: modelSeed }),
    {
      workers: 3,
      threads: 1,
      contextTokens,
      parallel,
      speculation: 'auto',
    },
  );

/** What an answer says against its schema; null where it had no room to end. */
function verdict(cluster: LocalCluster, seed: number, { isStopped, tokenIds }: GeneratedText): string | null {
  if (!isStopped) return null;
  const ajv = new Ajv2020({ strict: false });
  formats.default(ajv);
  const text = cluster.textOf(tokenIds);
  try {
    const isValid = ajv.validate(randomSchema(seed), JSON.parse(text));
    return isValid ? 'valid' : `seed ${seed}: ${text}: ${JSON.stringify(ajv.errors)}`;
  } catch (error) {
    return `seed ${seed}: ${text}: ${String(error)}`;
  }
}

/** Answers of all seeds, so many at once; each may hear how many of its tokens have come. */
async function answersOf(
  cluster: LocalCluster,
  seeds: readonly number[],
  onPiece: (seed: number, pieces: number) => void = () => undefined,
): Promise<(string | null)[]> {
  const verdicts: (string | null)[] = [];
  const left = [...seeds];
  const ask = async (): Promise<void> => {
    for (let seed = left.shift(); seed !== undefined; seed = left.shift()) {
      const of = seed;
      const sampling = { ...greedySampling, temperature: 1 + (seed % 3) / 2, seed };
      const constraint = { kind: 'schema', schema: randomSchema(seed) } as const;
      const text = await cluster.generate(
        prompt,
        outputTokens,
        sampling,
        (pieces) => onPiece(of, pieces),
        constraint,
      );
      verdicts.push(verdict(cluster, seed, text));
    }
  };
  await Promise.all(Array.from({ length: parallel }, ask));
  return verdicts;
}

function expectValid(verdicts: readonly (string | null)[], asked: number): void {
  const ended = verdicts.filter((each) => each !== null);
  expect(ended.filter((each) => each !== 'valid')).toEqual([]);
  expect([verdicts.length, ended.length > asked / 2]).toEqual([asked, true]);
  console.log(`${ended.length} of ${asked} answers ended, all of them valid.`);
}

const seedsFrom = (first: number, count: number): number[] =>
  Array.from({ length: count }, (_, at) => first + at);

/** Kills a worker of the plan at a token that the seed chooses, and starts another. */
class Killer {
  kills = 0;
  #next = 0;
  #at: number;
  #pieces = 0;
  #isDown = false;
  readonly #random: Random;

  constructor(
    private readonly cluster: LocalCluster,
    seed: number,
    private readonly piecesBetween: number,
  ) {
    this.#random = randomFrom(seed);
    this.#next = 4;
    this.#at = this.#chosen();
  }

  /** To be told of each token. */
  token(): void {
    this.#pieces += 1;
    if (this.#isDown && this.#serving().length === 3) this.#isDown = false;
    if (this.#isDown || this.#pieces < this.#at) return;
    const serving = this.#serving();
    const victim = serving[Math.floor(this.#random() * serving.length)];
    if (victim === undefined) return;
    this.#isDown = true;
    this.kills += 1;
    this.#at = this.#pieces + this.#chosen();
    this.cluster.signal(victim, 'SIGKILL');
    // Of another name, since one that dies again and again is left out for a while.
    this.cluster.startWorker(this.#next++);
  }

  #serving(): string[] {
    return this.cluster.describe().workers.flatMap(({ state, name }) => (state === 'serving' ? [name] : []));
  }

  #chosen(): number {
    return 1 + Math.floor(this.#random() * 2 * this.piecesBetween);
  }
}

describe('answers of random weights to random schemas, through three worker processes', () => {
  it('are valid if they end', async () => {
    const half = Math.ceil(schemas / 2);
    for (const modelSeed of [1, 2]) {
      await using cluster = await start(modelSeed);
      for (let first = 0; first < half; first += seedsAtOnce) {
        const seeds = seedsFrom(1 + (modelSeed - 1) * half + first, Math.min(seedsAtOnce, half - first));
        expectValid(await answersOf(cluster, seeds), seeds.length);
      }
    }
  });

  it('are valid too where workers are killed at random tokens', async () => {
    const asked = Math.max(12, Math.ceil(schemas / 4));
    await using cluster = await start(3);
    const killer = new Killer(cluster, 1, 600);
    expectValid(await answersOf(cluster, seedsFrom(10_001, asked), () => killer.token()), asked);
    expect(killer.kills).toBeGreaterThan(0);
    console.log(`${killer.kills} workers were killed on the way.`);
  });
});
