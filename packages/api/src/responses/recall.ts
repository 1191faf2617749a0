import type { Item, ResponseObject } from './items.js';

/** What is kept of earlier answers, for whoever names it. */
export interface Recall {
  /** @throws ButterflyError NOT_FOUND for an item that is not kept (any more) */
  item(id: string, param: string): Item;
}

/** Who wants to know how a response stands: its store, and whoever may cancel it. */
export interface ResponseWatcher {
  /** It runs from now on. @returns what to call when it does no longer */
  begun(id: string, soFar: () => ResponseObject, cancel: () => void): () => void;
  ended(response: ResponseObject): void;
}

/** What requests lean on, and what is told of their responses. */
export interface ResponseMemory extends Recall {
  /** All that was said until the end of a response. @throws ButterflyError NOT_FOUND; REQUEST_INVALID */
  conversation(responseId: string, param: string): readonly Item[];
  /** Who follows a response to this input. */
  watcher(request: WatchedRequest): ResponseWatcher;
}

export interface WatchedRequest {
  readonly input: readonly Item[];
  readonly previousId: string | null;
  /** Whether the response is kept after its end. */
  readonly isStored: boolean;
}
