import {
  appendFile,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rm,
  stat,
  truncate,
  unlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { sha256 } from '@butterfly/common';
import type { ModelSpec } from '@butterfly/model';
import { describeFile } from '@butterfly/stage/testing';
import { cachedSyntheticModel, tinyModel } from '@butterfly/testkit';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LocalSource } from './local-source.js';

let folder: string;
let spec: ModelSpec;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'butterfly-local-'));
  const original = await describeFile(await cachedSyntheticModel({ ...tinyModel, split: 2 }));
  for (const { path } of original.files) await writeFile(join(folder, basename(path)), await readFile(path));
  const [first] = original.files;
  spec = await describeFile(join(folder, basename(first?.path ?? '')));
});
afterEach(() => rm(folder, { recursive: true }));

const pathOf = (index: number): string => spec.files[index]?.path ?? '';

/** How many of the model's files this process holds open. */
async function openFiles(): Promise<number> {
  const links = (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => ''));
  return (await Promise.all(links)).filter((path) => path.startsWith(folder)).length;
}

async function patch(path: string, change: (bytes: Buffer) => void): Promise<void> {
  const bytes = await readFile(path);
  change(bytes);
  await writeFile(path, bytes);
}

describe('LocalSource', () => {
  it('reads every tensor of every file, in pieces', async () => {
    await using source = await LocalSource.open(spec);
    const contents = await Promise.all(spec.files.map(({ path }) => readFile(path)));
    expect(new Set(spec.tensors.map(({ fileIndex }) => fileIndex)).size).toBe(2);
    for (const tensor of spec.tensors) {
      const start = Math.floor(tensor.bytes / 3);
      const target = new Uint8Array(tensor.bytes);
      await source?.read(tensor, start, target.subarray(start));
      await source?.read(tensor, 0, target.subarray(0, start));
      const end = tensor.offset + tensor.bytes;
      const expected = contents[tensor.fileIndex]?.subarray(tensor.offset, end);
      expect(Buffer.compare(target, expected ?? new Uint8Array(0))).toBe(0);
    }
  });

  it('takes nothing from a file that is no more the very same, unless it is shown to be right', async () => {
    const [tensor] = spec.tensors;
    const path = pathOf(0);
    if (!tensor) throw new RangeError('a model has tensors');
    const right = await sha256((await readFile(path)).subarray(tensor.offset, tensor.offset + tensor.bytes));
    const target = new Uint8Array(tensor.bytes);
    await using alone = await LocalSource.open(spec);
    await using compared = await LocalSource.open(spec, { of: () => Promise.resolve(right) });
    await alone?.read(tensor, 0, target);
    const { atime, mtime } = await stat(path);
    await patch(path, () => undefined);
    await utimes(path, atime, mtime);
    const changed = expect.objectContaining({ code: 'MODEL_CHANGED' }) as unknown;
    await expect(alone?.read(tensor, 0, target)).rejects.toThrow(changed);
    await expect(compared?.read(tensor, 0, target)).resolves.toBeUndefined();
    await patch(path, (bytes) => void (bytes[tensor.offset] = (bytes[tensor.offset] ?? 0) ^ 1));
    await expect(compared?.read(tensor, 0, target)).rejects.toThrow(changed);
  });

  it.each<[string, () => Promise<void>]>([
    ['is missing', () => unlink(pathOf(1))],
    ['is shorter', () => truncate(pathOf(1), (spec.files[1]?.bytes ?? 0) - 1)],
    ['is longer', () => appendFile(pathOf(1), 'x')],
    [
      'has as many bytes but other metadata',
      () => patch(pathOf(1), (bytes) => void (bytes[40] = (bytes[40] ?? 0) ^ 1)),
    ],
    [
      'has other weights',
      () =>
        patch(pathOf(1), (bytes) => {
          const offset = spec.tensors.find(({ fileIndex }) => fileIndex === 1)?.offset ?? 0;
          bytes[offset + 5] = (bytes[offset + 5] ?? 0) ^ 1;
        }),
    ],
    [
      'is a folder',
      () =>
        rm(pathOf(1))
          .then(() => mkdtemp(pathOf(1)))
          .then(() => undefined),
    ],
  ])('is not there when the second file %s', async (_, change) => {
    await change();
    expect(await LocalSource.open(spec)).toBeNull();
    if (process.platform === 'linux') expect(await openFiles()).toBe(0);
  });

  it('closes its files', async () => {
    const source = await LocalSource.open(spec);
    if (process.platform === 'linux') expect(await openFiles()).toBe(2);
    await source?.[Symbol.asyncDispose]();
    if (process.platform === 'linux') expect(await openFiles()).toBe(0);
    const [tensor] = spec.tensors;
    if (!tensor) throw new RangeError('a model has tensors');
    await expect(source?.read(tensor, 0, new Uint8Array(4))).rejects.toThrow(
      expect.objectContaining({ code: 'MODEL_NOT_FOUND' }),
    );
  });

  it('says which file became shorter, within which tensor', async () => {
    await using source = await LocalSource.open(spec);
    const tensor = spec.tensors.findLast(({ fileIndex }) => fileIndex === 1);
    if (!tensor) throw new RangeError('the second file has tensors');
    await truncate(pathOf(1), tensor.offset + 10);
    const reading = source?.read(tensor, 0, new Uint8Array(tensor.bytes));
    await expect(reading).rejects.toThrow(
      expect.objectContaining({
        code: 'MODEL_TRUNCATED',
        message: expect.stringMatching(`${pathOf(1)} ends within ${tensor.name}`) as string,
      }),
    );
  });
});
