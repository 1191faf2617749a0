import type { ErrorCode } from '@butterfly/common';
import type { ChatMessage, ChatOptions } from '../chat-message.js';
import type { SpecialTokenTexts } from '../chat-template.js';

/** What a thread is made with. */
export interface RenderingOptions {
  /** Of the template; null for the plain default. */
  readonly source: string | null;
  readonly specialTokens: SpecialTokenTexts;
}

export interface ToRenderingThread {
  readonly messages: readonly ChatMessage[];
  readonly options: ChatOptions;
}

/** A text with the ranges that a client wrote, or why there is none. */
export type FromRenderingThread =
  | { readonly kind: 'rendered'; readonly value: string; readonly client: readonly number[] }
  | {
      readonly kind: 'refused';
      readonly code: ErrorCode;
      readonly message: string;
      readonly param: string | undefined;
    };
