import {
  appendFile,
  chmod,
  copyFile,
  link,
  mkdtemp,
  open,
  readFile,
  rename,
  rm,
  stat,
  truncate,
  unlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { ButterflyError } from '@butterfly/common';
import { type ModelSpec, describeFamilyModel, openGguf } from '@butterfly/model';
import { cachedSyntheticModel, tinyModel } from '@butterfly/testkit';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ServedFile } from './served-file.js';

let folder: string;
let path: string;
let content: Buffer;
let spec: ModelSpec;
let served: ServedFile;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'butterfly-served-'));
  const original = await cachedSyntheticModel(tinyModel);
  path = join(folder, basename(original));
  await copyFile(original, path);
  content = await readFile(path);
  spec = describeFamilyModel(await openGguf(path));
  const [file] = spec.files;
  if (!file) throw new RangeError('a model has a file');
  served = new ServedFile(file, spec.tensors);
});
afterEach(async () => {
  await served.close();
  await rm(folder, { recursive: true });
});

/** A byte of a tensor that is in no sample. */
const unsampled = (): number => {
  const largest = [...spec.tensors].sort((a, b) => b.bytes - a.bytes)[0];
  if (!largest) throw new RangeError('a model has tensors');
  return largest.offset + Math.min(largest.bytes - 1, 5000);
};

async function overwriteByte(offset: number): Promise<void> {
  await using file = await open(path, 'r+');
  await file.write(Buffer.from([(content[offset] ?? 0) ^ 1]), 0, 1, offset);
}

async function writeOther(to: string): Promise<void> {
  const other = Buffer.from(content);
  other.writeUInt8(other.readUInt8(unsampled()) ^ 1, unsampled());
  await writeFile(to, other);
}

const readsAll = async (): Promise<boolean> =>
  Buffer.from(await served.read(0, content.length)).equals(content);
const refused = (code: string): unknown =>
  expect.objectContaining({ code, message: expect.stringMatching(/start serve again/iu) as string });

describe('a served file', () => {
  it.each<[string, () => Promise<void>, RegExp | null]>([
    ['is left alone', () => Promise.resolve(), null],
    [
      'is replaced by a rename',
      async () => {
        await writeOther(`${path}.part`);
        await rename(`${path}.part`, path);
      },
      /is another file now/u,
    ],
    ['is deleted', () => unlink(path), /is gone/u],
    [
      'is deleted and written anew',
      async () => {
        await unlink(path);
        await writeOther(path);
      },
      /is another file now/u,
    ],
    ['is renamed', () => rename(path, `${path}.old`), /is gone/u],
    [
      'gets another name and other permissions',
      () => link(path, `${path}.too`).then(() => chmod(path, 0o600)),
      null,
    ],
  ])('that %s is served as it was opened', async (_, change, note) => {
    await served.hold();
    await change();
    expect(await readsAll()).toBe(true);
    expect(await readsAll()).toBe(true);
    const looked = await served.look();
    if (note === null) expect(looked).toBeNull();
    else expect(looked).toMatch(note);
  });

  it.each<[string, () => Promise<void>]>([
    ['one byte is overwritten', () => overwriteByte(unsampled())],
    [
      'one byte is overwritten, and its time of change set back',
      async () => {
        const { atime, mtime } = await stat(path);
        await overwriteByte(unsampled());
        await utimes(path, atime, mtime);
      },
    ],
    [
      'another file is copied over it',
      async () => {
        await writeOther(`${path}.other`);
        await copyFile(`${path}.other`, path);
      },
    ],
    ['it grows', () => appendFile(path, 'x')],
    ['its end is cut off', () => truncate(path, content.length - 1)],
  ])('is given no more once %s', async (_, change) => {
    await served.hold();
    expect(await readsAll()).toBe(true);
    await change();
    for (const offset of [0, unsampled()])
      await expect(served.read(offset, 1)).rejects.toThrow(refused('MODEL_CHANGED'));
    const looked = await served.look();
    expect(looked).toBeInstanceOf(ButterflyError);
    expect(looked).toEqual(refused('MODEL_CHANGED'));
  });

  it('that is cut off before what is wanted says so', async () => {
    await served.hold();
    await truncate(path, 100);
    await expect(served.read(0, 1000)).rejects.toThrow(refused('MODEL_TRUNCATED'));
  });

  it('is refused when another one is under its path before it is opened', async () => {
    await writeOther(`${path}.part`);
    await rename(`${path}.part`, path);
    await expect(served.hold()).rejects.toThrow(refused('MODEL_CHANGED'));
    await expect(served.read(0, 1)).rejects.toThrow(refused('MODEL_CHANGED'));
    expect(await served.look()).toBeNull();
  });
});
