import type { ChatMessage } from '@butterfly/text';
import type { SamplingParams } from '@butterfly/wire';

/** What is continued. */
export type GenerationInput =
  | { readonly kind: 'chat'; readonly messages: readonly ChatMessage[] }
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'tokens'; readonly tokens: Int32Array };

/** One wish for answers, with every default filled in: what each dialect makes of a request, and the engine knows of none. */
export interface GenerationSpec {
  readonly input: GenerationInput;
  /** The field that the input came from, for the words of errors: `messages`, `prompt`, `input`. */
  readonly inputField: string;
  /** Answers to the same input, at least 1; the one at index i draws with the seed plus i. */
  readonly choices: number;
  readonly sampling: SamplingParams;
  /** Texts that end an answer and are not part of it; none is empty. */
  readonly stops: readonly string[];
  /** Tokens of each answer, at least 1; null for as many as the context has room for. */
  readonly outputTokensMax: number | null;
  /** Goes on after tokens that end an answer. */
  readonly ignoreEos: boolean;
  /** The lower, the earlier. */
  readonly priority: number;
  /** From here to the last token, waiting included. */
  readonly timeoutMs: number;
}
