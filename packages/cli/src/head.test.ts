import { cachedArchitectureModel, withHeadLayer } from '@butterfly/testkit';
import { greedySampling } from '@butterfly/wire';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EngineCluster } from './testing/engine-cluster.js';

const outputTokensMax = 120;
/** The upper half of so many tokens is one circle, longer than any answer: nothing repeats itself, so that lookup finds nothing. */
const circle = { circleTokens: 512, vocabulary: 1024 };

async function tokensOf(
  cluster: EngineCluster,
  seed: number,
  onToken: (tokens: number) => void = () => undefined,
): Promise<readonly number[]> {
  let count = 0;
  const { events } = await cluster.ask(
    {
      promptTokens: Int32Array.from({ length: 12 }, (_, i) => 520 + ((i * 7 + seed) % 90)),
      outputTokensMax,
      // Every second one is drawn.
      sampling: { ...greedySampling, temperature: (seed % 2) / 4, seed },
    },
    () => onToken((count += 1)),
  );
  return events.map(({ token }) => token);
}

describe('the layer of a model that predicts further tokens', () => {
  let plain: EngineCluster;
  let guessing: EngineCluster;
  beforeAll(async () => {
    // Whose layers keep states, so that nothing of them may be lost where a guess is refused.
    const path = await cachedArchitectureModel({ ...withHeadLayer('qwen35'), ...circle }, 'Q8_0');
    [plain, guessing] = await Promise.all([
      EngineCluster.start(path, 1),
      // As far apart as on a good network of several buildings, so that guesses pay.
      EngineCluster.start(path, 2, { hasHead: true, hopMs: 3 }),
    ]);
  }, 60_000);
  afterAll(() => Promise.all([guessing, plain].map((cluster) => cluster[Symbol.asyncDispose]())));

  it('guesses, and changes nothing that is said, drawn or not, also after a worker died', async () => {
    for (let seed = 0; seed < 20 && guessing.draftFigures().headGuessed < 40; seed += 2) {
      const seeds = [seed, seed + 1];
      const expected = await Promise.all(seeds.map((each) => tokensOf(plain, each)));
      expect(await Promise.all(seeds.map((each) => tokensOf(guessing, each)))).toEqual(expected);
    }
    const { headGuessed, headConfirmed } = guessing.draftFigures();
    expect(headGuessed).toBeGreaterThanOrEqual(40);
    expect(headConfirmed / headGuessed).toBeGreaterThan(0.8);

    const expected = await tokensOf(plain, 101);
    const said = await tokensOf(guessing, 101, (tokens) => {
      if (tokens !== 40) return;
      guessing.kill(1);
      guessing.startWorker(2);
    });
    expect(said).toEqual(expected);
  }, 60_000);
});
