import { ButterflyError } from '@butterfly/common';
import type { AnswerTiming, FinishReason, OutputEvent, ScoredToken, Usage } from './events.js';

/** A tool that the model asks for. */
export interface ToolCall {
  readonly id: string;
  readonly name: string;
  /** JSON text of an object. */
  readonly arguments: string;
}

/** One answer, once it is whole. */
export interface Choice {
  readonly text: string;
  readonly reasoning: string;
  readonly toolCalls: readonly ToolCall[];
  /** Of the text, where they are told of. */
  readonly tokens: readonly ScoredToken[];
  readonly reason: FinishReason;
  /** The stop text that ended it, if one did. */
  readonly stop: string | null;
}

/** All answers of a request, with what they took. */
export interface WholeAnswer {
  readonly choices: readonly Choice[];
  readonly usage: Usage;
  readonly timing: AnswerTiming;
  /** The tokens of each prompt, where they are told of, by the first of its choices. */
  readonly prompts: ReadonlyMap<number, readonly ScoredToken[]>;
}

interface ChoiceInMaking {
  readonly texts: string[];
  readonly tokens: ScoredToken[];
  readonly reasonings: string[];
  readonly toolCalls: { readonly id: string; readonly name: string; readonly arguments: string[] }[];
  end: { readonly reason: FinishReason; readonly stop: string | null } | null;
}

/** The sink of whoever wants the answer in one piece. */
export class AnswerCollector {
  readonly #choices: ChoiceInMaking[] = [];
  readonly #prompts = new Map<number, readonly ScoredToken[]>();
  #end: Pick<WholeAnswer, 'usage' | 'timing'> | null = null;

  take(event: OutputEvent): void {
    switch (event.kind) {
      case 'text':
        this.#choice(event.choice).texts.push(event.text);
        if (event.tokens) this.#choice(event.choice).tokens.push(...event.tokens);
        return;
      case 'prompt':
        this.#prompts.set(event.choice, event.tokens);
        return;
      case 'reasoning':
        this.#choice(event.choice).reasonings.push(event.text);
        return;
      case 'toolStart':
        this.#choice(event.choice).toolCalls.push({ id: event.id, name: event.name, arguments: [] });
        return;
      case 'toolArguments':
        this.#choice(event.choice).toolCalls[event.call]?.arguments.push(event.text);
        return;
      case 'finish':
        this.#choice(event.choice).end = { reason: event.reason, stop: event.stop };
        return;
      case 'usage':
        this.#end = { usage: event.usage, timing: event.timing };
        return;
      default:
        event satisfies never;
    }
  }

  /** @throws ButterflyError INTERNAL before the last event */
  whole(): WholeAnswer {
    const end = this.#end;
    if (end === null) throw new ButterflyError('INTERNAL', 'An answer was asked for before its end.');
    return { choices: this.#choices.map(finished), prompts: this.#prompts, ...end };
  }

  #choice(index: number): ChoiceInMaking {
    return (this.#choices[index] ??= { texts: [], tokens: [], reasonings: [], toolCalls: [], end: null });
  }
}

function finished({ texts, tokens, reasonings, toolCalls, end }: ChoiceInMaking): Choice {
  if (end === null) throw new ButterflyError('INTERNAL', 'A choice was asked for before its end.');
  return {
    text: texts.join(''),
    tokens,
    reasoning: reasonings.join(''),
    toolCalls: toolCalls.map(({ id, name, arguments: pieces }) => ({ id, name, arguments: pieces.join('') })),
    ...end,
  };
}
