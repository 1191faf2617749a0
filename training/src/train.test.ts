import { readFile } from 'node:fs/promises';
import { silentLogger } from '@butterfly/common';
import { CpuBackend, loadGgml } from '@butterfly/ggml';
import { describe, expect, it } from 'vitest';
import { drawBatch } from './batches.js';
import { loadCheckpoint } from './checkpoint.js';
import { differencesFromLlama } from './evaluate.js';
import { Network } from './network.js';
import { Parameters } from './parameters.js';
import { Reader } from './reader.js';
import type { Recipe } from './recipe.js';
import { temporaryFolder, tinyRecipe } from './testing.js';
import { train } from './train.js';

const ggml = loadGgml({ log: silentLogger });

describe('training', () => {
  it('gives the same model in one go and resumed, and what llama.cpp reads alike', async () => {
    await using folder = await temporaryFolder();
    const run = (name: string, recipe: Recipe): Promise<void> =>
      train({
        ggml,
        recipe,
        threads: 1,
        workDirectory: folder.path(name),
        logPath: folder.path(`${name}.jsonl`),
        outputs: [
          [folder.path(`${name}-Q8_0.gguf`), 'Q8_0'],
          [folder.path(`${name}-F32.gguf`), 'F32'],
        ],
        print: () => undefined,
      });
    await run('whole', tinyRecipe);
    // Warm-up alone, whose rates do not depend on how many steps follow.
    await run('parts', { ...tinyRecipe, steps: 2 });
    await run('parts', tinyRecipe);
    const modelPath = folder.path('whole-Q8_0.gguf');
    expect((await readFile(folder.path('parts-Q8_0.gguf'))).equals(await readFile(modelPath))).toBe(true);
    const lines = (await readFile(folder.path('parts.jsonl'), 'utf8')).trimEnd().split('\n');
    expect(lines.map((line) => (JSON.parse(line) as { readonly step: number }).step)).toEqual([2, 4]);

    using reader = await Reader.open(ggml, modelPath, 1);
    expect(await differencesFromLlama(reader, modelPath, ['Once upon a time', 'Hello'], 20)).toEqual([]);
    await expectSameLoss(folder.path('whole/checkpoint.bin'), folder.path('whole-F32.gguf'));
  });
});

/** The loss in training is what the finished model has in Butterfly. */
async function expectSameLoss(checkpointPath: string, modelPath: string): Promise<void> {
  const { shape, windows } = tinyRecipe;
  using backend = new CpuBackend(ggml, 1);
  using parameters = new Parameters(backend, shape);
  expect(await loadCheckpoint(checkpointPath, parameters)).toBe(tinyRecipe.steps);
  using reader = await Reader.open(ggml, modelPath, 1);
  using network = new Network(backend, shape, parameters, windows, 'loss');
  const drawn = drawBatch('heldOut', 5, { windows, context: shape.context }, reader.vocabulary);
  // One document for each window, so that the reader sees what the network does.
  const batch = { ...drawn, documentStarts: drawn.documentStarts.map(() => 0) };
  let nats = 0;
  for (let window = 0; window < windows; window++) {
    const start = window * shape.context;
    const tokens = batch.tokens.slice(start, start + shape.context);
    nats += await reader.surprise(tokens);
  }
  const all = (await network.run(batch)) * shape.context * windows;
  // The network also predicts what follows the last token of each window: at most some ln(400) nats each.
  expect(all - nats).toBeGreaterThan(0);
  expect(all - nats).toBeLessThan(windows * 8);
}
