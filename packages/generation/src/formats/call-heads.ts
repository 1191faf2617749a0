import type { AnswerBuffer } from './answer-buffer.js';
import { JsonScanner } from './json-scanner.js';
import { type Markers, afterSpace } from './markers.js';
import type { CallSyntax, HeadedCalls, ObjectCalls, TaggedCalls } from './syntax.js';

/** The beginning of a call, up to where its arguments are. */
export interface CallHead {
  readonly name: string;
  /** Null where the model gives none. */
  readonly id: string | null;
  /** Where the arguments begin in the buffer. */
  readonly end: number;
  /** JSON text of the arguments, where they are known with the head; `end` is then behind the call. */
  readonly whole: string | null;
}

/** What was read, that it is no call, or that more must come before that is known. More text changes neither of the first. */
export type HeadReading = CallHead | 'fail' | 'wait';

/** Longer names, and ids with them, are none. */
const headerCharactersMax = 512;

/**
 * Reads the beginning of a call.
 * @param at where its first marker stands
 * @param isRepeat whether it follows another one in the same brackets, without a marker
 */
export function readHead(
  calls: CallSyntax,
  markers: Markers,
  buffer: AnswerBuffer,
  at: number,
  isRepeat: boolean,
): HeadReading {
  switch (calls.kind) {
    case 'object':
      return readObject(calls, markers, buffer, at, isRepeat);
    case 'headed':
      return readHeaded(calls, markers, buffer, at);
    case 'tagged':
      return readTagged(calls, markers, buffer, at);
    default:
      return calls satisfies never;
  }
}

function readObject(
  { brackets, tag, opening }: ObjectCalls,
  markers: Markers,
  buffer: AnswerBuffer,
  at: number,
  isRepeat: boolean,
): HeadReading {
  const { text } = buffer;
  const begin = markers.all([brackets?.begin, tag]).find((marker) => buffer.hasAt(marker, at));
  let from = afterSpace(text, at + (begin?.text.length ?? 0));
  const bracket = opening.trim();
  if (bracket !== '' && !isRepeat) {
    if (from === text.length) return 'wait';
    if (!text.startsWith(bracket, from)) return 'fail';
    from = afterSpace(text, from + bracket.length);
  }
  if (from === text.length) return 'wait';
  return text.startsWith('{', from) ? readInside(text, from) : 'fail';
}

const namedFirst = /\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=\{)/y;

/** An object with the name first, as all models are taught, is known by its beginning; any other one by its end. */
function readInside(text: string, from: number): HeadReading {
  namedFirst.lastIndex = from;
  const [, quoted] = namedFirst.exec(text) ?? [];
  if (quoted !== undefined) {
    const name = parsed(quoted);
    const end = namedFirst.lastIndex;
    return typeof name === 'string' && name !== '' ? { name, id: null, end, whole: null } : 'fail';
  }
  const { length, state } = new JsonScanner().scan(text.slice(from));
  if (state === 'open') return 'wait';
  return state === 'broken' ? 'fail' : readWhole(parsed(text.slice(from, from + length)), from + length);
}

function readWhole(value: unknown, end: number): HeadReading {
  if (typeof value !== 'object' || value === null || !('name' in value)) return 'fail';
  const { name } = value;
  const given = 'arguments' in value ? value.arguments : 'parameters' in value ? value.parameters : {};
  if (typeof name !== 'string' || name === '') return 'fail';
  // Some models write the object as text in the object.
  const whole = typeof given === 'string' && isObject(parsed(given)) ? given : JSON.stringify(given ?? {});
  return { name, id: null, end, whole };
}

const isObject = (value: unknown): boolean => typeof value === 'object' && value !== null;

function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}

function readHeaded(calls: HeadedCalls, markers: Markers, buffer: AnswerBuffer, at: number): HeadReading {
  const { section, begin, beforeName, afterName } = calls;
  const first = behindSection(section?.begin ?? null, markers, buffer, at);
  const standing = markers.standing(buffer, begin, first);
  if (standing !== 'yes') return standing === 'no' ? 'fail' : 'wait';
  const { text } = buffer;
  let from = afterSpace(text, first + begin.length);
  if (!text.startsWith(beforeName, from)) return beforeName.startsWith(text.slice(from)) ? 'wait' : 'fail';
  from += beforeName.length;
  const over = buffer.find([markers.of(afterName)], from);
  if (over === null) return text.length - from > headerCharactersMax + afterName.length ? 'fail' : 'wait';
  const end = afterSpace(text, over.at + afterName.length);
  if (over.at - from > headerCharactersMax) return 'fail';
  if (end === text.length) return 'wait';
  const head = readHeader(calls, text.slice(from, over.at).trim());
  return text.startsWith('{', end) && head.name !== '' ? { ...head, end, whole: null } : 'fail';
}

function readHeader(
  { header, beforeId }: HeadedCalls,
  text: string,
): { readonly name: string; readonly id: string | null } {
  if (header === 'indexed') {
    const [, name = text] = /^(?:functions\.)?(.+?)(?::\d+)?$/s.exec(text) ?? [];
    return { name, id: /^functions\..+:\d+$/s.test(text) ? text : null };
  }
  const [name = '', id = ''] = beforeId === null ? [text] : text.split(beforeId, 2);
  return { name: name.trim(), id: id.trim() || null };
}

function readTagged(calls: TaggedCalls, markers: Markers, buffer: AnswerBuffer, at: number): HeadReading {
  const { section, beforeName, afterName } = calls;
  const first = behindSection(section?.begin ?? null, markers, buffer, at);
  const standing = markers.standing(buffer, beforeName, first);
  if (standing !== 'yes') return standing === 'no' ? 'fail' : 'wait';
  const from = first + beforeName.length;
  const { named, strange } = afterName === '' ? bareName : quotedName;
  const rest = buffer.text.slice(from, from + headerCharactersMax);
  const [whole, name] = named.exec(rest) ?? [];
  if (whole === undefined || name === undefined)
    return rest.length === headerCharactersMax || strange.test(rest) ? 'fail' : 'wait';
  return { name, id: null, end: from + whole.length, whole: null };
}

/** A name and what ends it, and what a beginning cannot become a name any more by. */
const bareName = { named: /^\s*([^\s<]+)(?=[\s<])/, strange: /^\s*</ };
const quotedName = {
  named: /^\s*([^\s<>"]+)"?>/,
  strange: /^\s*(?:[^\s<>"]+(?:[\s<]|"[^>])|[<>"])/,
};

/** Where what must follow the beginning of a section is. */
function behindSection(begin: string | null, markers: Markers, buffer: AnswerBuffer, at: number): number {
  if (begin === null || !buffer.hasAt(markers.of(begin), at)) return at;
  return afterSpace(buffer.text, at + begin.length);
}
