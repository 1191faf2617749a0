import { open, type FileHandle } from 'node:fs/promises';
import {
  ButterflyError,
  encodeControl,
  RangeServer,
  toButterflyError,
  type Connection,
  type ControlMessageOf,
  type Logger,
} from '@butterfly/common';
import type { ModelFile } from '@butterfly/model';
import type { WorkerLink } from './worker-link.js';

type Fetch = ControlMessageOf<'fetch'>;

/** Sends ranges of the model's files, with their hashes, to workers that have no copy. */
export class FileServer {
  readonly #handles = new Map<number, Promise<FileHandle>>();
  readonly #ranges = new RangeServer((request) => this.#read(request));

  constructor(private readonly files: readonly ModelFile[]) {}

  /**
   * Answers one request.
   * @throws ButterflyError PROTOCOL_INVALID for a range outside the model or too many at once, MODEL_NOT_FOUND,
   * MODEL_TRUNCATED, CONNECTION_CLOSED
   */
  serve(connection: Connection, request: Fetch): Promise<void> {
    return this.#ranges.serve(connection, request);
  }

  /**
   * Answers one request. A file that fails costs the load that needs it (`fetchMissing`), and not the worker, which may
   * serve meanwhile; a request that is out of place ends the connection.
   */
  async answer(
    { workerId, connection }: Pick<WorkerLink, 'workerId' | 'connection'>,
    request: Fetch,
    log: Logger,
  ): Promise<void> {
    try {
      await this.serve(connection, request);
    } catch (thrown) {
      const error = toButterflyError(thrown);
      log.error({ workerId, code: error.code }, error.message);
      if (error.code === 'PROTOCOL_INVALID') connection.fail(error);
      else connection.send(encodeControl({ kind: 'fetchMissing', requestId: request.requestId }));
    }
  }

  async close(): Promise<void> {
    const handles = await Promise.allSettled(this.#handles.values());
    this.#handles.clear();
    for (const handle of handles) if (handle.status === 'fulfilled') await handle.value.close();
  }

  async #read({ fileIndex, offset, bytes }: Fetch): Promise<Uint8Array> {
    const file = this.files[fileIndex];
    if (!file || offset + bytes > file.bytes)
      throw new ButterflyError(
        'PROTOCOL_INVALID',
        `A worker asked for bytes ${offset}+${bytes} of file ${fileIndex}, which do not exist.`,
      );
    const handle = await this.#open(fileIndex, file.path);
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
