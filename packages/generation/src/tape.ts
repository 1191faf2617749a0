import type { GenerateEvent, TokenLogprobs } from '@butterfly/engine';

/**
 * One thing that was heard of an answer from its engine. With the spec, these are all that an answer is made of: whoever has both can
 * tell its events again, and go on with it.
 */
export type TapeLine =
  /** What an input was cut into, before anything was heard; inputs count from 0. */
  { readonly kind: 'input'; readonly input: number; readonly tokens: Int32Array } | TapeChoiceLine;

/** Of one choice; those of several inputs are counted through, with all candidates of each. */
export type TapeChoiceLine = { readonly choice: number } & HeardLine;

/** What is heard of a choice, in this order: its prompt, where it is told of, tokens, its end. */
export type HeardLine =
  | {
      readonly kind: 'prompt';
      readonly tokens: readonly { readonly token: number; readonly logprobs: TokenLogprobs | null }[];
    }
  | { readonly kind: 'token'; readonly token: number; readonly logprobs?: TokenLogprobs | undefined }
  | (Pick<Extract<GenerateEvent, { readonly kind: 'end' }>, 'kind' | 'reason' | 'cachedPromptTokens'> & {
      /** Until it had a place in the cache, in milliseconds; null where that is not known. */
      readonly queuedMs: number | null;
    });

/** What is kept of an answer while it is made, so that it goes on elsewhere. */
export interface Tape {
  /** What was heard already, in order: the answer begins with its events and goes on behind them. */
  readonly heard: readonly TapeLine[];
  /** Hears of what is heard from now on, each before its events are told. */
  record(line: TapeLine): void;
}

/** For an answer that nobody keeps. */
export const noTape: Tape = Object.freeze({ heard: Object.freeze([]), record: () => undefined });

/** The part of a tape that is of one of several inputs. @param choicesEach candidates of each input */
export function tapeOfInput(tape: Tape, input: number, choicesEach: number): Tape {
  const first = input * choicesEach;
  const heard = tape.heard.flatMap((line): TapeLine[] => {
    if (line.kind === 'input') return line.input === input ? [{ ...line, input: 0 }] : [];
    const choice = line.choice - first;
    return choice >= 0 && choice < choicesEach ? [{ ...line, choice }] : [];
  });
  return {
    heard,
    record: (line) =>
      tape.record(line.kind === 'input' ? { ...line, input } : { ...line, choice: line.choice + first }),
  };
}
