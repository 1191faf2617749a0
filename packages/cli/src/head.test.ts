import { cachedArchitectureModel, withHeadLayer } from '@butterfly/testkit';
import { greedySampling } from '@butterfly/wire';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EngineCluster } from './testing/engine-cluster.js';

const outputTokensMax = 120;
/** Circles that are longer than any answer: nothing repeats itself, so that lookup finds nothing. */
const circleTokens = 256;

async function tokensOf(
  cluster: EngineCluster,
  seed: number,
  onToken: (tokens: number) => void = () => undefined,
): Promise<readonly number[]> {
  let count = 0;
  const { events } = await cluster.ask(
    {
      promptTokens: Int32Array.from({ length: 12 }, (_, i) => 20 + ((i * 7 + seed) % 90)),
      outputTokensMax,
      // Every second one is drawn.
      sampling: { ...greedySampling, temperature: (seed % 2) / 4, seed },
    },
    () => onToken((count += 1)),
  );
  return events.map(({ token }) => token);
}

/** With states beside the cache of the head, and with experts. */
describe.each([
  { name: 'qwen35', circle: circleTokens },
  { name: 'glm4moe', circle: undefined },
])('the layer of a $name that predicts further tokens', ({ name, circle }) => {
  let plain: EngineCluster;
  let guessing: EngineCluster;
  beforeAll(async () => {
    const path = await cachedArchitectureModel(withHeadLayer(name, circle), 'Q8_0');
    [plain, guessing] = await Promise.all([
      EngineCluster.start(path, 2),
      // As far apart as on a good network of several buildings, so that guesses pay.
      EngineCluster.start(path, 2, { hasHead: true, hopMs: 3 }),
    ]);
  }, 60_000);
  afterAll(async () => {
    await Promise.all([guessing, plain].map((cluster) => cluster[Symbol.asyncDispose]()));
  });

  it('guesses, and changes nothing that is said, drawn or not, also after a worker died', async () => {
    const expected = await Promise.all([1, 2].map((seed) => tokensOf(plain, seed)));
    expect(await Promise.all([1, 2].map((seed) => tokensOf(guessing, seed)))).toEqual(expected);
    const { headGuessed, headConfirmed } = guessing.draftFigures();
    if (circle !== undefined) {
      expect(headGuessed).toBeGreaterThan(60);
      expect(headConfirmed / headGuessed).toBeGreaterThan(0.9);
    }
    const [drawn] = expected;
    const said = await tokensOf(guessing, 1, (tokens) => {
      if (tokens !== 40) return;
      guessing.kill(1);
      guessing.startWorker(2);
    });
    expect(said).toEqual(drawn);
    if (circle !== undefined) expect(guessing.draftFigures().headConfirmed).toBeGreaterThan(headConfirmed);
  }, 60_000);
});
