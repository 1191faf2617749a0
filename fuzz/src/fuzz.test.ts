import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { inputsIn } from './engine/corpus.js';
import { superviseTarget } from './engine/supervise.js';
import { targetNames } from './targets/index.js';

const corpus = fileURLToPath(new URL('../corpus/', import.meta.url));

/** How many inputs the gate tries of each: about a second of work. */
const inputs: Readonly<Record<string, number>> = {
  frames: 600,
  'frame-step': 2_000,
  'frame-result': 2_000,
  'frame-activations': 2_000,
  'frame-fileChunk': 2_000,
  'frame-vocabulary': 2_000,
  'frame-witnessed': 2_000,
  control: 800,
  gguf: 1_500,
  template: 300,
  schema: 200,
  regex: 60,
  gbnf: 600,
  token: 2_000,
  key: 100,
};
const inputsOfBodies = 200;

describe('what others write, changed at random', () => {
  it.each(targetNames)('is read or refused: %s', async (target) => {
    const seeds = inputsIn(join(corpus, target));
    expect(seeds.length).toBeGreaterThan(0);
    const inputsMax = inputs[target] ?? inputsOfBodies;
    const report = await superviseTarget({
      target,
      seed: 'gate',
      inputsMax,
      slowMs: Infinity,
      endMs: Number.MAX_SAFE_INTEGER,
      folders: [corpus],
      grown: null,
    });
    expect(report.findings.map(({ problem, input }) => ({ problem, input: Buffer.from(input) }))).toEqual([]);
    expect(report.inputs).toBe(inputsMax);
    // Some get through, and more of the code ran than the seeds reach; else this would show nothing.
    expect(report.accepted).toBeGreaterThan(0);
    expect(report.characters).toBeGreaterThan(report.seedCharacters);
  });
});
