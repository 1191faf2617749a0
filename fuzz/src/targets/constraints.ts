import { type Constraint, type Json, constraintGrammar } from '@butterfly/constraint';
import { ButterflyError } from '@butterfly/common';
import type { FuzzTarget } from '../engine/target.js';

const schemaWords =
  'type object array string number integer boolean null properties required additionalProperties items prefixItems minItems maxItems uniqueItems contains enum const anyOf oneOf allOf not if then else $ref $defs definitions #/$defs/a #/ # pattern format minLength maxLength minimum maximum exclusiveMinimum exclusiveMaximum multipleOf patternProperties propertyNames minProperties maxProperties dependentRequired description title default nullable date-time date time email uuid ipv4 uri ^a+$ [a-z]{2,5} \\d+ (a|b)*c'.split(
    ' ',
  );

function json(input: Uint8Array): Json {
  try {
    return JSON.parse(Buffer.from(input).toString()) as Json;
  } catch (cause) {
    throw new ButterflyError('REQUEST_INVALID', 'no JSON', { cause });
  }
}

const compile =
  (constraintOf: (text: string) => Constraint) =>
  (input: Uint8Array): void => {
    constraintGrammar(constraintOf(Buffer.from(input).toString()));
  };

export const constraints: readonly FuzzTarget[] = [
  {
    name: 'schema',
    inputBytesMax: 4096,
    isJson: true,
    words: schemaWords,
    run: (input) => void constraintGrammar({ kind: 'schema', schema: json(input) }),
  },
  {
    name: 'regex',
    inputBytesMax: 512,
    words:
      '( ) (?: (?= (?! (?<= (?<name> \\k<name> [ ] [^ - | * + ? {2,3} {1000} {0,} {,5} *? ^ $ . \\d \\D \\w \\W \\s \\S \\b \\B \\p{L} \\P{Lu} \\u{1F98B} \\u00e9 \\x41 \\cA \\0 \\1 \\/ [a-z] [\\d-x] (a|b)* 🦋 \\ud83e'.split(
        ' ',
      ),
    run: compile((pattern) => ({ kind: 'regex', pattern })),
  },
  {
    name: 'gbnf',
    inputBytesMax: 2048,
    words:
      'root ::= | ( ) * + ? {2} {1,3} {0,} {1000} [a-z] [^"\\n] "a" "\\x41" "\\u00e9" "\\U0001F98B" \\t # . ws item root'.split(
        ' ',
      ),
    run: compile((grammar) => ({ kind: 'grammar', grammar })),
  },
];
