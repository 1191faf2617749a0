/** Why an answer ended: the model or a stop text ended it, its room was used up, or it called tools. */
export type FinishReason = 'stop' | 'length' | 'toolCalls';

/** Tokens that a request took. */
export interface Usage {
  readonly promptTokens: number;
  /** Of all choices. */
  readonly outputTokens: number;
  /** How many of the output were thought before the answer; absent where nobody counted them. */
  readonly reasoningTokens?: number;
  /** How many of the prompt were cached; null where it is not known. */
  readonly cachedPromptTokens: number | null;
}

/** A token as the model sees it, before any sampling parameter. */
export interface TokenLogprob {
  readonly token: number;
  /** What it stands for; bytes that are no whole characters become U+FFFD. */
  readonly text: string;
  readonly bytes: Uint8Array;
  /** Natural logarithm of its probability. */
  readonly logprob: number;
}

/** A token that was said, or read, with its alternatives. */
export interface ScoredToken extends Omit<TokenLogprob, 'logprob'> {
  /** Null for the first token of a prompt, before which nothing stands. */
  readonly logprob: number | null;
  /** The likeliest tokens in its place, the likeliest first. */
  readonly top: readonly TokenLogprob[];
}

/** In milliseconds from when the engine took the request. */
export interface AnswerTiming {
  /** Until its first choice had a place in the cache; null where that is not known, as after a stop text. */
  readonly queuedMs: number | null;
  /** Until the prompt was computed. */
  readonly firstTokenMs: number;
  readonly totalMs: number;
}

/**
 * What comes of a `GenerationSpec`, in order within each choice; choices come mixed. Whole answers, streams, batches and the
 * library are all made of these.
 */
export type OutputEvent =
  /** Of the answer; may be empty for a token that completes no character. */
  | {
      readonly kind: 'text';
      readonly choice: number;
      readonly text: string;
      /** The tokens since the event before, where they are told of; their text may be held back yet. */
      readonly tokens?: readonly ScoredToken[];
    }
  /** All tokens of the prompt, where they are told of, with the first of its choices; before everything else of these. */
  | { readonly kind: 'prompt'; readonly choice: number; readonly tokens: readonly ScoredToken[] }
  /** What the model thinks before it answers. */
  | { readonly kind: 'reasoning'; readonly choice: number; readonly text: string }
  /** A call of a tool begins; `call` counts from 0 within the choice. */
  | {
      readonly kind: 'toolStart';
      readonly choice: number;
      readonly call: number;
      readonly id: string;
      readonly name: string;
    }
  /** The next piece of the JSON text of the call's arguments. */
  | { readonly kind: 'toolArguments'; readonly choice: number; readonly call: number; readonly text: string }
  /** The last of a choice. */
  | {
      readonly kind: 'finish';
      readonly choice: number;
      readonly reason: FinishReason;
      /** The stop text that ended it; null where another thing did. */
      readonly stop: string | null;
    }
  /** The last of all. */
  | { readonly kind: 'usage'; readonly usage: Usage; readonly timing: AnswerTiming };
