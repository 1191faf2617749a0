import { mkdtemp, open, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cachedSyntheticModel, tinyModel } from '@butterfly/testkit';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { describeFamilyModel } from '../spec/describe.js';
import { checkFiles, settledStamp, stampOf } from './file-stamp.js';
import { openGguf } from './gguf-file.js';

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'butterfly-stamp-'));
  path = join(folder, 'file');
  await writeFile(path, 'some content');
});
afterEach(() => rm(folder, { recursive: true }));

describe('the stamp of a file', () => {
  it('changes with every write, however soon, and with its time set back', async () => {
    await using handle = await open(path, 'r+');
    for (let i = 0; i < 5; i++) {
      const { atime, mtime } = await stat(path);
      const before = await settledStamp(handle);
      expect(await stampOf(handle)).toBe(before);
      await handle.write(String(i), i);
      const after = await stampOf(handle);
      expect(after).not.toBe(before);
      await utimes(path, atime, mtime);
      expect(await stampOf(handle)).not.toBe(before);
    }
  });

  it('tells that a path names another file by now', async () => {
    const spec = describeFamilyModel(await openGguf(await cachedSyntheticModel(tinyModel)));
    const [file] = spec.files;
    if (!file) throw new RangeError('a model has a file');
    await expect(checkFiles(spec)).resolves.toBeUndefined();
    const { stamp } = file;
    const files = [{ ...file, path }];
    const changed = expect.objectContaining({ code: 'MODEL_CHANGED' }) as unknown;
    await expect(checkFiles({ files })).rejects.toThrow(changed);
    await rename(path, `${path}.away`);
    await expect(checkFiles({ files })).rejects.toThrow(changed);
    expect(stamp).toMatch(/^\d+-\d+-\d+-\d+$/u);
  });
});
