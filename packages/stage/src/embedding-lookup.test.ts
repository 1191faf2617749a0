import { open } from 'node:fs/promises';
import { CpuBackend } from '@butterfly/ggml';
import { cachedSyntheticModel } from '@butterfly/testkit';
import { expect, it } from 'vitest';
import { EmbeddingLookup, embeddingName } from './embedding-lookup.js';
import { describeFile, ggml, openSource, smallModel } from './testing/stages.js';

it('gives the rows of the file, in the order of the tokens', async () => {
  const path = await cachedSyntheticModel({ ...smallModel, type: 'F32' });
  const spec = await describeFile(path);
  const table = spec.tensors.find(({ name }) => name === embeddingName);
  if (!table) throw new RangeError('the model has no embedding');
  using host = new CpuBackend(ggml, 1);
  using lookup = new EmbeddingLookup(host, spec);
  await using source = await openSource(spec);
  await lookup.weights.load(source, () => undefined);
  const tokens = [5, 0, spec.vocabulary - 1, 5];
  await using file = await open(path);
  const expected: Buffer[] = [];
  for (const token of tokens) {
    const row = Buffer.alloc(spec.hidden * Float32Array.BYTES_PER_ELEMENT);
    await file.read(row, 0, row.length, table.offset + token * row.length);
    expected.push(row);
  }
  const rows = await lookup.rows(new Uint8Array(Int32Array.from(tokens).buffer));
  expect(Buffer.compare(rows, Buffer.concat(expected))).toBe(0);
  // Of another number of rows, in the same memory.
  const one = await lookup.rows(new Uint8Array(Int32Array.of(7).buffer));
  expect(one).toHaveLength(spec.hidden * Float32Array.BYTES_PER_ELEMENT);
});
