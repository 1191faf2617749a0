import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { makeDirectory } from './make-directory.js';

const folder = mkdtempSync(join(tmpdir(), 'butterfly-directories-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe('makeDirectory', () => {
  it('makes what is missing, one in the other, also when several ask at once', async () => {
    const path = join(folder, 'a', 'b', 'c');
    await Promise.all([makeDirectory(path), makeDirectory(path), makeDirectory(join(folder, 'a', 'd'))]);
    await makeDirectory(path);
    expect([existsSync(path), existsSync(join(folder, 'a', 'd'))]).toEqual([true, true]);
  });

  it('throws where a file is in the way', async () => {
    const file = join(folder, 'file');
    writeFileSync(file, '');
    await expect(makeDirectory(file)).rejects.toMatchObject({ code: 'EEXIST' });
    await expect(makeDirectory(join(file, 'below'))).rejects.toMatchObject({ code: 'ENOTDIR' });
  });

  it.runIf(existsSync('/proc/self'))(
    'throws where the system makes none, instead of trying for ever',
    async () => {
      await expect(makeDirectory('/proc/nowhere')).rejects.toMatchObject({ code: 'ENOENT' });
      await expect(makeDirectory('/proc/nowhere/at/all')).rejects.toMatchObject({ code: 'ENOENT' });
    },
  );
});
