import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { architectureFixtures, writeArchitectureModel } from '@butterfly/testkit';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { decodingStep } from './step-measurement.js';
import { describeFile, loadStage } from './testing/index.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'butterfly-many-'));
});
afterAll(() => rm(folder, { recursive: true }));

// All heads of a row of these share their keys, which takes the most tensors for each sequence.
it.each(['falcon', 'gemma', 'starcoder'])('decodes many sequences of %s at once', async (name) => {
  const fixture = architectureFixtures().find((each) => each.name === name);
  if (!fixture) throw new Error(`There is no fixture ${name}.`);
  const path = join(folder, `${name}.gguf`);
  await writeArchitectureModel(path, fixture, 'Q8_0');
  const spec = await describeFile(path);
  const [rowsMax, arenaSlots] = [256, 2048];
  for (const range of [
    { layerStart: 0, layerEnd: spec.layers },
    { layerStart: 1, layerEnd: spec.layers - 1 },
  ]) {
    using stage = await loadStage(spec, { range, rowsMax, arenaSlots });
    const { isLast, payloadShape } = stage;
    const result = await stage.run(decodingStep(rowsMax, { spec, payloadShape, slots: arenaSlots, rowsMax }));
    expect((isLast ? result.logits : result.activations)?.byteLength).toBe(
      rowsMax * Float32Array.BYTES_PER_ELEMENT * (isLast ? spec.vocabulary : spec.hidden),
    );
  }
});
