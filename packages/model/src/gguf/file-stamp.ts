import type { BigIntStats } from 'node:fs';
import { stat, type FileHandle } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { ButterflyError } from '@butterfly/common';

/**
 * How long a file must have been left alone for its times to tell the next change: the coarsest clock that common file
 * systems of servers take them from ticks every 10 ms.
 */
const settledMs = 20;

/**
 * What changes whenever a file is replaced, or anything in it is written: its inode, length, and times of the last change of
 * content and of attributes, which no program can set back. The device is left out, as its number may differ after a restart
 * and in each container.
 */
export function fileStamp({ ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return `${ino}-${size}-${mtimeNs}-${ctimeNs}`;
}

/** The stamp of an open file. */
export async function stampOf(handle: FileHandle): Promise<string> {
  return fileStamp(await handle.stat({ bigint: true }));
}

/** The stamp of an open file, once a later change is bound to show in it. */
export async function settledStamp(handle: FileHandle): Promise<string> {
  const { ctimeMs } = await handle.stat({ bigint: true });
  const ageMs = Date.now() - Number(ctimeMs);
  if (ageMs >= 0 && ageMs < settledMs) await pause(settledMs - ageMs);
  return stampOf(handle);
}

/** A file that was read, with the stamp that it had then. */
interface StampedFile {
  readonly path: string;
  readonly stamp: string;
}

/**
 * Looks whether the paths of a model still name the files that were read.
 * @throws ButterflyError MODEL_CHANGED
 */
export async function checkFiles({ files }: { readonly files: readonly StampedFile[] }): Promise<void> {
  for (const { path, stamp } of files) {
    const found = await stat(path, { bigint: true }).catch(() => null);
    if (!found || fileStamp(found) !== stamp)
      throw new ButterflyError(
        'MODEL_CHANGED',
        `${path} was replaced or written to while it was read. Wait until whatever does so has finished, and start again.`,
      );
  }
}
