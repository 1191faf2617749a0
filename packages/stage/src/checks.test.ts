import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ModelSpec, cacheBytesPerSlot } from '@butterfly/model';
import { cachedSyntheticModel, tinyModel } from '@butterfly/testkit';
import { type StepSequence, greedySampling } from '@butterfly/wire';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { StageRuntime } from './runtime.js';
import {
  describeFile,
  ggml,
  loadStage,
  openSource,
  part,
  runThrough,
  tokenStep,
  type PlainStep,
} from './testing/stages.js';

const invalid = expect.objectContaining({ code: 'COMPUTE_INVALID' }) as Error;

let folder: string;
let spec: ModelSpec;
let first: StageRuntime;
let last: StageRuntime;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'butterfly-checks-'));
  spec = await describeFile(await cachedSyntheticModel(tinyModel));
  first = await loadStage(spec, { range: { layerStart: 0, layerEnd: 2 }, arenaSlots: 512 });
  last = await loadStage(spec, { range: { layerStart: 2, layerEnd: 3 }, arenaSlots: 512 });
});
afterAll(async () => {
  await rm(folder, { recursive: true });
  first[Symbol.dispose]();
  last[Symbol.dispose]();
});

const step = (change: Partial<StepSequence>, tokens = [1]): PlainStep => tokenStep([part(change)], tokens);
const copying = (fromSlot: number, toSlot: number, slots: number): PlainStep =>
  tokenStep([part()], [1], [{ fromSlot, toSlot, slots }]);

/** Each would read or write outside a region or a buffer, or make ggml end the process. */
const badSteps: readonly (readonly [what: string, make: () => PlainStep])[] = [
  ['no sequences', () => tokenStep([], [])],
  ['a sequence without rows', () => step({ rows: 0, logitRows: 0 }, [])],
  ['a negative number of rows', () => step({ rows: -1, logitRows: -1 })],
  ['more logits than rows', () => step({ logitRows: 2 })],
  ['a negative number of logits', () => step({ logitRows: -1 })],
  ['fewer logits than guesses need', () => step({ rows: 2, draftTokens: Int32Array.of(5) }, [1, 5])],
  ['as many guesses as rows', () => step({ draftTokens: Int32Array.of(5) })],
  ['half a row', () => step({ rows: 1.5 })],
  ['more rows than a step has', () => step({ rows: 65 }, Array<number>(65).fill(1))],
  ['a region behind the arena', () => step({ regionStart: 512 })],
  ['a region that ends behind the arena', () => step({ regionStart: 256, regionSlots: 512 })],
  ['a region before the arena', () => step({ regionStart: -256 })],
  ['a region between blocks', () => step({ regionStart: 128 })],
  ['a region of half a block', () => step({ regionSlots: 128 })],
  ['a region of no slots', () => step({ regionSlots: 0 })],
  ['positions behind the region', () => step({ positionStart: 256 })],
  ['a last position behind the region', () => step({ positionStart: 255, rows: 2 }, [1, 2])],
  ['a negative position', () => step({ positionStart: -1 })],
  ['a position that is no number', () => step({ positionStart: NaN })],
  ['a copy from behind the arena', () => copying(500, 0, 13)],
  ['a copy to behind the arena', () => copying(0, 500, 13)],
  ['a copy from before the arena', () => copying(-1, 0, 4)],
  ['a copy to before the arena', () => copying(0, -1, 4)],
  ['a copy of a negative number of slots', () => copying(8, 16, -4)],
  ['fewer tokens than rows', () => step({ rows: 2 }, [1])],
  ['more tokens than rows', () => step({}, [1, 2])],
  ['a token behind the vocabulary', () => step({}, [300])],
  ['a negative token', () => step({}, [-1])],
];

/** The model with each odd token like the even one before it, so that their logits are equal. */
async function withTwins(original: ModelSpec): Promise<ModelSpec> {
  const bytes = await readFile(original.files[0]?.path ?? '');
  const embedding = original.tensors.find(({ name }) => name === 'token_embd.weight');
  if (!embedding) throw new RangeError('the model has no embedding');
  const rowBytes = embedding.bytes / original.vocabulary;
  for (let token = 0; token < original.vocabulary; token += 2) {
    const start = embedding.offset + token * rowBytes;
    bytes.copyWithin(start + rowBytes, start, start + rowBytes);
  }
  const path = join(folder, 'twins.gguf');
  await writeFile(path, bytes);
  return describeFile(path);
}

describe('StageRuntime', () => {
  it.each(badSteps)('refuses %s', async (_, make) => {
    await expect(first.run(make())).rejects.toThrow(invalid);
    // And goes on.
    const { activations } = await first.run(step({}));
    expect(activations).toHaveLength(spec.hidden * 4);
  });

  it('refuses activations of another size', async () => {
    for (const bytes of [0, 4, spec.hidden * 4 - 1, spec.hidden * 8]) {
      const bad = { copies: [], sequences: [part()], payload: new Uint8Array(bytes) };
      await expect(last.run(bad)).rejects.toThrow(invalid);
    }
  });

  it('takes the middle of a prompt even with a single layer before the head', async () => {
    expect(await runThrough([first, last], step({ rows: 2, logitRows: 0 }, [1, 2]))).toEqual([]);
    const [logits] = await runThrough([first, last], step({ positionStart: 2 }, [3]));
    expect(logits).toHaveLength(spec.vocabulary);
  });

  it('computes one step at a time, and is not disposed meanwhile', async () => {
    const one = first.run(step({ rows: 4, logitRows: 0 }, [1, 2, 3, 4]));
    await expect(first.run(step({ rows: 4, logitRows: 0 }, [5, 6, 7, 8]))).rejects.toThrow(invalid);
    expect(() => first[Symbol.dispose]()).toThrow(invalid);
    const { activations } = await one;
    expect(activations).toHaveLength(spec.hidden * 4 * 4);
  });

  it('takes the first of equal largest logits, as llama.cpp does', async () => {
    using whole = await loadStage(await withTwins(spec));
    const tokens = Array.from({ length: 40 }, (_, i) => i * 7);
    const sequences = tokens.map((_, positionStart) => part({ positionStart, sampling: greedySampling }));
    const { logits } = await whole.run(tokenStep(sequences, tokens));
    expect(logits).toHaveLength(40 * spec.vocabulary);
    const expected = tokens.map((_, row) => {
      const values = [...(logits ?? [])].slice(row * spec.vocabulary, (row + 1) * spec.vocabulary);
      return values.indexOf(Math.max(...values));
    });
    using sampler = whole.createSampler();
    const outputs = await sampler.sample(sequences, logits);
    expect(outputs.flatMap((output) => [...output.tokens])).toEqual(expected);
    expect(expected.every((token) => token % 2 === 0)).toBe(true);
  });

  it.each([0, 100, -256, 300.5])('refuses an arena of %d slots', (arenaSlots) => {
    const range = { layerStart: 0, layerEnd: 3 };
    expect(
      () => new StageRuntime({ ggml, spec, range, threads: 1, arenaSlots, cacheType: 'f16', rowsMax: 8 }),
    ).toThrow(invalid);
  });

  it.each([0, -1, 5000, NaN, 7.5])('refuses steps of up to %d rows', (rowsMax) => {
    const range = { layerStart: 0, layerEnd: 3 };
    expect(
      () => new StageRuntime({ ggml, spec, range, threads: 1, arenaSlots: 256, cacheType: 'f16', rowsMax }),
    ).toThrow(invalid);
  });

  it('tells what it holds', async () => {
    const [shape] = spec.attention;
    const layers = last.arenaBytes / (512 * (shape ? cacheBytesPerSlot(shape, 'f16') : 0));
    expect(layers).toBe(1);
    expect(first.arenaBytes).toBe(last.arenaBytes * 2);
    expect(first).toMatchObject({ isFirst: true, isLast: false });
    expect(last).toMatchObject({ isFirst: false, isLast: true });
    expect(first.shardBytes).toBeGreaterThanOrEqual(first.fileBytes);
    const loaded: number[] = [];
    const range = { layerStart: 0, layerEnd: 3 };
    using whole = new StageRuntime({
      ggml,
      spec,
      range,
      threads: 1,
      arenaSlots: 256,
      cacheType: 'f16',
      rowsMax: 8,
    });
    await using source = await openSource(spec);
    await whole.load(source, (bytes) => loaded.push(bytes));
    expect(loaded.at(-1)).toBe(whole.fileBytes);
    expect(loaded).toEqual([...loaded].sort((a, b) => a - b));
  });
});
