import type { Api } from './api.js';
import type { LiveState } from './live-state.js';

/** How the page stands with the server. */
export type LinkState =
  | { readonly kind: 'connecting' }
  | { readonly kind: 'open' }
  | { readonly kind: 'broken'; readonly words: string; readonly retryAtMs: number }
  /** Waits for a key. */
  | { readonly kind: 'denied'; readonly words: string };

/** What the whole page shows at a moment. */
export interface PageState {
  readonly live: LiveState;
  readonly link: LinkState;
  /** Whether a key is shown to the server. */
  readonly hasKey: boolean;
}

/** Where views have it from. */
export interface PageStore {
  readonly state: PageState;
  readonly api: Api;
  /** Connects, or connects anew at once. */
  start(): void;
  /** Shows this key from now on, and asks anew. @param isRemembered whether the browser keeps it beyond this window */
  useKey(key: string | null, isRemembered: boolean): void;
  /** @returns how to hear no more */
  subscribe(listener: () => void): () => void;
}
