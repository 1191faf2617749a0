import { ButterflyError, type Clock, limits } from '@butterfly/common';
import type { Item, ResponseObject } from './items.js';
import type { ResponseMemory, ResponseWatcher, WatchedRequest } from './recall.js';
import { notKept, ResponseStore } from './response-store.js';

interface Running {
  readonly soFar: () => ResponseObject;
  readonly input: readonly Item[];
  readonly cancel: () => void;
}

/** The responses of one server: those that run, whether they will be kept or not, and those that are kept. */
export class Responses implements ResponseMemory {
  readonly #running = new Map<string, Running>();
  readonly #store: ResponseStore;

  constructor(clock: Clock) {
    this.#store = new ResponseStore(
      {
        entriesMax: limits.storedResponsesMax,
        bytesMax: limits.storedResponsesBytesMax,
        // As much as one body, which it could be sent in too.
        conversationBytesMax: 2 * limits.requestBodyBytesMax,
        ageMsMax: limits.storedResponseAgeMsMax,
      },
      () => clock.nowMs(),
    );
  }

  watcher({ input, previousId, isStored }: WatchedRequest): ResponseWatcher {
    return {
      begun: (id, soFar, cancel) => {
        this.#running.set(id, { soFar, input, cancel });
        return () => this.#running.delete(id);
      },
      ended: (response) => {
        const { id, status } = response;
        this.#running.delete(id);
        if (isStored) this.#store.put({ id, status, previousId, input, response });
      },
    };
  }

  conversation(responseId: string, param: string): readonly Item[] {
    if (this.#running.has(responseId))
      throw new ButterflyError(
        'REQUEST_INVALID',
        `${param}: response "${responseId}" still runs; wait for its end.`,
        { param },
      );
    return this.#store.conversation(responseId, param);
  }

  item(id: string, param: string): Item {
    const item = this.#store.item(id);
    if (item === null)
      throw new ButterflyError(
        'NOT_FOUND',
        `${param}: item "${id}" is of no response that is kept here; send the item itself, or ask with "store": true first.`,
        { param },
      );
    return item;
  }

  /** @throws ButterflyError NOT_FOUND */
  response(id: string): ResponseObject {
    const response = this.#running.get(id)?.soFar() ?? this.#store.response(id);
    if (response === null) throw notKept(id, 'response_id');
    return response;
  }

  /** @throws ButterflyError NOT_FOUND */
  input(id: string): readonly Item[] {
    const input = this.#running.get(id)?.input ?? this.#store.input(id);
    if (input === null) throw notKept(id, 'response_id');
    return input;
  }

  /** @throws ButterflyError NOT_FOUND; REQUEST_INVALID for one that runs */
  delete(id: string): void {
    if (this.#running.has(id))
      throw new ButterflyError(
        'REQUEST_INVALID',
        `response_id: response "${id}" still runs; cancel it, or wait for its end.`,
        { param: 'response_id' },
      );
    if (!this.#store.delete(id)) throw notKept(id, 'response_id');
  }

  /**
   * Ends one that runs; what is over stays as it ended.
   * @returns how it stands now
   * @throws ButterflyError NOT_FOUND
   */
  cancel(id: string): ResponseObject {
    const running = this.#running.get(id);
    if (running === undefined) return this.response(id);
    running.cancel();
    return { ...running.soFar(), status: 'cancelled' };
  }
}
