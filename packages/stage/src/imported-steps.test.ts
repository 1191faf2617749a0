import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describeAny, surveyModel } from '@butterfly/llama-graph';
import { type ModelSpec, canCutAt, openGguf } from '@butterfly/model';
import { architectureFixtures, writeArchitectureModel } from '@butterfly/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SplitModel } from './split-model.js';
import { decodingStep } from './step-measurement.js';
import { ggml, loadStage, part, tokenStep } from './testing/stages.js';

const slots = 2048;
const rowsMax = 256;
const invalid: unknown = expect.objectContaining({ code: 'COMPUTE_INVALID' });
let folder: string;
/** Its layers see windows or everything, read tokens, and the last ones attend to what others cache. */
let spec: ModelSpec;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'butterfly-imported-steps-'));
  const path = join(folder, 'gemma4.gguf');
  for (const fixture of architectureFixtures())
    if (fixture.name === 'gemma4') await writeArchitectureModel(path, fixture, 'Q8_0');
  spec = await describeAny(await openGguf(path), (request) => Promise.resolve(surveyModel(ggml, request)));
});
afterAll(() => rm(folder, { recursive: true }));

describe('a stage of a model whose later layers read tokens and what earlier ones cache', () => {
  it('takes steps of as many sequences as there may be, wherever it begins and ends', async () => {
    const bounds = Array.from({ length: spec.layers + 1 }, (_, layer) => layer).filter((layer) =>
      canCutAt(spec, layer),
    );
    for (const [i, layerStart] of bounds.slice(0, -1).entries()) {
      const range = { layerStart, layerEnd: bounds[i + 1] ?? spec.layers };
      using stage = await loadStage(spec, { range, arenaSlots: slots, rowsMax });
      for (const rows of [1, 3, 64, 200, rowsMax])
        expect(
          await stage.run(decodingStep(rows, { spec, slots, rowsMax, payloadShape: stage.payloadShape })),
        ).toMatchObject({ faults: null });
    }
  });

  it('wants the tokens of all rows beside activations, and those that there are', async () => {
    using stage = await loadStage(spec, { range: { layerStart: 2, layerEnd: 4 } });
    expect(stage.handsOnTokens).toBe(true);
    const sequences = [part({ rows: 2, logitRows: 0 })];
    const payload = new Uint8Array(2 * 4 * spec.hidden);
    const ids = (...tokens: number[]): Uint8Array => tokenStep(sequences, tokens).payload;
    const run = (tokens?: Uint8Array): Promise<unknown> =>
      stage.run({ copies: [], sequences, payload, ...(tokens && { tokens }) });
    for (const tokens of [
      undefined,
      new Uint8Array(0),
      ids(1),
      ids(1, 2, 3),
      ids(1, -1),
      ids(1, spec.vocabulary),
    ])
      await expect(run(tokens)).rejects.toThrow(invalid);
    expect(await run(ids(1, 2))).toMatchObject({ faults: null });
  });

  it('cannot begin or end in the midst of layers that stay together', async () => {
    for (const cut of [5, 6, 7])
      await expect(SplitModel.open(spec, { threads: 1, contextTokens: 256, cuts: [cut] })).rejects.toThrow(
        expect.objectContaining({
          code: expect.stringMatching(/^(COMPUTE_INVALID|MODEL_UNSUPPORTED)$/u) as unknown,
        }),
      );
  });
});
