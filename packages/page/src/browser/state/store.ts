import { Api } from './api.js';
import { LiveLink } from './live-link.js';
import { afterMessage, afterOpening, emptyState } from './live-state.js';
import type { PageState, PageStore } from './page-state.js';
import { keepKey, readKey } from './settings.js';

/** Holds the state of the page, and tells when it changed, at most once for each frame. */
export class LiveStore implements PageStore {
  #state: PageState = { live: emptyState, link: { kind: 'connecting' }, hasKey: readKey() !== null };
  #key = readKey();
  #frame: number | null = null;
  readonly #listeners = new Set<() => void>();
  readonly api = new Api(() => this.#key);
  readonly #link = new LiveLink(
    this.api,
    (message) => this.#change({ live: afterMessage(this.#state.live, message, Date.now()) }),
    (link) => {
      const { live } = this.#state;
      this.#change({ link, ...(link.kind === 'open' ? { live: afterOpening(live) } : {}) });
    },
  );

  get state(): PageState {
    return this.#state;
  }

  start(): void {
    this.#link.start();
  }

  useKey(key: string | null, isRemembered: boolean): void {
    keepKey(key, isRemembered);
    this.#key = key;
    this.#change({ hasKey: key !== null });
    this.#link.start();
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #change(changed: Partial<PageState>): void {
    this.#state = { ...this.#state, ...changed };
    // A hidden page has no frames; it is told of all at once when it is looked at again.
    if (this.#frame !== null) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = null;
      for (const listener of this.#listeners) listener();
    });
  }
}
