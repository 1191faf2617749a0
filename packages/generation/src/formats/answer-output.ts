import { StopMatcher } from '@butterfly/text';
import type { OutputEvent } from '../events.js';

interface OutputOptions {
  readonly choice: number;
  readonly sink: (event: OutputEvent) => void;
  readonly stops: readonly string[];
  /** Ids of calls whose family gives them none. */
  readonly newCallId: () => string;
}

/**
 * The events of one answer. White space between its parts (text, reasoning, calls) is layout and belongs to none of them;
 * the same within a part, and around a text alone, is part of it. Stop texts are looked for in the text.
 */
export class AnswerOutput {
  readonly #stops: StopMatcher;
  #calls = 0;
  #lane: 'text' | 'reasoning' = 'text';
  #skipsSpace = false;
  #space = '';
  #stop: string | null = null;

  constructor(private readonly options: OutputOptions) {
    this.#stops = new StopMatcher(options.stops);
  }

  get calls(): number {
    return this.#calls;
  }

  /** The stop text that ended the text; nothing comes out any more then. */
  get stop(): string | null {
    return this.#stop;
  }

  text(text: string): void {
    this.#say('text', text);
  }

  reasoning(text: string): void {
    this.#say('reasoning', text);
  }

  /** Another part begins: white space before and behind is none of it. */
  divide(): void {
    this.#space = '';
    this.#skipsSpace = true;
  }

  startCall(name: string, id: string | null): void {
    this.#flushStops();
    this.divide();
    if (this.#stop !== null) return;
    const { sink, choice, newCallId } = this.options;
    sink({ kind: 'toolStart', choice, call: this.#calls, id: id ?? newCallId(), name });
    this.#calls++;
  }

  /** The next piece of the JSON text of the call that began last. */
  callArguments(text: string): void {
    if (text === '' || this.#stop !== null) return;
    const { sink, choice } = this.options;
    sink({ kind: 'toolArguments', choice, call: this.#calls - 1, text });
  }

  /** Nothing comes any more. */
  end(): void {
    if (this.#space !== '') {
      const rest = this.#space;
      this.#space = '';
      this.#emit(this.#lane, rest);
    }
    this.#flushStops();
  }

  #say(lane: 'text' | 'reasoning', piece: string): void {
    if (this.#lane !== lane) {
      this.#space = '';
      this.#lane = lane;
    }
    const text = this.#skipsSpace ? piece.trimStart() : piece;
    if (text === '') return;
    this.#skipsSpace = false;
    const seen = this.#space + text;
    const said = seen.trimEnd();
    this.#space = seen.slice(said.length);
    this.#emit(lane, said);
  }

  #emit(lane: 'text' | 'reasoning', text: string): void {
    if (text === '' || this.#stop !== null) return;
    const { sink, choice } = this.options;
    if (lane === 'reasoning') {
      sink({ kind: 'reasoning', choice, text });
      return;
    }
    const match = this.#stops.push(text);
    if (match.text !== '') sink({ kind: 'text', choice, text: match.text });
    this.#stop = match.stop;
  }

  #flushStops(): void {
    const held = this.#stop === null ? this.#stops.flush() : '';
    if (held !== '') this.options.sink({ kind: 'text', choice: this.options.choice, text: held });
  }
}
