import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { open, readdir, rm, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { limits, makeDirectory } from '@butterfly/common';
import { CpuBackend, type Ggml } from '@butterfly/ggml';
import type { ModelFile } from '@butterfly/model';

/** As slow as a disk that anyone runs models from; taken where none can be measured. */
export const assumedDiskBytesPerSecond = 200e6;

/** Not on every system, whatever its type says. */
const { O_DIRECT: direct } = constants as Partial<typeof constants>;

const blockBytes = limits.fileChunkBytesMax;
/** What O_DIRECT wants of addresses, offsets and lengths on every usual disk. */
const pageBytes = 4096;
const blocksMax = 16;
const blocksInFlight = limits.fileFetchesInFlightMax;
const readingMs = 250;
const writingMs = 250;
/** A scratch file of that age belongs to a process that died: measuring takes half a second. */
const abandonedAfterMs = 60_000;

/** The largest of the model's files that is here as described; null when there is none. */
export async function findModelFile(files: readonly ModelFile[]): Promise<ModelFile | null> {
  for (const file of [...files].sort((a, b) => b.bytes - a.bytes)) {
    const found = await stat(file.path).catch(() => null);
    if (found?.isFile() && found.size === file.bytes) return file;
  }
  return null;
}

/**
 * The speed at which this machine reads weights: from the model's file where it is here, else from `directory`, to which
 * it writes a file for the purpose. Reads with O_DIRECT, past the system's page cache: a file that lies in that cache
 * loads faster than this says. Where the system has no O_DIRECT, a model's file is read plainly, and the answer is what the page
 * cache makes of it; one that was just written would only come from memory, so that the default is given instead.
 */
export async function measureDisk(
  ggml: Ggml,
  file: ModelFile | null,
  directory: string | null,
): Promise<number> {
  using backend = new CpuBackend(ggml, 1);
  using memory = backend.allocate(blockBytes * blocksInFlight + pageBytes);
  const start = Number((BigInt(pageBytes) - (memory.address % BigInt(pageBytes))) % BigInt(pageBytes));
  const block = (index: number): Uint8Array => memory.view(start + index * blockBytes, blockBytes);
  const blocks = Array.from({ length: blocksInFlight }, (_, index) => block(index));
  const speed = file
    ? ((await fileSpeed(file.path, true, blocks)) ?? (await fileSpeed(file.path, false, blocks)))
    : directory === null
      ? null
      : await scratchSpeed(directory, blocks);
  return speed ?? assumedDiskBytesPerSecond;
}

/** Null where the file cannot be read in this way. */
async function fileSpeed(
  path: string,
  isDirect: boolean,
  blocks: readonly Uint8Array[],
): Promise<number | null> {
  const handle = await open(path, flags(constants.O_RDONLY, isDirect)).catch(() => null);
  if (!handle) return null;
  try {
    return await readSpeed(handle, blocks);
  } finally {
    await handle.close();
  }
}

/** Null where it cannot be read. */
async function readSpeed(handle: FileHandle, blocks: readonly Uint8Array[]): Promise<number | null> {
  const { size } = await handle.stat();
  const offsets = spreadOffsets(size);
  const startedMs = performance.now();
  let read = 0;
  const lane = async (target: Uint8Array): Promise<void> => {
    for (;;) {
      const offset = performance.now() - startedMs < readingMs ? offsets.shift() : undefined;
      if (offset === undefined) return;
      read += (await handle.read(target, 0, target.length, offset)).bytesRead;
    }
  };
  const lanes = await Promise.allSettled(blocks.map(lane));
  const seconds = (performance.now() - startedMs) / 1000;
  const isRead = read > 0 && seconds > 0 && lanes.every(({ status }) => status === 'fulfilled');
  return isRead ? read / seconds : null;
}

/** Offsets of blocks all over a file, so that no one part of it decides; whole pages apart, none behind the end. */
function spreadOffsets(size: number): number[] {
  const count = Math.max(1, Math.min(blocksMax, Math.floor(size / blockBytes)));
  const stride = Math.floor(size / count / pageBytes) * pageBytes;
  return Array.from({ length: count }, (_, i) => i * stride);
}

/** Removes the scratch files of processes that died while they measured. */
export async function removeAbandonedScratch(directory: string): Promise<void> {
  for (const name of await readdir(directory).catch(() => [])) {
    if (!/^disk-speed-[0-9a-f]{16}\.tmp$/u.test(name)) continue;
    const path = join(directory, name);
    const found = await stat(path).catch(() => null);
    if (found && Date.now() - found.mtimeMs > abandonedAfterMs)
      await rm(path, { force: true }).catch(() => undefined);
  }
}

/** Reads what it has just written; null where that cannot be done past the page cache. */
async function scratchSpeed(directory: string, blocks: readonly Uint8Array[]): Promise<number | null> {
  if (direct === undefined) return null;
  const path = join(directory, `disk-speed-${randomBytes(8).toString('hex')}.tmp`);
  const { O_RDWR, O_CREAT, O_EXCL } = constants;
  let handle: FileHandle | null = null;
  try {
    await makeDirectory(directory);
    handle = await open(path, flags(O_RDWR | O_CREAT | O_EXCL, true), 0o600);
    // Where the system allows it, nobody has to remove it later, whatever becomes of this process.
    await rm(path).catch(() => undefined);
    const [block] = blocks;
    // No disk has a short way for random bytes.
    block?.set(randomBytes(blockBytes));
    const startedMs = performance.now();
    for (let i = 0; block && i < blocksMax && performance.now() - startedMs < writingMs; i++)
      await handle.write(block, 0, blockBytes, i * blockBytes);
    return await readSpeed(handle, blocks);
  } catch {
    // A full or read-only disk has no speed; loading will tell whether that matters.
    return null;
  } finally {
    await handle?.close();
    await rm(path, { force: true }).catch(() => undefined);
  }
}

function flags(plain: number, isDirect: boolean): number {
  return isDirect ? plain | (direct ?? 0) : plain;
}
