import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, rename, rm, stat, statfs, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ButterflyError, deadlines, formatBytes, isLinkError, makeDirectory } from '@butterfly/common';
import { PartLock } from './part-lock.js';

/** What the content of a file must hash to: as stores say it, or the id that git gives to a small one. */
export interface Checksum {
  readonly kind: 'sha256' | 'sha512' | 'git';
  readonly hex: string;
}

/** A file that is known before it is there. */
export interface RemoteFile {
  /** As people know it. */
  readonly path: string;
  readonly bytes: number;
  readonly checksum: Checksum;
}

/** Where the bytes of a file come from. */
export interface FileSource {
  /** For people. */
  readonly name: 'hub' | 'registry';
  /** The content from an offset on. @throws ButterflyError for which a link error has it tried again */
  open(offset: number, signal: AbortSignal): Promise<ReadableStream<Uint8Array>>;
  /** What went wrong on the way of a body, in words. */
  explainCut(thrown: unknown): ButterflyError;
}

export interface DownloadOptions {
  readonly source: FileSource;
  readonly file: RemoteFile;
  /** The code of a file that arrives with a wrong content. */
  readonly wrongContent: 'MODEL_CORRUPT' | 'LIBRARY_MISMATCH';
  /** The option or variable that chooses where it comes to lie. */
  readonly placedBy: string;
  /** Where the file comes to lie. */
  readonly path: string;
  /** Ends the download, which another one continues. */
  readonly signal: AbortSignal;
  /** Told of the bytes that are there, those of earlier runs included. */
  readonly onProgress: (bytes: number) => void;
  /** Before the first attempt to go on after a cut; doubles with each in vain. */
  readonly firstPauseMs?: number;
}

/** Attempts in a row that brought nothing new, before a download gives up. */
const vainAttemptsMax = 4;

/**
 * Brings one file to this machine: on from where an earlier run was cut, and checked as a whole. False when it
 * was there already.
 * @throws ButterflyError as its source; `wrongContent` for a file that is then removed; DISK_FULL; CANCELLED;
 * CONFIG_INVALID where it cannot be written, or another process is at it
 */
export async function download(options: DownloadOptions): Promise<boolean> {
  const { file, path, placedBy } = options;
  await asDiskErrors(path, placedBy, () => makeDirectory(dirname(path)));
  // Named after its content too: a file that was replaced where it comes from must not be continued.
  const partPath = `${path}.${file.checksum.hex.slice(0, 12)}.part`;
  const isThere = async (): Promise<boolean> => {
    const isFound = await isWhole(path, file, placedBy);
    if (isFound) options.onProgress(file.bytes);
    return isFound;
  };
  if (await isThere()) return false;
  const lock = await asDiskErrors(partPath, placedBy, () => PartLock.take(partPath));
  try {
    // Whoever had the lock before may have brought it.
    if (await isThere()) return false;
    await complete(partPath, options);
    return true;
  } finally {
    await lock[Symbol.asyncDispose]();
  }
}

/** Brings what is missing, checks all, and puts the file where it belongs. @throws ButterflyError as `download` */
async function complete(partPath: string, options: DownloadOptions): Promise<void> {
  const { file, path, placedBy } = options;
  const part = await asDiskErrors(partPath, placedBy, () => open(partPath, 'a'));
  try {
    await fill(part, options);
  } finally {
    await part.close();
  }
  if (await isWhole(partPath, file, placedBy)) {
    await asDiskErrors(path, placedBy, () => rename(partPath, path));
    return;
  }
  await rm(partPath, { force: true });
  throw new ButterflyError(
    options.wrongContent,
    `${file.path} arrived with another content than the ${options.source.name} should have (a wrong ${file.checksum.kind} hash), and was removed; run the same again.`,
  );
}

async function fill(part: FileHandle, options: DownloadOptions): Promise<void> {
  const { file, path, placedBy } = options;
  const found = (await part.stat()).size;
  const size = found > file.bytes ? 0 : found;
  if (size < found) await part.truncate(size);
  await checkRoom(path, file.bytes - size, placedBy);
  const sink = {
    written: size,
    write: async (chunk: Uint8Array): Promise<void> => {
      await asDiskErrors(path, placedBy, () => part.appendFile(chunk));
      sink.written += chunk.byteLength;
      options.onProgress(sink.written);
    },
  };
  options.onProgress(size);
  await fetchRest(sink, options);
  await asDiskErrors(path, placedBy, () => part.sync());
}

interface Sink {
  readonly written: number;
  write(chunk: Uint8Array): Promise<void>;
}

/** Tries again after each cut, unless nothing comes any more. */
async function fetchRest(sink: Sink, options: DownloadOptions): Promise<void> {
  const { file, signal, firstPauseMs = 1000 } = options;
  let vain = 0;
  while (sink.written < file.bytes) {
    const before = sink.written;
    try {
      await receive(sink, options);
    } catch (thrown) {
      signal.throwIfAborted();
      const error = options.source.explainCut(thrown);
      vain = sink.written > before ? 1 : vain + 1;
      if (!isLinkError(error.code)) throw error;
      if (vain >= vainAttemptsMax) throw resumable(error, sink.written, file);
      await sleep(firstPauseMs * 2 ** (vain - 1), undefined, { signal }).catch(() => signal.throwIfAborted());
    }
  }
}

/** One attempt. */
async function receive(sink: Sink, { source, file, signal }: DownloadOptions): Promise<void> {
  const stalled = new AbortController();
  const body = await source.open(sink.written, AbortSignal.any([signal, stalled.signal]));
  const isSilent = () =>
    stalled.abort(
      new ButterflyError('TIMEOUT', `No byte of ${file.path} came for ${deadlines.loadStallMs / 1000} s.`),
    );
  const timer = setTimeout(isSilent, deadlines.loadStallMs);
  try {
    for await (const chunk of body) {
      timer.refresh();
      if (sink.written + chunk.byteLength > file.bytes)
        throw new ButterflyError(
          'PROTOCOL_INVALID',
          `The ${source.name} sends more of ${file.path} than there is; use another.`,
        );
      await sink.write(chunk);
    }
  } finally {
    clearTimeout(timer);
  }
  if (sink.written < file.bytes)
    throw new ButterflyError('CONNECTION_CLOSED', `The ${source.name} ended ${file.path} before its end.`);
}

function resumable(error: ButterflyError, written: number, file: RemoteFile): ButterflyError {
  return new ButterflyError(
    error.code,
    `${error.message} ${formatBytes(written)} of ${formatBytes(file.bytes)} of ${file.path} are here: running the same again goes on from there.`,
    { cause: error },
  );
}

/** Whether the file is there with the right content. */
async function isWhole(path: string, file: RemoteFile, placedBy: string): Promise<boolean> {
  const bytes = await stat(path).then(
    (entry) => (entry.isFile() ? entry.size : -1),
    () => -1,
  );
  if (bytes !== file.bytes) return false;
  const hash = startHash(file);
  await asDiskErrors(path, placedBy, async () => {
    for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 }))
      hash.update(chunk as Uint8Array);
  });
  return hash.digest('hex') === file.checksum.hex;
}

function startHash({ checksum, bytes }: RemoteFile): Hash {
  switch (checksum.kind) {
    case 'sha256':
    case 'sha512':
      return createHash(checksum.kind);
    case 'git':
      return createHash('sha1').update(`blob ${bytes}\0`);
    default:
      return checksum.kind satisfies never;
  }
}

/** Tells at once what would else come to light after hours. @throws ButterflyError DISK_FULL */
export async function checkRoom(path: string, bytes: number, placedBy: string): Promise<void> {
  const { bavail, bsize } = await statfs(dirname(path));
  if (bavail * bsize < bytes)
    throw new ButterflyError(
      'DISK_FULL',
      `${dirname(path)} has room for ${formatBytes(bavail * bsize)}, but ${formatBytes(bytes)} are to come; free some, or choose another disk with ${placedBy}.`,
    );
}

/** Runs what writes below a path. @throws ButterflyError DISK_FULL, CONFIG_INVALID for what the disk refuses */
export async function asDiskErrors<T>(path: string, placedBy: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
    if (code === 'ENOSPC' || code === 'EDQUOT')
      throw new ButterflyError(
        'DISK_FULL',
        `There is no room left for ${path}; free some and run the same again, which goes on from there, or choose another disk with ${placedBy}.`,
        { cause },
      );
    if (code === '' || cause instanceof ButterflyError) throw cause;
    throw new ButterflyError(
      'CONFIG_INVALID',
      `${path} cannot be written (${code}); choose another place with ${placedBy}.`,
      {
        cause,
      },
    );
  }
}
