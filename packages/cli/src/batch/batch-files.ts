import { type FileHandle, open, truncate } from 'node:fs/promises';
import { ButterflyError } from '@butterfly/common';
import { linesOf, unreadable } from '../text-lines.js';
import { type BatchRequest, finishedId, parseBatchLine } from './batch-line.js';

/**
 * Looks at a whole batch before anything of it is asked, and counts it. Only the ids are kept.
 * @throws ButterflyError CONFIG_INVALID for a file that cannot be read, a line that is no request, an id that comes twice
 */
export async function checkBatch(path: string): Promise<number> {
  const ids = new Set<string>();
  for await (const request of batchRequests(path)) {
    if (ids.has(request.customId))
      throw new ButterflyError(
        'CONFIG_INVALID',
        `The custom_id "${request.customId}" comes twice in ${path}; each answer needs one of its own.`,
      );
    ids.add(request.customId);
  }
  if (ids.size === 0) throw new ButterflyError('CONFIG_INVALID', `${path} has no requests.`);
  return ids.size;
}

/** The requests of a batch, one at a time. @throws ButterflyError CONFIG_INVALID */
export async function* batchRequests(path: string): AsyncGenerator<BatchRequest, void, undefined> {
  try {
    for await (const [text, number] of linesOf(path)) yield parseBatchLine(text, number);
  } catch (cause) {
    if (cause instanceof ButterflyError) throw cause;
    throw unreadable(path, cause);
  }
}

/**
 * What an earlier run has answered already. Half a line at its end, which a run that was killed leaves, is cut off.
 * @throws ButterflyError CONFIG_INVALID
 */
export async function finishedIds(path: string): Promise<ReadonlySet<string>> {
  const ids = new Set<string>();
  let wholeBytes = 0;
  let isCut = false;
  try {
    for await (const [text] of linesOf(path)) {
      const id = finishedId(text);
      isCut = id === null;
      if (id === null) break;
      ids.add(id);
      wholeBytes += Buffer.byteLength(text) + 1;
    }
    if (isCut) await truncate(path, wholeBytes);
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return ids;
    if (cause instanceof ButterflyError) throw cause;
    throw unreadable(path, cause);
  }
  return ids;
}

/** Opens a file for more lines, or for new ones. @throws ButterflyError CONFIG_INVALID */
export async function openLines(path: string, mode: 'append' | 'anew'): Promise<FileHandle> {
  return open(path, mode === 'append' ? 'a' : 'w').catch((cause: unknown) => {
    throw unreadable(path, cause);
  });
}
