import { type ArgumentForm, argumentForm } from '@butterfly/constraint';
import type { AnswerBuffer } from './answer-buffer.js';
import { type Markers, type Standing, afterSpace } from './markers.js';
import type { ArgumentsSchema } from './parser.js';
import type { TaggedCalls } from './syntax.js';

/** Longer keys are none. */
const keyCharactersMax = 512;

/** The arguments of one call that come between tags, as JSON text. */
export class TaggedArguments {
  /** Of the argument whose value is coming; null between arguments. */
  #value: { readonly form: ArgumentForm; isOpen: boolean } | null = null;
  #count = 0;

  constructor(
    private readonly calls: TaggedCalls,
    private readonly markers: Markers,
    private readonly schema: ArgumentsSchema,
    private readonly emit: (json: string) => void,
  ) {
    emit('{');
  }

  /** Reads on. @returns whether something was read, more must come, or the call is over */
  step(buffer: AnswerBuffer): 'again' | 'wait' | 'done' {
    return this.#value === null ? this.#key(buffer) : this.#valueOf(buffer, this.#value);
  }

  /** The answer ends in the middle: what there is of a value comes out, and nothing that pretends that there was more. */
  end(buffer: AnswerBuffer): void {
    if (this.#value === null) return;
    const rest = buffer.take(buffer.text.length);
    if (this.#value.form === 'text') this.#text(rest, this.#value);
    else this.emit(wholeValue(rest, this.#value.form));
  }

  #key(buffer: AnswerBuffer): 'again' | 'wait' | 'done' {
    const { beforeKey, end } = this.calls;
    const at = afterSpace(buffer.text, 0);
    const key = this.markers.standing(buffer, beforeKey, at);
    if (key === 'yes') {
      const read = this.#readKey(buffer, at + beforeKey.length);
      if (read !== 'no') return read === 'wait' ? 'wait' : 'again';
    }
    const over = this.markers.standing(buffer, end, at);
    if (over === 'yes') buffer.take(at + end.length);
    else if (key === 'wait' || over === 'wait') return 'wait';
    this.emit('}');
    return 'done';
  }

  #readKey(buffer: AnswerBuffer, from: number): Standing {
    const { afterKey, isOnOwnLine } = this.calls;
    const [first = '', ...others] = afterKey;
    const over = buffer.find([this.markers.of(first)], from);
    if (over === null) return buffer.text.length - from > keyCharactersMax + first.length ? 'no' : 'wait';
    if (over.at - from > keyCharactersMax) return 'no';
    let at = over.at + first.length;
    for (const other of others) {
      at = afterSpace(buffer.text, at);
      const standing = this.markers.standing(buffer, other, at);
      if (standing !== 'yes') return standing;
      at += other.length;
    }
    if (isOnOwnLine && at === buffer.text.length) return 'wait';
    if (isOnOwnLine && buffer.text.startsWith('\n', at)) at++;
    const key = buffer.text.slice(from, over.at).trim();
    buffer.take(at);
    this.emit(`${this.#count++ === 0 ? '' : ', '}${JSON.stringify(key)}: `);
    this.#value = { form: formOf(this.schema, key), isOpen: false };
    return 'yes';
  }

  #valueOf(buffer: AnswerBuffer, value: { readonly form: ArgumentForm; isOpen: boolean }): 'again' | 'wait' {
    const { afterValue, isOnOwnLine } = this.calls;
    const end = this.markers.of(afterValue);
    const over = buffer.find([end]);
    if (over === null) {
      if (value.form !== 'text') return 'wait';
      let safe = buffer.undecidedFrom([end]);
      if (isOnOwnLine && buffer.text.charAt(safe - 1) === '\n') safe--;
      this.#text(buffer.take(safe), value);
      return 'wait';
    }
    const given = buffer.take(over.at);
    const said = isOnOwnLine && given.endsWith('\n') ? given.slice(0, -1) : given;
    buffer.take(afterValue.length);
    if (value.form !== 'text') this.emit(wholeValue(said, value.form));
    else {
      this.#text(said, value);
      this.emit(value.isOpen ? '"' : '""');
    }
    this.#value = null;
    return 'again';
  }

  #text(piece: string, value: { isOpen: boolean }): void {
    if (piece === '') return;
    this.emit((value.isOpen ? '' : '"') + JSON.stringify(piece).slice(1, -1));
    value.isOpen = true;
  }
}

/** Of an argument that the schema does not name, nothing is known. */
function formOf(schema: ArgumentsSchema, key: string): ArgumentForm {
  const properties = schema?.properties;
  if (typeof properties !== 'object' || properties === null || !Object.hasOwn(properties, key)) return 'json';
  return argumentForm((properties as Readonly<Record<string, unknown>>)[key]);
}

/** As templates print them that come from Python. */
const pythonWords: Readonly<Record<string, string>> = { True: 'true', False: 'false', None: 'null' };

/** Of a value that may be something other than the text that it is written as. */
function wholeValue(text: string, form: Exclude<ArgumentForm, 'text'>): string {
  const trimmed = text.trim();
  const word = Object.hasOwn(pythonWords, trimmed) ? pythonWords[trimmed] : undefined;
  if (form === 'nullableText') return word === 'null' || trimmed === 'null' ? 'null' : JSON.stringify(text);
  if (word !== undefined) return word;
  try {
    JSON.parse(trimmed);
    return trimmed;
  } catch {
    return JSON.stringify(text);
  }
}
