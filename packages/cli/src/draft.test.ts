import { cachedSyntheticModel, tinyModel } from '@butterfly/testkit';
import { greedySampling } from '@butterfly/wire';
import { ownModel } from 'butterfly/command';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EngineCluster } from './testing/engine-cluster.js';

const outputTokensMax = 120;
/** Of tokens that the smallest vocabulary has too. */
const prompt = (seed: number): Int32Array =>
  Int32Array.from({ length: 40 }, (_, i) => 200 + ((i * 7 + seed) % 90));

async function tokensOf(
  cluster: EngineCluster,
  seed: number,
  onToken: (tokens: number) => void = () => undefined,
): Promise<readonly number[]> {
  let count = 0;
  const { events } = await cluster.ask(
    {
      promptTokens: prompt(seed),
      outputTokensMax,
      // Every second one is drawn.
      sampling: { ...greedySampling, temperature: seed % 2, seed },
    },
    () => onToken((count += 1)),
  );
  return events.map(({ token }) => token);
}

describe('a draft that is the model itself', () => {
  let draft: EngineCluster;
  let model: EngineCluster;
  beforeAll(async () => {
    draft = await EngineCluster.start(ownModel, 1);
    // As far apart as on a good network of several buildings, so that guesses pay.
    model = await EngineCluster.start(ownModel, 2, { draft: draft.draft, hopMs: 3 });
  }, 60_000);
  afterAll(async () => {
    await model[Symbol.asyncDispose]();
    await draft[Symbol.asyncDispose]();
  });

  it('guesses what the model says, drawn or not, and changes none of it', async () => {
    for (let seed = 0; seed < 30 && model.draftFigures().guessed < 40; seed += 1) {
      const [expected, said] = await Promise.all([tokensOf(draft, seed), tokensOf(model, seed)]);
      expect(said).toEqual(expected);
    }
    const { guessed, confirmed } = model.draftFigures();
    expect(guessed).toBeGreaterThanOrEqual(40);
    expect(confirmed / guessed).toBeGreaterThan(0.9);
  });

  it('may lose a worker of the model in the midst of an answer', async () => {
    const expected = await tokensOf(draft, 101);
    const said = await tokensOf(model, 101, (tokens) => {
      if (tokens !== 40) return;
      model.kill(0);
      model.startWorker(1);
    });
    expect(said).toEqual(expected);
  });

  it('may be killed in the midst of an answer, and is asked again when it is back', async () => {
    const [drawn, likeliest] = [await tokensOf(draft, 103), await tokensOf(draft, 104)];
    const said = await tokensOf(model, 103, (tokens) => {
      if (tokens === 40) draft.kill(0);
    });
    expect(said).toEqual(drawn);
    const { confirmed } = model.draftFigures();
    draft.startWorker(1);
    for (let round = 0; round < 30 && model.draftFigures().confirmed === confirmed; round += 1)
      expect(await tokensOf(model, 104)).toEqual(likeliest);
    expect(model.draftFigures().confirmed).toBeGreaterThan(confirmed);
  });
});

describe('a draft that is another model', () => {
  it('changes nothing although it is wrong, and is refused with another vocabulary', async () => {
    const [path, other] = [
      await cachedSyntheticModel(tinyModel),
      await cachedSyntheticModel({ ...tinyModel, seed: 2 }),
    ];
    await using draft = await EngineCluster.start(other, 1);
    await expect(EngineCluster.start(ownModel, 1, { draft: draft.draft })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      param: 'draft',
    });
    const starting = EngineCluster.start(path, 1);
    await using model = await EngineCluster.start(path, 1, { draft: draft.draft });
    await using alone = await starting;
    for (let seed = 0; seed < 30 && model.draftFigures().guessed === 0; seed += 1)
      expect(await tokensOf(model, seed)).toEqual(await tokensOf(alone, seed));
    const { guessed, confirmed } = model.draftFigures();
    expect(guessed).toBeGreaterThan(0);
    expect(confirmed).toBeLessThan(guessed);
  });
});
