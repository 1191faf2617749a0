import type { ButterflyError } from '@butterfly/common';
import type { Constraint } from '@butterfly/constraint';
import type { Pooling, SamplingParams } from '@butterfly/wire';

/** A request as the engine sees it: tokens in, tokens out. Text is the business of the API. */
export interface GenerateRequest {
  readonly promptTokens: Int32Array;
  /** 0 computes, caches and scores the prompt and says nothing; prompt and output together fit the context. */
  readonly outputTokensMax: number;
  readonly sampling: SamplingParams;
  /** How many of the likeliest tokens to tell of with each token, and its own log probability; null for neither. */
  readonly logprobs: number | null;
  /**
   * The same for the tokens of the prompt, which are told before those of the output; null where they are not told. No
   * cached prefix spares their rows.
   */
  readonly promptLogprobs: number | null;
  /** Tokens that end the sequence; they are reported in the end event, not as tokens. */
  readonly stopTokens: ReadonlySet<number>;
  /** As vLLM has it: the lower, the earlier; 0 for most. At most `limits.priorityMax` from 0. */
  readonly priority: number;
  /** On whose behalf: tenants get equal shares. Absent for nobody in particular, who is one tenant too. */
  readonly tenant?: string | undefined;
  /** As whoever asked knows it, for those who watch; absent for what no client asked for. */
  readonly requestId?: string | undefined;
  /** How long the request may take, waiting included. */
  readonly timeoutMs: number;
  /**
   * What the answer must be like. It may end, with any token of the model that ends answers, where the constraint allows it,
   * and ends where that allows nothing else.
   */
  readonly constraint?: Constraint;
}

/** A text as the engine sees it, whose embedding is wanted. */
export interface EmbedRequest {
  /** At least one, with those that the vocabulary puts before and behind a text. */
  readonly tokens: Int32Array;
  /** By default as the model's file says, else the mean of an encoder and the last token of any other model. */
  readonly pooling?: Pooling | null;
  /** As in `GenerateRequest`, like the next three. */
  readonly priority: number;
  readonly tenant?: string | undefined;
  readonly requestId?: string | undefined;
  readonly timeoutMs: number;
}

export type EmbedEvent =
  | {
      readonly kind: 'embedding';
      /** As the model makes it: its length is not 1. */
      readonly vector: Float32Array;
      readonly timing: RequestTiming;
    }
  | { readonly kind: 'error'; readonly error: ButterflyError };

/** A text on its way to its embedding: one event, and no more. Leaving the iteration, or `cancel`, frees everything that it held. */
export interface Embedding extends AsyncIterable<EmbedEvent> {
  cancel(): void;
}

/** What may be asked of a model. */
export interface EngineModel {
  /** Whether it continues texts; encoders, and models that score texts, do not. */
  readonly generates: boolean;
  /** Whether its tokens see those that come later, so that a text is computed in one step and nothing of it is cached. */
  readonly isEncoder: boolean;
  /** How embeddings of it may be pooled; none of a model of which none can be had. */
  readonly poolings: readonly Pooling[];
  /** How they are where nobody says. */
  readonly usualPooling: Pooling;
}

/** Times of one request in milliseconds. */
export interface RequestTiming {
  readonly queuedMs: number;
  /** From submission to the first token. */
  readonly firstTokenMs: number;
  readonly totalMs: number;
}

/** As the model sees a token, before any sampling parameter: see `Logprobs` of the wire. */
export interface TokenLogprobs {
  /** Natural logarithm of its probability; minus infinity for what the model rules out. */
  readonly logprob: number;
  /** The likeliest tokens, the likeliest first, whether or not it is among them. */
  readonly top: readonly { readonly token: number; readonly logprob: number }[];
}

export type GenerateEvent =
  | { readonly kind: 'token'; readonly token: number; readonly logprobs?: TokenLogprobs }
  /** Each token of the prompt in turn, where they are told; of the first nothing is known, as none stands before it. */
  | { readonly kind: 'promptToken'; readonly token: number; readonly logprobs: TokenLogprobs | null }
  | {
      readonly kind: 'end';
      readonly reason: 'stop' | 'length';
      readonly timing: RequestTiming;
      /** Tokens of the prompt that were cached already and not computed for this request. */
      readonly cachedPromptTokens: number;
    }
  | { readonly kind: 'error'; readonly error: ButterflyError };

/** A running request. Leaving the iteration early, or `cancel`, frees everything that it held. */
export interface Generation extends AsyncIterable<GenerateEvent> {
  cancel(): void;
}

export interface EngineStatus {
  readonly ready: boolean;
  /** Why it is not ready, in words for a person. */
  readonly detail: string;
  readonly running: number;
  readonly queued: number;
  /** When a client that was refused for a full queue should try again. */
  readonly retryAfterMs: number;
}

/** `describeEngine` holds all that serve as one to the same. */
export interface Engine {
  /** Prompt plus output of one sequence, in tokens. */
  readonly contextTokensMax: number;
  /**
   * Never throws after returning: later failures arrive as an error event.
   * @throws ButterflyError QUEUE_FULL, CONTEXT_EXCEEDED, REQUEST_INVALID, REQUEST_UNSUPPORTED, or CLUSTER_NOT_READY while shutting down.
   */
  submit(request: GenerateRequest): Generation;
  status(): EngineStatus;
}

/** What makes embeddings. */
export interface Embedder {
  /** Of one text, whose embedding is pooled so; fewer than the context where a step must hold a text as a whole. */
  embeddingTokensMax(pooling?: Pooling | null): number;
  /** Numbers of an embedding come with it; how it may be pooled, and how it is by default. */
  readonly model: EngineModel;
  /**
   * Never throws after returning: later failures arrive as an error event.
   * @throws ButterflyError QUEUE_FULL, CONTEXT_EXCEEDED, REQUEST_UNSUPPORTED, or CLUSTER_NOT_READY while shutting down.
   */
  embed(request: EmbedRequest): Embedding;
}
