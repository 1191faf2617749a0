import type { ChatMessage } from '@butterfly/text';
import type { DrySampling, SamplingParams } from '@butterfly/wire';

/** A tool that the model may call; calling it is the client's business. */
export interface ToolDefinition {
  readonly name: string;
  readonly description: string | null;
  /** JSON schema of its arguments, an object's; null for no arguments. */
  readonly parameters: Readonly<Record<string, unknown>> | null;
  /** Whether the arguments must be valid by the schema even where the model is free to call or not. */
  readonly isStrict: boolean;
}

/** Which of the tools the answer may, or must, call. */
export type ToolChoice =
  | { readonly kind: 'none' }
  | { readonly kind: 'auto' }
  | { readonly kind: 'required' }
  /** Only these, and `isRequired` that one at least. */
  | { readonly kind: 'named'; readonly names: readonly string[]; readonly isRequired: boolean };

export interface ToolUse {
  readonly tools: readonly ToolDefinition[];
  readonly choice: ToolChoice;
  /** Whether one answer may have several calls. */
  readonly isParallel: boolean;
}

export const noTools: ToolUse = Object.freeze({
  tools: Object.freeze([]),
  choice: Object.freeze({ kind: 'none' }),
  isParallel: true,
});

/** The tools that an answer may call, which are the ones that the model is shown. */
export function usableTools({ tools, choice }: ToolUse): readonly ToolDefinition[] {
  switch (choice.kind) {
    case 'none':
      return [];
    case 'auto':
    case 'required':
      return tools;
    case 'named':
      return tools.filter(({ name }) => choice.names.includes(name));
    default:
      return choice satisfies never;
  }
}

/** A conversation that is answered. */
export interface ChatInput {
  readonly kind: 'chat';
  readonly messages: readonly ChatMessage[];
  readonly toolUse: ToolUse;
  /** Further names for the template, such as `enable_thinking`. */
  readonly templateValues: Readonly<Record<string, unknown>>;
  /** Goes on with the last message, an assistant's, instead of beginning a new one. */
  readonly continuesLast: boolean;
}

/** A text that is continued as it is. */
export type PlainInput =
  { readonly kind: 'text'; readonly text: string } | { readonly kind: 'tokens'; readonly tokens: Int32Array };

/** A file of the same project, which a text with a gap is read beside. */
export interface InfillFile {
  readonly name: string;
  readonly text: string;
}

/** A text with a gap that is filled. None of its words are read as special tokens. */
export interface InfillInput {
  readonly kind: 'infill';
  /** What comes before the gap. */
  readonly prefix: string;
  /** What comes behind it. */
  readonly suffix: string;
  /** The field that the suffix came from, for the words of errors. */
  readonly suffixField: string;
  /** What stands in the gap already, behind the prefix; empty for nothing. */
  readonly begun: string;
  /**
   * Shown before all, the last nearest: what there is no room for is left out from the beginning. Null where the model is to
   * see nothing of a project around, not even that there is one.
   */
  readonly files: readonly InfillFile[] | null;
}

/** What one answer continues. */
export type OneInput = ChatInput | PlainInput | InfillInput;

/** What is continued: one thing, or several side by side, whose choices are counted through. */
export type GenerationInput =
  OneInput | { readonly kind: 'several'; readonly inputs: readonly (PlainInput | InfillInput)[] };

/** What the text of an answer must be; reasoning before it and calls of tools are free of it. */
export type AnswerFormat =
  | { readonly kind: 'text' }
  | { readonly kind: 'json' }
  | { readonly kind: 'schema'; readonly schema: Readonly<Record<string, unknown>> | boolean }
  | { readonly kind: 'regex'; readonly pattern: string }
  /** In llama.cpp's notation, GBNF. */
  | { readonly kind: 'grammar'; readonly grammar: string };

/** llama.cpp's DRY, with breakers as texts: each is another row of tokens in another vocabulary. */
export interface DrySpec extends Omit<DrySampling, 'breakers'> {
  /** Behind each of these, repetitions begin anew. */
  readonly breakers: readonly string[];
}

/** One wish for answers, with every default filled in: what each dialect makes of a request, and the engine knows of none. */
export interface GenerationSpec {
  readonly input: GenerationInput;
  /** The field that the input came from, for the words of errors: `messages`, `prompt`, `input`. */
  readonly inputField: string;
  /** Answers to the same input, at least 1; the one at index i draws with the seed plus i. */
  readonly choices: number;
  /** Answers that are made, at least as many; of more, only the likeliest are told of, when all are over. */
  readonly candidates: number;
  /** But for DRY. */
  readonly sampling: SamplingParams;
  /** What makes repetitions less likely; null for nothing. */
  readonly dry: DrySpec | null;
  readonly format: AnswerFormat;
  /** How many of the likeliest tokens to tell of with each token, and its own log probability; null for neither. */
  readonly logprobs: number | null;
  /** The same of the tokens of the prompt, which then come as an event before all others; null where they do not. */
  readonly promptLogprobs: number | null;
  /** Texts that end an answer and are not part of it; none is empty. */
  readonly stops: readonly string[];
  /** Tokens of each answer; 0 only computes the prompt, and null is as many as the context has room for. */
  readonly outputTokensMax: number | null;
  /** Goes on after tokens that end an answer. */
  readonly ignoreEos: boolean;
  /** The lower, the earlier. */
  readonly priority: number;
  /** On whose behalf, so that each gets a share; absent for nobody in particular. */
  readonly tenant?: string | undefined;
  /** As whoever asked knows it, for those who watch. */
  readonly requestId?: string | undefined;
  /** From here to the last token, waiting included. */
  readonly timeoutMs: number;
}
