import { noTokens } from '../kv/token-list.js';

/**
 * Who guesses how a text goes on: `lookup` from the text's own tokens, at once; `draft`, another model, which is asked and
 * answers later; `head`, a layer of the model itself, which guesses with each token that it gives. Each sequence remembers of each how often its guesses come true.
 */
export type Proposer = 'lookup' | 'draft' | 'head';

/** What one of them proposes behind the known tokens of a sequence. */
export interface Guesses {
  readonly by: Proposer;
  readonly tokens: Int32Array;
}

/** Shared, because nothing in it can change. */
export const noGuesses: Guesses = { by: 'lookup', tokens: noTokens };
