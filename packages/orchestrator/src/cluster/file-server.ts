import { createHash } from 'node:crypto';
import { open, type FileHandle } from 'node:fs/promises';
import {
  ButterflyError,
  encodeFileChunk,
  limits,
  type Connection,
  type ControlMessageOf,
} from '@butterfly/common';
import type { ModelFile } from '@butterfly/model';

/** Sends ranges of the model's files, with their hashes, to workers that have no copy. */
export class FileServer {
  readonly #handles = new Map<number, Promise<FileHandle>>();
  readonly #inFlight = new WeakMap<Connection, number>();

  constructor(private readonly files: readonly ModelFile[]) {}

  /** Answers one request. @throws ButterflyError PROTOCOL_INVALID for a range outside the model or too many at once. */
  async serve(connection: Connection, request: ControlMessageOf<'fetch'>): Promise<void> {
    const { fileIndex, offset, bytes, requestId } = request;
    const file = this.files[fileIndex];
    if (!file || offset + bytes > file.bytes)
      throw new ButterflyError(
        'PROTOCOL_INVALID',
        `A worker asked for bytes ${offset}+${bytes} of file ${fileIndex}, which do not exist.`,
      );
    const inFlight = (this.#inFlight.get(connection) ?? 0) + 1;
    if (inFlight > limits.fileFetchesInFlightMax)
      throw new ButterflyError(
        'PROTOCOL_INVALID',
        `A worker asked for more than ${limits.fileFetchesInFlightMax} ranges at once.`,
      );
    this.#inFlight.set(connection, inFlight);
    try {
      const chunk = await this.#read(fileIndex, file, offset, bytes);
      await connection.drained();
      connection.send(
        encodeFileChunk({ requestId, bytes: chunk, sha256: createHash('sha256').update(chunk).digest() }),
      );
    } finally {
      this.#inFlight.set(connection, (this.#inFlight.get(connection) ?? 1) - 1);
    }
  }

  async close(): Promise<void> {
    const handles = await Promise.allSettled(this.#handles.values());
    this.#handles.clear();
    for (const handle of handles) if (handle.status === 'fulfilled') await handle.value.close();
  }

  async #read(index: number, file: ModelFile, offset: number, bytes: number): Promise<Uint8Array> {
    const handle = await this.#open(index, file.path);
    const chunk = Buffer.allocUnsafe(bytes);
    for (let done = 0; done < bytes;) {
      const { bytesRead } = await handle.read(chunk, done, bytes - done, offset + done);
      if (bytesRead === 0)
        throw new ButterflyError(
          'MODEL_TRUNCATED',
          `${file.path} became shorter while it was served; restore it.`,
        );
      done += bytesRead;
    }
    return chunk;
  }

  /** One handle for each file; one that could not be opened is tried again the next time. */
  #open(index: number, path: string): Promise<FileHandle> {
    const known = this.#handles.get(index);
    if (known) return known;
    const opening = open(path, 'r').catch((cause: unknown) => {
      this.#handles.delete(index);
      throw new ButterflyError('MODEL_NOT_FOUND', `${path} cannot be read any more; restore it.`, { cause });
    });
    this.#handles.set(index, opening);
    return opening;
  }
}
