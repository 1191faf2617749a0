import { ButterflyError } from '@butterfly/common';
import {
  type Constraint,
  type Json,
  type Marker,
  type PlainConstraint,
  type Tag,
  constraintGrammar,
} from '@butterfly/constraint';
import type { AnswerFormat } from '../spec.js';
import type { AnswerConstraint, CallForm } from './call-constraint.js';
import type { TaggedCalls } from './syntax.js';

/** How an answer begins, and what its special tokens are. */
interface Surroundings {
  /** Whether the prompt ends where the model thinks. */
  readonly isThinking: boolean;
  /** Special tokens that have no text in answers, by the text that templates know them by. */
  readonly specialTokens: ReadonlyMap<string, number>;
}

/**
 * What the engine holds an answer to; undefined for nothing.
 * @throws ButterflyError REQUEST_UNSUPPORTED for what cannot be held together; REQUEST_INVALID and REQUEST_UNSUPPORTED for
 * a schema or grammar that cannot be followed, with the path
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
  if (format.kind !== 'text' && !calls.isRequired)
    throw new ButterflyError(
      'REQUEST_UNSUPPORTED',
      'response_format: an answer of a form, or calls of tools instead, are not supported together; require a call or leave one out.',
      { param: 'response_format' },
    );
  const { section, trigger, isRequired, isRepeated } = calls;
  // Without a word that begins calls, free text cannot be told from them.
  if (trigger === '' && !isRequired) return undefined;
  const tags = calls.forms.map((form): Tag => ({
    begin: marker(section.begin + form.begin),
    content: argumentsConstraint(form),
    end: marker(form.end + section.end),
  }));
  const start = trigger === '' ? commonStart(calls.forms.map(({ begin }) => section.begin + begin)) : trigger;
  const atLeastOne = isRequired && !isThinking;
  return { kind: 'tags', tags, triggers: [marker(start)], atLeastOne, stopsAfterFirst: !isRepeated };
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
function argumentsConstraint(form: CallForm): PlainConstraint {
  if (form.arguments.kind === 'tagged') return taggedConstraint(form.arguments.tags, form.arguments.schema);
  const exact: PlainConstraint = { kind: 'schema', schema: form.arguments.schema as Json };
  if (form.isStrict) return exact;
  try {
    constraintGrammar(exact);
    return exact;
  } catch (error) {
    if (error instanceof ButterflyError) return { kind: 'json' };
    throw error;
  }
}

/** Values between tags have no JSON, so that their names are held to alone. */
function taggedConstraint(tags: TaggedCalls, schema: Readonly<Record<string, unknown>>): PlainConstraint {
  const names = Object.keys(schema.properties ?? {});
  if (names.length === 0) return { kind: 'grammar', grammar: 'root ::= ""' };
  const { beforeKey, afterKey, afterValue, isOnOwnLine } = tags;
  const line = isOnOwnLine ? '\n' : '';
  const literal = (text: string): string => JSON.stringify(text);
  const grammar = [
    'root ::= argument+',
    `argument ::= ${literal(beforeKey)} name ${literal((afterKey[0] ?? '') + line)} value ${literal(`${line}${afterValue}\n`)}`,
    `name ::= ${names.map(literal).join(' | ')}`,
    'value ::= [^<]*',
  ].join('\n');
  return { kind: 'grammar', grammar };
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
