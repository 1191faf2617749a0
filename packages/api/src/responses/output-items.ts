import { ButterflyError } from '@butterfly/common';
import type { FinishReason, OutputEvent } from '@butterfly/generation';
import { type ItemStatus, type OutputItem, outputItemIds, outputText, sealed } from './items.js';

/** An event of the stream before it has its number. */
export interface NewEvent {
  readonly type: string;
  readonly [field: string]: unknown;
}

/** What of `OutputEvent` makes items. */
export type ItemEvent = Exclude<OutputEvent, { readonly kind: 'usage' }>;

/** The item that grows, or none between two. */
type Open =
  | { readonly kind: 'none' }
  | { readonly kind: 'message' | 'reasoning'; readonly id: string; text: string }
  | {
      readonly kind: 'call';
      readonly id: string;
      readonly call: number;
      readonly callId: string;
      readonly name: string;
      text: string;
    };

const none: Open = { kind: 'none' };

/**
 * Makes the items of one answer of what comes of it, and tells each step as the stream does. Whatever changes its kind begins
 * an item and ends the one before; so whole answers and streams have the same items.
 */
export class OutputItems {
  readonly #done: OutputItem[] = [];
  #open: Open = none;

  readonly #newId: ReturnType<typeof outputItemIds>;

  /** @param seals gives thoughts in a form too in which they can be sent back */
  constructor(
    responseId: string,
    private readonly seals: boolean,
  ) {
    this.#newId = outputItemIds(responseId);
  }

  /** What there is: the finished items, and the one that grows as far as it is, with the status that it has then. */
  items(openStatus: ItemStatus): readonly OutputItem[] {
    return this.#open.kind === 'none' ? [...this.#done] : [...this.#done, itemOf(this.#open, openStatus)];
  }

  /** @throws ButterflyError INTERNAL for a piece of a call that is not open */
  take(event: ItemEvent): readonly NewEvent[] {
    switch (event.kind) {
      case 'text':
        return event.text === '' ? [] : this.#say('message', event.text);
      case 'reasoning':
        return event.text === '' ? [] : this.#say('reasoning', event.text);
      case 'toolStart': {
        const { call, id: callId, name } = event;
        return this.#begin({ kind: 'call', id: this.#newId('fc'), call, callId, name, text: '' });
      }
      case 'toolArguments':
        return this.#argue(event.call, event.text);
      // No field of this dialect asks for it.
      case 'prompt':
        return [];
      case 'finish':
        return this.#finish(event.reason);
      default:
        return event satisfies never;
    }
  }

  #say(kind: 'message' | 'reasoning', text: string): readonly NewEvent[] {
    const begun =
      this.#open.kind === kind
        ? []
        : this.#begin({ kind, id: this.#newId(kind === 'message' ? 'msg' : 'rs'), text: '' });
    if (this.#open.kind !== kind) throw new ButterflyError('INTERNAL', `No ${kind} is open.`);
    this.#open.text += text;
    const delta = { item_id: this.#open.id, output_index: this.#done.length, content_index: 0, delta: text };
    return [
      ...begun,
      kind === 'message'
        ? { type: 'response.output_text.delta', ...delta, logprobs: [] }
        : { type: 'response.reasoning_text.delta', ...delta },
    ];
  }

  #argue(call: number, text: string): readonly NewEvent[] {
    if (this.#open.kind !== 'call' || this.#open.call !== call)
      throw new ButterflyError('INTERNAL', `Arguments came for call ${call}, which is not open.`);
    if (text === '') return [];
    this.#open.text += text;
    return [
      {
        type: 'response.function_call_arguments.delta',
        item_id: this.#open.id,
        output_index: this.#done.length,
        delta: text,
      },
    ];
  }

  #begin(open: Exclude<Open, { readonly kind: 'none' }>): readonly NewEvent[] {
    const before = this.#end('completed');
    this.#open = open;
    const output_index = this.#done.length;
    const added = { type: 'response.output_item.added', output_index, item: emptyItemOf(open) };
    if (open.kind === 'call') return [...before, added];
    const place = { item_id: open.id, output_index, content_index: 0 };
    return [...before, added, { type: 'response.content_part.added', ...place, part: partOf(open) }];
  }

  /** An answer without a word has an empty message all the same: clients read the last one. */
  #finish(reason: FinishReason): readonly NewEvent[] {
    const isEmpty = this.#done.length === 0 && this.#open.kind === 'none';
    const begun = isEmpty ? this.#begin({ kind: 'message', id: this.#newId('msg'), text: '' }) : [];
    return [...begun, ...this.#end(reason === 'length' ? 'incomplete' : 'completed')];
  }

  #end(status: ItemStatus): readonly NewEvent[] {
    const open = this.#open;
    if (open.kind === 'none') return [];
    const output_index = this.#done.length;
    const whole = itemOf(open, status);
    const item =
      this.seals && whole.type === 'reasoning' ? { ...whole, encrypted_content: sealed(open.text) } : whole;
    this.#done.push(item);
    this.#open = none;
    return [...lastWords(open, output_index), { type: 'response.output_item.done', output_index, item }];
  }
}

type Growing = Exclude<Open, { readonly kind: 'none' }>;

/** What a stream says of an item before it is done. */
function lastWords(open: Growing, output_index: number): readonly NewEvent[] {
  const place = { item_id: open.id, output_index };
  if (open.kind === 'call')
    return [
      {
        type: 'response.function_call_arguments.done',
        ...place,
        name: open.name,
        arguments: open.text,
      },
    ];
  const inside = { ...place, content_index: 0 };
  return [
    open.kind === 'message'
      ? { type: 'response.output_text.done', ...inside, text: open.text, logprobs: [] }
      : { type: 'response.reasoning_text.done', ...inside, text: open.text },
    { type: 'response.content_part.done', ...inside, part: partOf(open) },
  ];
}

const partOf = ({ kind, text }: Extract<Growing, { readonly kind: 'message' | 'reasoning' }>): object =>
  kind === 'message' ? outputText(text) : { type: 'reasoning_text', text };

function itemOf(open: Growing, status: ItemStatus): OutputItem {
  const { id, text } = open;
  switch (open.kind) {
    case 'message':
      return { type: 'message', id, role: 'assistant', status, content: [outputText(text)] };
    case 'reasoning':
      return { type: 'reasoning', id, status, summary: [], content: [{ type: 'reasoning_text', text }] };
    case 'call':
      return {
        type: 'function_call',
        id,
        status,
        call_id: open.callId,
        name: open.name,
        arguments: text,
      };
    default:
      return open satisfies never;
  }
}

/** The item as it is announced: its content comes in parts. */
function emptyItemOf(open: Growing): OutputItem {
  const item = itemOf(open, 'in_progress');
  return item.type === 'function_call' ? item : { ...item, content: [] };
}
