import { ButterflyError, type Clock, type Observer, toButterflyError } from '@butterfly/common';
import type { ModelSpec } from '@butterfly/model';
import {
  type AskedRange,
  type Outlet,
  type ControlMessageOf,
  RangeServer,
  encodeControl,
} from '@butterfly/wire';
import { KnownDigests } from './known-digests.js';
import { ServedFile } from './served-file.js';

/** A glance costs two calls of the file system for each file. */
const lookEveryMs = 2_000;

type Asked = ControlMessageOf<'fetch'> | ControlMessageOf<'digests'>;

/**
 * Sends ranges of the model's files, with their hashes, to workers that have no copy, and the hashes alone to those that
 * have one to compare: what they say is what the model is.
 */
export class FileServer {
  readonly #files: readonly ServedFile[];
  readonly #ranges: RangeServer;
  /** What was last said of the files, so that it is said once. */
  #notes: readonly string[] = [];
  /** What each worker was last refused with. */
  readonly #refusals = new WeakMap<Outlet, string>();
  #cancelLook: () => void = () => undefined;
  #isClosed = false;

  constructor(private readonly spec: Pick<ModelSpec, 'files' | 'tensors'>) {
    this.#files = spec.files.map(
      (file, index) =>
        new ServedFile(
          file,
          spec.tensors.filter(({ fileIndex }) => fileIndex === index),
        ),
    );
    this.#ranges = new RangeServer((range) => this.#read(range), new KnownDigests(spec));
  }

  /**
   * Opens the files, so that what comes under their paths later is not taken for them, and looks every now and then whether
   * they are still what they were. Those that cannot be opened are told of when they are needed.
   */
  async hold(watcher: { readonly clock: Clock; readonly observe: Observer }): Promise<void> {
    await Promise.allSettled(this.#files.map((file) => file.hold()));
    this.#watch(watcher);
  }

  /**
   * Answers one request.
   * @throws ButterflyError PROTOCOL_INVALID for a range outside the model or too many at once, MODEL_NOT_FOUND,
   * MODEL_TRUNCATED, MODEL_CHANGED, CONNECTION_CLOSED
   */
  async serve(outlet: Outlet, request: Asked): Promise<void> {
    const { fileIndex, offset, bytes } = request;
    if (offset + bytes > (this.spec.files[fileIndex]?.bytes ?? 0))
      throw new ButterflyError(
        'PROTOCOL_INVALID',
        `A worker asked for bytes ${offset}+${bytes} of file ${fileIndex}, which do not exist.`,
      );
    if (request.kind === 'fetch') await this.#ranges.serve(outlet, request);
    else await this.#ranges.serveDigests(outlet, request);
  }

  /**
   * Answers one request. A file that fails costs the load that needs it (`fetchMissing`), and not the worker, which may
   * serve meanwhile; a request that is out of place ends the connection.
   */
  async answer(
    { workerId, channel }: { readonly workerId: string; readonly channel: Outlet },
    request: Asked,
    observe: Observer,
  ): Promise<void> {
    try {
      await this.serve(channel, request);
    } catch (thrown) {
      const { code, message } = toButterflyError(thrown);
      // Several ranges are asked for at once, and one word of it is enough.
      if (this.#refusals.get(channel) !== message)
        observe({ kind: 'weightsRefused', workerId, code, message });
      this.#refusals.set(channel, message);
      if (code === 'PROTOCOL_INVALID') channel.fail(toButterflyError(thrown));
      else {
        const { requestId } = request;
        channel.send(encodeControl({ kind: 'fetchMissing', requestId, error: { code, message } }));
      }
    }
  }

  /** What was found when the files were last looked at. */
  get notes(): readonly string[] {
    return this.#notes;
  }

  /** Looks whether the files are still what they were, and says what is new. */
  async look(observe: Observer): Promise<void> {
    const found = await Promise.all(this.#files.map((file) => file.look()));
    const notes: string[] = [];
    for (const each of found) {
      if (each === null) continue;
      const words = typeof each === 'string' ? each : each.message;
      notes.push(words);
      if (this.#notes.includes(words)) continue;
      observe({ kind: 'modelFileChanged', words, code: typeof each === 'string' ? null : each.code });
    }
    this.#notes = notes;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancelLook();
    await Promise.all(this.#files.map((file) => file.close()));
  }

  #watch(watcher: { readonly clock: Clock; readonly observe: Observer }): void {
    if (this.#isClosed) return;
    this.#cancelLook = watcher.clock.after(lookEveryMs, () => {
      void this.look(watcher.observe).then(() => this.#watch(watcher));
    });
  }

  async #read({ fileIndex, offset, bytes }: AskedRange): Promise<Uint8Array | null> {
    return (await this.#files[fileIndex]?.read(offset, bytes)) ?? null;
  }
}
