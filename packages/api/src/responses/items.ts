import { createHash, randomUUID } from 'node:crypto';

/** A new id in OpenAI's form, as `resp_…`; the prefix says of what. */
export const newItemId = (prefix: 'resp' | 'msg' | 'rs' | 'fc' | 'fco'): string =>
  `${prefix}_${randomUUID().replaceAll('-', '')}`;

/** Makes the ids of what a response says: the same for the same response, so that one which goes on elsewhere keeps them. */
export function outputItemIds(responseId: string): (prefix: 'msg' | 'rs' | 'fc') => string {
  let count = 0;
  return (prefix) => {
    const hash = createHash('sha256').update(`${responseId}/${count++}`).digest('hex');
    return `${prefix}_${hash.slice(0, 32)}`;
  };
}

export type ItemStatus = 'in_progress' | 'completed' | 'incomplete';

export interface OutputText {
  readonly type: 'output_text';
  readonly text: string;
  readonly annotations: readonly never[];
  readonly logprobs: readonly never[];
}

export interface ReasoningText {
  readonly type: 'reasoning_text';
  readonly text: string;
}

/** What a system, developer or user said. */
export interface InputMessage {
  readonly type: 'message';
  readonly id: string;
  readonly role: 'user' | 'system' | 'developer';
  readonly status: ItemStatus;
  readonly content: readonly { readonly type: 'input_text'; readonly text: string }[];
}

/** What the model said. */
export interface OutputMessage {
  readonly type: 'message';
  readonly id: string;
  readonly role: 'assistant';
  readonly status: ItemStatus;
  readonly content: readonly OutputText[];
}

/** What the model thought; it is shown as it is, so a summary is nothing that we make. */
export interface ReasoningItem {
  readonly type: 'reasoning';
  readonly id: string;
  readonly status: ItemStatus;
  readonly summary: readonly { readonly type: 'summary_text'; readonly text: string }[];
  readonly content: readonly ReasoningText[];
  /** Where it was asked for; see `sealed`. */
  readonly encrypted_content?: string;
}

export interface FunctionCall {
  readonly type: 'function_call';
  readonly id: string;
  readonly status: ItemStatus;
  /** By which its output names it. */
  readonly call_id: string;
  readonly name: string;
  /** JSON text. */
  readonly arguments: string;
}

export interface FunctionCallOutput {
  readonly type: 'function_call_output';
  readonly id: string;
  readonly status: ItemStatus;
  readonly call_id: string;
  readonly output: string;
}

/** What an answer is made of, as the wire and the store have it. */
export type OutputItem = ReasoningItem | OutputMessage | FunctionCall;

/** What a conversation is made of. */
export type Item = OutputItem | InputMessage | FunctionCallOutput;

export type ResponseStatus = 'in_progress' | 'completed' | 'incomplete' | 'failed' | 'cancelled';

/** OpenAI's `response`, as far as anybody but its receiver looks into it. */
export interface ResponseObject {
  readonly id: string;
  readonly status: ResponseStatus;
  readonly output: readonly OutputItem[];
  readonly previous_response_id: string | null;
}

const sealMark = 'butterfly1.';

/**
 * What was thought, in the form in which clients that keep no conversation here send it back: they drop open thoughts, and
 * return what they cannot read. It is no secret, since the client has it in the open too.
 */
export const sealed = (text: string): string => sealMark + Buffer.from(text).toString('base64');

/** The text in it, or null for what another server made. */
export const unsealed = (value: unknown): string | null =>
  typeof value === 'string' && value.startsWith(sealMark)
    ? Buffer.from(value.slice(sealMark.length), 'base64').toString()
    : null;

export const outputText = (text: string): OutputText => ({
  type: 'output_text',
  text,
  annotations: [],
  logprobs: [],
});
