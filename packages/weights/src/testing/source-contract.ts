import { ButterflyError } from '@butterfly/common';
import { cachedSyntheticModel, tinyModel } from '@butterfly/testkit';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { TensorSource } from '../tensor-source.js';
import { readAll, writeWeights, type TestWeights } from './sources.js';

/** What every `TensorSource` does; `open` is called in each test, and what it gives is disposed with the test. */
export function describeTensorSource(
  name: string,
  open: (weights: TestWeights, keep: <T extends AsyncDisposable>(resource: T) => T) => Promise<TensorSource>,
): void {
  async function create(): Promise<{ readonly weights: TestWeights; readonly source: TensorSource }> {
    const keep = <T extends AsyncDisposable>(resource: T): T => {
      onTestFinished(() => resource[Symbol.asyncDispose]());
      return resource;
    };
    const weights = keep(await writeWeights(await cachedSyntheticModel(tinyModel)));
    return { weights, source: keep(await open(weights, keep)) };
  }

  describe(`a source of tensors: ${name}`, () => {
    it('reads all of every tensor, to the byte', async () => {
      const { weights, source } = await create();
      const contents = await readAll(weights.spec, (...range) => source.read(...range));
      for (const [index, tensor] of weights.spec.tensors.entries())
        expect(contents[index]?.equals(weights.bytesOf(tensor))).toBe(true);
    });

    it('reads many tensors at once, each into its own memory', async () => {
      const { weights, source } = await create();
      const reads = Array.from({ length: 4 }, () => weights.spec.tensors)
        .flat()
        .filter(({ bytes }) => bytes <= 70_000)
        .map(async (tensor) => {
          const target = Buffer.alloc(tensor.bytes);
          await source.read(tensor, 0, target);
          expect(target.equals(weights.bytesOf(tensor))).toBe(true);
        });
      expect(reads).toHaveLength(8);
      await Promise.all(reads);
    });

    it('writes nowhere but to its target', async () => {
      const { weights, source } = await create();
      const [tensor] = weights.spec.tensors;
      if (!tensor) throw new RangeError('a model has tensors');
      const memory = Buffer.alloc(tensor.bytes + 200, 0xa5);
      await source.read(tensor, 0, memory.subarray(100, 100 + tensor.bytes));
      expect(memory.subarray(100, 100 + tensor.bytes).equals(weights.bytesOf(tensor))).toBe(true);
      for (const side of [memory.subarray(0, 100), memory.subarray(100 + tensor.bytes)])
        expect(side.equals(Buffer.alloc(100, 0xa5))).toBe(true);
    });

    it('refuses what is beyond the file', async () => {
      const { weights, source } = await create();
      const beyond = weights.spec.tensors.at(-1);
      if (!beyond) throw new RangeError('a model has tensors');
      const reading = source.read({ ...beyond, offset: weights.content.length }, 0, new Uint8Array(100));
      await expect(reading).rejects.toThrow(ButterflyError);
    });

    it('fails with a typed error once it is disposed, which it may be twice', async () => {
      const { weights, source } = await create();
      const [tensor] = weights.spec.tensors;
      if (!tensor) throw new RangeError('a model has tensors');
      for (let time = 0; time < 2; time++) await source[Symbol.asyncDispose]();
      await expect(source.read(tensor, 0, new Uint8Array(tensor.bytes))).rejects.toThrow(ButterflyError);
    });
  });
}
