import type { TokenTable } from '@butterfly/wire';

/** How many tokens one word of a mask tells of; bit 0 of word 0 is token 0. */
export const tokensPerWord = 32;

/** What comes next of one sequence. */
export interface MaskOrder {
  /** Of the matcher, which is made when `fresh` is there. */
  readonly key: number;
  /** A new matcher of this constraint, behind these tokens; null goes on with the matcher of this key. */
  readonly fresh: { readonly constraintId: number; readonly tokens: Int32Array } | null;
  /** Tokens that were sampled since. */
  readonly accepted: Int32Array;
  /** Tokens that are tried behind them, after each of which a mask is wanted too; they are taken back. */
  readonly draftTokens: Int32Array;
  /** Where the masks go: one more than there are draft tokens. */
  readonly rows: readonly number[];
}

/** What the thread is begun with. */
export interface MaskThreadData {
  readonly table: TokenTable;
}

export type ToMaskThread =
  | { readonly kind: 'compile'; readonly constraintId: number; readonly grammar: string }
  | { readonly kind: 'drop'; readonly constraintId: number }
  /** Room for more masks, behind the rows so far. */
  | { readonly kind: 'memory'; readonly buffer: SharedArrayBuffer }
  /** Orders are carried out one after the other; `forgotten` matchers go first. */
  | {
      readonly kind: 'orders';
      readonly serial: number;
      readonly orders: readonly MaskOrder[];
      readonly forgotten: readonly number[];
    };

export type FromMaskThread =
  | { readonly kind: 'compiled'; readonly constraintId: number }
  | { readonly kind: 'done'; readonly serial: number };
