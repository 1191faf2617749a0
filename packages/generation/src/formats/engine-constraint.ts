import type { Constraint, Json, Marker, PlainConstraint, Tag } from '@butterfly/constraint';
import type { AnswerFormat } from '../spec.js';
import type { AnswerConstraint, CallForm } from './call-constraint.js';

/** How an answer begins, and what its special tokens are. */
interface Surroundings {
  /** Whether the prompt ends where the model thinks. */
  readonly isThinking: boolean;
  /** Special tokens that have no text in answers, by the text that templates know them by. */
  readonly specialTokens: ReadonlyMap<string, number>;
}

/**
 * What the engine holds an answer to; undefined for nothing. What cannot be followed of it, the engine refuses.
 */
export function engineConstraint(
  wanted: AnswerConstraint | null,
  { isThinking, specialTokens }: Surroundings,
): Constraint | undefined {
  if (wanted === null) return undefined;
  const { calls, format, reasoning } = wanted;
  const marker = (text: string): Marker => markerOf(text, specialTokens);
  if (calls === null) {
    const content = plainConstraint(format);
    if (content === undefined || reasoning === null || !isThinking) return content;
    const begin = marker(reasoning.end);
    const tags = [{ begin, content, end: [] }];
    return { kind: 'tags', tags, triggers: [begin], atLeastOne: false, stopsAfterFirst: true };
  }
  const { section, trigger, isRequired, isRepeated } = calls;
  const tags = calls.forms.map((form): Tag => ({
    begin: marker(section.begin + form.begin),
    content: argumentsConstraint(form, marker),
    end: marker(form.end + section.end),
  }));
  const text = isRequired ? null : (plainConstraint(format) ?? null);
  if (isThinking && reasoning !== null && (isRequired || text !== null))
    return { kind: 'either', text, tags, isRepeated, behind: marker(reasoning.end) };
  if (text !== null) return { kind: 'either', text, tags, isRepeated, behind: null };
  // Without a word that begins calls, free text cannot be told from them.
  if (trigger === '' && !isRequired) return undefined;
  const start = trigger === '' ? commonStart(calls.forms.map(({ begin }) => section.begin + begin)) : trigger;
  return {
    kind: 'tags',
    tags,
    triggers: [marker(start)],
    atLeastOne: isRequired,
    stopsAfterFirst: !isRepeated,
  };
}

function plainConstraint(format: AnswerFormat): PlainConstraint | undefined {
  switch (format.kind) {
    case 'text':
      return undefined;
    case 'json':
      return format;
    case 'schema':
      return { kind: 'schema', schema: format.schema as Json };
    case 'regex':
      return format;
    case 'grammar':
      return format;
    default:
      return format satisfies never;
  }
}

/** A schema that cannot be followed costs the promise that its arguments are valid, unless that was asked for. */
function argumentsConstraint(
  { arguments: given, isStrict }: CallForm,
  marker: (text: string) => Marker,
): PlainConstraint {
  const schema = given.schema as Json;
  if (given.kind === 'json') return { kind: 'schema', schema, isLenient: !isStrict };
  const { beforeKey, afterKey, afterValue, isOnOwnLine } = given.tags;
  return {
    kind: 'tagged',
    schema,
    beforeKey: marker(beforeKey),
    afterKey: afterKey.map(marker),
    afterValue: marker(afterValue),
    isOnOwnLine,
    isLenient: !isStrict,
  };
}

/** Special tokens stand as numbers in it, since no text of an answer has them. */
function markerOf(text: string, specialTokens: ReadonlyMap<string, number>): Marker {
  const marker: (string | number)[] = [];
  let plain = '';
  for (let at = 0; at < text.length;) {
    let found: readonly [text: string, token: number] | null = null;
    for (const special of specialTokens)
      if (text.startsWith(special[0], at) && special[0].length > (found?.[0].length ?? 0)) found = special;
    if (found === null) {
      plain += text[at] ?? '';
      at += 1;
      continue;
    }
    if (plain !== '') marker.push(plain);
    plain = '';
    marker.push(found[1]);
    at += found[0].length;
  }
  return plain === '' ? marker : [...marker, plain];
}

/** What all texts begin with. */
function commonStart(texts: readonly string[]): string {
  const [first = '', ...others] = texts;
  let length = first.length;
  for (const other of others) while (!other.startsWith(first.slice(0, length))) length -= 1;
  return first.slice(0, length);
}
