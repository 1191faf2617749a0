import { drawFraction } from '@butterfly/model';
import { loadVocabulary } from '@butterfly/ggml';
import { OracleSamplers, cachedSyntheticModel, tinyModel } from '@butterfly/testkit';
import { dryBreakers } from '@butterfly/text';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ggml, trainedModel } from '../testing/stages.js';
import { applyDry } from './dry.js';

const oracle = new OracleSamplers(ggml.directory);
const dry = { multiplier: 0.8, base: 1.75, allowedLength: 1, lastN: 200 };

/** A text that repeats itself: some tokens over and over, and among them those that matter. */
const repeated = (seed: number, tokens: readonly number[]): number[] =>
  Array.from({ length: 200 }, (_, at) => tokens[Math.floor(drawFraction(seed, at) * tokens.length)] ?? 0);

describe.each(['sentence pieces', 'byte pairs'] as const)('breakers of DRY as texts, in %s', (kind) => {
  let path: string;
  let model: bigint;
  beforeAll(async () => {
    path =
      kind === 'sentence pieces'
        ? trainedModel
        : await cachedSyntheticModel({ ...tinyModel, architecture: 'qwen2', vocabulary: 900 });
    const params = ggml.llama.llama_model_default_params();
    params.vocabOnly = true;
    model = ggml.llama.llama_model_load_from_file(path, params) ?? 0n;
    expect(model).not.toBe(0n);
  });
  afterAll(() => {
    ggml.llama.llama_model_free(model);
  });

  it.each([
    [['\n', ':', '"', '*']],
    [['e', 'the ']],
    [[' ']],
    [['.', 'he w']],
    [['Lily and the', 'and']],
    [['ing,', 'ing']],
    [['<s>', '</s>', '<|im_end|>']],
  ])('have the logits of libllama: %j', async (texts) => {
    using vocabulary = loadVocabulary(ggml, path);
    const breakers = await dryBreakers(vocabulary, texts);
    const vocab = ggml.llama.llama_model_get_vocab(model);
    const options = { addSpecial: false, parseSpecial: true };
    const words = vocabulary.tokenize(`Lily and the other, he was ${texts.join('')} there`, options);
    let changed = 0;
    for (let seed = 0; seed < 20; seed++) {
      // Few of them, so that they repeat; each text whole, and the pieces that it may begin in.
      const heads = breakers.map(([head = 0]) => head).filter((_, at) => at % 7 === seed % 7);
      const recent = repeated(seed, [...words.slice(seed % 3, (seed % 3) + 5), ...heads.slice(0, 2)]);
      recent.push(
        ...vocabulary.tokenize(texts.join(''), options),
        ...words.slice(0, 4),
        ...words.slice(0, 3),
      );
      const logits = new Float32Array(vocabulary.size);
      applyDry(logits, { ...dry, breakers }, Int32Array.from(recent));
      const expected = new Float32Array(vocabulary.size);
      const sampler = { kind: 'dry', ...dry, breakers: { vocabulary: vocab, texts } } as const;
      for (const { token, logit } of oracle.apply([...expected], [sampler], recent)) expected[token] = logit;
      expect(logits).toEqual(expected);
      changed += expected.some((logit) => logit !== 0) ? 1 : 0;
    }
    expect(changed).toBeGreaterThan(0);
  });

  it('are found once, and the same', async () => {
    using vocabulary = loadVocabulary(ggml, path);
    const first = await dryBreakers(vocabulary, ['a', 'a', 'b']);
    expect(await dryBreakers(vocabulary, ['b', 'a'])).toHaveLength(first.length);
    expect(new Set(first.map((row) => row.join())).size).toBe(first.length);
  });
});
