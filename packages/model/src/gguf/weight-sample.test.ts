import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { sampleWeights } from './weight-sample.js';

const tensors = [
  { offset: 32, bytes: 100 },
  { offset: 160, bytes: 20_000 },
  { offset: 32_768, bytes: 1 << 20 },
];
const fileBytes = 32_768 + (1 << 20);

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'butterfly-sample-'));
});
afterAll(() => rm(folder, { recursive: true }));

/** The fingerprint of a file of zeros but for one byte. */
async function sample(changedAt: number | null, bytes = fileBytes): Promise<string> {
  const content = Buffer.alloc(bytes);
  if (changedAt !== null) content[changedAt] = 1;
  const path = join(folder, 'weights');
  await writeFile(path, content);
  const handle = await open(path, 'r');
  try {
    return await sampleWeights(handle, tensors);
  } finally {
    await handle.close();
  }
}

it('is the same for the same weights', async () => {
  expect(await sample(null)).toBe(await sample(null));
  expect(await sample(null)).toMatch(/^[0-9a-f]{64}$/u);
});

it.each([
  ['the only bytes of a small tensor', 32 + 99],
  ['the beginning of a tensor', 160 + 4095],
  ['the beginning of a big tensor', 32_768],
  ['the midst of a big tensor', 32_768 + (1 << 19)],
  ['the end of a big tensor', fileBytes - 1],
])('differs when %s differs', async (_, at) => {
  expect(await sample(at)).not.toBe(await sample(null));
});

it('looks at tensors alone, and reads no more than samples of them', async () => {
  for (const at of [0, 140, 30_000, 160 + 10_000, 32_768 + 8192])
    expect(await sample(at)).toBe(await sample(null));
});

it('says that a file ends within a tensor', async () => {
  await expect(sample(null, fileBytes - 1)).rejects.toThrow(
    expect.objectContaining({ code: 'MODEL_TRUNCATED' }),
  );
});
