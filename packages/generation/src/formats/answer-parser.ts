import type { Marker } from './answer-buffer.js';
import type { AnswerOutput } from './answer-output.js';
import { BufferedParser } from './buffered-parser.js';
import { type CallHead, readHead } from './call-heads.js';
import { JsonScanner } from './json-scanner.js';
import { type Markers, afterSpace } from './markers.js';
import type { AnswerSyntax, Brackets, CallSyntax } from './syntax.js';
import type { CallableTools } from './parser.js';
import { TaggedArguments } from './tagged-arguments.js';

type State =
  | { readonly kind: 'text' }
  | { readonly kind: 'reasoning' }
  | { readonly kind: 'head'; readonly isRepeat: boolean }
  | { readonly kind: 'json'; readonly scanner: JsonScanner }
  /** What an object has behind the arguments. */
  | { readonly kind: 'rest'; readonly scanner: JsonScanner }
  | { readonly kind: 'tagged'; readonly arguments: TaggedArguments }
  /** Behind a call. */
  | { readonly kind: 'between' };

/** Of all families whose answers are text with reasoning and calls in it. */
export class AnswerParser extends BufferedParser {
  readonly #reasoning: Brackets | null;
  readonly #calls: CallSyntax | null;
  readonly #openers: readonly Marker[];
  #state: State;
  #isAtStart = true;

  /** @param tools none where the answer may call none: calls are then text */
  constructor(
    syntax: AnswerSyntax,
    private readonly markers: Markers,
    private readonly tools: CallableTools,
    private readonly output: AnswerOutput,
    opensInReasoning: boolean,
  ) {
    super();
    this.#reasoning = syntax.reasoning;
    this.#calls = tools.size > 0 ? syntax.calls : null;
    this.#openers = this.#calls === null ? [] : markers.all(openersOf(this.#calls));
    this.#state = { kind: opensInReasoning ? 'reasoning' : 'text' };
    if (opensInReasoning) output.divide();
  }

  protected override step(): boolean {
    const state = this.#state;
    switch (state.kind) {
      case 'text':
        return this.#text();
      case 'reasoning':
        return this.#think();
      case 'head':
        return this.#head(state.isRepeat);
      case 'json':
        return this.#json(state.scanner);
      case 'rest':
        return this.#rest(state.scanner);
      case 'tagged':
        return this.#tagged(state.arguments);
      case 'between':
        return this.#between();
      default:
        return state satisfies never;
    }
  }

  #text(): boolean {
    const buffer = this.buffer;
    const first = afterSpace(buffer.text, 0);
    if (this.#isAtStart && first === buffer.text.length && !this.isEnded) return false;
    const opening = this.#isAtStart ? this.#opensAt(first) : 'no';
    if (opening === 'wait' && !this.isEnded) return false;
    if (opening === 'head') return this.#go({ kind: 'head', isRepeat: false });
    if (opening === 'reasoning') return this.#startThinking(first);
    const begin = this.#reasoning === null ? null : this.markers.of(this.#reasoning.begin);
    const sought = begin?.isToken ? [...this.#openers, begin] : this.#openers;
    const found = buffer.find(sought);
    if (found === null) {
      this.#say(this.isEnded ? buffer.text.length : buffer.undecidedFrom(sought));
      return false;
    }
    this.#say(found.at);
    if (found.marker.text === begin?.text) return this.#startThinking(0);
    return this.#go({ kind: 'head', isRepeat: false });
  }

  /** What only the beginning of an answer is: reasoning behind a marker that is text, and calls without any. */
  #opensAt(at: number): 'head' | 'reasoning' | 'no' | 'wait' {
    const calls = this.#calls;
    if (calls?.kind === 'object' && calls.brackets === null && this.buffer.text.startsWith('{', at))
      return 'head';
    if (this.#reasoning === null) return 'no';
    const standing = this.markers.standing(this.buffer, this.#reasoning.begin, at);
    return standing === 'yes' ? 'reasoning' : standing;
  }

  #startThinking(at: number): boolean {
    this.buffer.take(at + (this.#reasoning?.begin.length ?? 0));
    this.output.divide();
    return this.#go({ kind: 'reasoning' });
  }

  #think(): boolean {
    const buffer = this.buffer;
    const end = this.markers.of(this.#reasoning?.end ?? '');
    const found = buffer.find([end]);
    const length = found?.at ?? (this.isEnded ? buffer.text.length : buffer.undecidedFrom([end]));
    this.output.reasoning(buffer.take(length));
    if (found === null) return false;
    buffer.take(end.text.length);
    this.output.divide();
    this.#isAtStart = true;
    return this.#go({ kind: 'text' });
  }

  #head(isRepeat: boolean): boolean {
    const calls = this.#calls;
    if (calls === null) return this.#go({ kind: 'text' });
    const head = readHead(calls, this.markers, this.buffer, 0, isRepeat);
    if (head === 'wait' && !this.isEnded) return false;
    if (typeof head === 'string' || this.#isStrange(calls, head)) return this.#noHead();
    this.buffer.take(head.end);
    this.output.startCall(head.name, head.id);
    if (head.whole !== null) {
      this.output.callArguments(head.whole);
      return this.#callOver({ kind: 'between' });
    }
    if (calls.kind !== 'tagged') return this.#go({ kind: 'json', scanner: new JsonScanner() });
    const schema = this.tools.get(head.name) ?? null;
    const emit = (json: string): void => this.output.callArguments(json);
    return this.#go({ kind: 'tagged', arguments: new TaggedArguments(calls, this.markers, schema, emit) });
  }

  /** An object alone is a call only if there is such a tool. */
  #isStrange(calls: CallSyntax, head: CallHead): boolean {
    const isAlone = calls.kind === 'object' && calls.brackets === null;
    return isAlone && !this.tools.has(head.name);
  }

  /** What looked like a call is text, from its marker on; what follows may be one. */
  #noHead(): boolean {
    const opener = this.#openers.find((marker) => this.buffer.hasAt(marker, 0));
    this.#isAtStart = false;
    this.#say(opener?.text.length ?? Math.min(this.buffer.text.length, afterSpace(this.buffer.text, 0) + 1));
    return this.#go({ kind: 'text' });
  }

  #json(scanner: JsonScanner): boolean {
    const { taken, isOver, isDone } = this.#scan(scanner);
    this.output.callArguments(taken);
    if (!isOver) return false;
    const hasRest = isDone && this.#calls?.kind === 'object';
    return this.#callOver(hasRest ? { kind: 'rest', scanner: new JsonScanner(1) } : { kind: 'between' });
  }

  #rest(scanner: JsonScanner): boolean {
    return this.#scan(scanner).isOver && this.#go({ kind: 'between' });
  }

  /** Takes JSON off the front. In its strings nothing is a marker, outside any marker ends it. */
  #scan(scanner: JsonScanner): {
    readonly taken: string;
    readonly isOver: boolean;
    readonly isDone: boolean;
  } {
    let taken = '';
    while (this.buffer.text !== '') {
      const mark = scanner.isInString ? this.buffer.nextMark(1) : this.buffer.nextMark(0);
      const { length, state } = scanner.scan(this.buffer.text.slice(0, mark));
      taken += this.buffer.take(length);
      if (state !== 'open') return { taken, isOver: true, isDone: state === 'done' };
      if (length === 0) return { taken, isOver: true, isDone: false };
    }
    return { taken, isOver: false, isDone: false };
  }

  #tagged(given: TaggedArguments): boolean {
    const read = given.step(this.buffer);
    if (read === 'again') return true;
    if (read === 'done') return this.#callOver({ kind: 'between' });
    if (this.isEnded) given.end(this.buffer);
    return false;
  }

  #callOver(next: State): boolean {
    this.callDone();
    this.output.divide();
    return this.#go(next);
  }

  #between(): boolean {
    const calls = this.#calls;
    const buffer = this.buffer;
    const at = afterSpace(buffer.text, 0);
    if (calls === null || (at === buffer.text.length && !this.isEnded))
      return calls === null && this.#go({ kind: 'text' });
    for (const { text, then } of followersOf(calls)) {
      const standing = this.markers.standing(buffer, text, at);
      if (standing === 'wait' && !this.isEnded) return false;
      if (standing !== 'yes') continue;
      buffer.take(then === 'head' ? at : at + text.length);
      return then === 'between' || this.#go({ kind: 'head', isRepeat: then === 'repeat' });
    }
    this.#isAtStart = false;
    return this.#go({ kind: 'text' });
  }

  #say(length: number): void {
    const text = this.buffer.take(length);
    if (text.trim() !== '') this.#isAtStart = false;
    this.output.text(text);
  }

  #go(state: State): true {
    this.#state = state;
    return true;
  }
}

/** What a call, or a row of them, may begin with. */
function openersOf(calls: CallSyntax): (string | null | undefined)[] {
  switch (calls.kind) {
    case 'object':
      return [calls.brackets?.begin, calls.tag];
    case 'headed':
      return [calls.section?.begin, calls.begin];
    case 'tagged':
      return [calls.section?.begin, calls.beforeName];
    default:
      return calls satisfies never;
  }
}

interface Follower {
  readonly text: string;
  /** Whether it ends something, begins another call, or stands before one. */
  readonly then: 'between' | 'head' | 'repeat';
}

/** What may stand behind a call. */
function followersOf(calls: CallSyntax): Follower[] {
  const ends = (...texts: readonly (string | null | undefined)[]): Follower[] =>
    texts.flatMap((text) =>
      text != null && text.trim() !== '' ? [{ text: text.trim(), then: 'between' }] : [],
    );
  const begins = openersOf(calls).flatMap((text): Follower[] =>
    text != null && text !== '' ? [{ text, then: 'head' }] : [],
  );
  switch (calls.kind) {
    case 'object': {
      const { brackets, closing, separator } = calls;
      const repeats: Follower[] = separator === null ? [] : [{ text: separator.trim(), then: 'repeat' }];
      return [...ends(closing, brackets?.end), ...repeats, ...begins];
    }
    case 'headed':
      return [...ends(calls.afterArguments, calls.end, calls.section?.end), ...begins];
    case 'tagged':
      return [...ends(calls.section?.end), ...begins];
    default:
      return calls satisfies never;
  }
}
