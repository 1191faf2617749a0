import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ButterflyError, systemClock } from '@butterfly/common';
import { ConstraintHost } from '../masks/constraint-host.js';
import { accepts, byteVocabulary } from '../testing/index.js';
import type { Constraint, Json } from './constraint.js';
import { constraintGrammar } from './constraint-grammar.js';

const table = byteVocabulary();
let host: ConstraintHost;
let lastId = 0;
beforeAll(() => {
  host = new ConstraintHost(systemClock);
  host.use(table);
});
afterAll(() => host.close());

/** Which of the texts an answer may be. */
async function allowed(constraint: Constraint, texts: readonly string[]): Promise<string[]> {
  const id = ++lastId;
  await host.prepare(id, constraintGrammar(constraint));
  const found: string[] = [];
  for (const text of texts) if (await accepts(host, id, table, text)) found.push(text);
  return found;
}

function refusal(constraint: Constraint): string {
  try {
    constraintGrammar(constraint);
  } catch (error) {
    if (error instanceof ButterflyError) return `${error.code} ${error.param ?? ''}`;
    throw error;
  }
  return 'none';
}

const schema = (value: Json): Constraint => ({ kind: 'schema', schema: value });

describe('constraints', () => {
  it('of JSON are objects', async () => {
    const texts = [
      '{}',
      '{"a": [1, {"b": null}], "c":"\\u00e9"}',
      '[]',
      '1',
      '{"a":1,}',
      '{"a":"\n"}',
      ' {}',
    ];
    expect(await allowed({ kind: 'json' }, texts)).toEqual(texts.slice(0, 2));
  });

  it('of many numbers with one beginning allow no other', async () => {
    // The library took these alternatives for ones of fewer digits.
    const texts = ['-4865', '-9999', '-10000', '-999999999999999', '-783', '-4864', '-78', '0', '4865'];
    expect(await allowed(schema({ type: 'integer', maximum: -4865 }), texts)).toEqual(texts.slice(0, 4));
  });

  it('of bounded numbers compare decimals', async () => {
    const texts = ['1.5', '1.500001', '2', '9', '9.25', '1.4999', '1', '9.250001', '15', '-2', '1e0'];
    expect(await allowed(schema({ type: 'number', minimum: 1.5, maximum: 9.25 }), texts)).toEqual(
      texts.slice(0, 5),
    );
    const below = ['-0.5', '-0.51', '-3', '-0.49', '0', '-0.4'];
    expect(await allowed(schema({ type: 'number', exclusiveMaximum: -0.49 }), below)).toEqual(
      below.slice(0, 3),
    );
  });

  it('of patterns escape what JSON escapes, and search as schemas do', async () => {
    const texts = ['"a\\"b"', '"xa\\nbx"', '"a\\"c"', '"a"b"'];
    expect(await allowed(schema({ type: 'string', pattern: 'a["\\n]b' }), texts)).toEqual(texts.slice(0, 2));
    const whole = ['"é"', '"ā"', '"éé"', '"e"'];
    expect(await allowed(schema({ type: 'string', pattern: '^[é-ā]$' }), whole)).toEqual(whole.slice(0, 2));
  });

  it('of lengths count characters, not their bytes or escapes', async () => {
    const texts = ['"é😀"', '"a\\n"', '"\\u00e9b"', '"é"', '"abc"', '"\\ud83d\\ude00"'];
    expect(await allowed(schema({ type: 'string', minLength: 2, maxLength: 2 }), texts)).toEqual(
      texts.slice(0, 3),
    );
  });

  it('of other properties leave out the names that are taken', async () => {
    const constraint = schema({
      type: 'object',
      properties: { ab: { type: 'null' }, a: { type: 'null' } },
      additionalProperties: { type: 'integer' },
      required: ['a'],
    });
    const texts = [
      '{"a":null}',
      '{"ab":null,"a":null,"abc":1}',
      '{"a":null,"b":2,"":3}',
      '{"a":null,"ab":1}',
      '{"ab":null}',
      '{"a":null,"\\u0061":1}',
    ];
    expect(await allowed(constraint, texts)).toEqual(texts.slice(0, 3));
  });

  it('of expressions match the whole answer', async () => {
    const texts = ['cat', 'dogs', 'cats!', 'a cat'];
    expect(await allowed({ kind: 'regex', pattern: '(?:cat|dogs?)' }, texts)).toEqual(texts.slice(0, 2));
  });

  it('of llama.cpp grammars read names, groups over lines, comments, classes and repetitions', async () => {
    const grammar =
      'root ::= a-b ("," # more\n  a-b){0,2} [^a-z\\n]?\na-b ::= "x" | "\\x79" | "yz" | "yzz" | "yzzz"\n';
    const texts = ['x', 'x,y,yz', 'yzzz!', 'yzzzz', 'x,y,y,y', 'xa'];
    expect(await allowed({ kind: 'grammar', grammar }, texts)).toEqual(texts.slice(0, 3));
  });

  it('of tags leave text free until a trigger', async () => {
    const tag = { begin: ['<f=x>'], end: ['</f>'] } as const;
    const tags = {
      kind: 'tags',
      tags: [{ ...tag, content: { kind: 'json' } }],
      triggers: [['<f=']],
    } as const;
    const texts = [
      'Hi',
      'a <f=x>{}</f> b <f=x>{"a":1}</f>',
      '<f=x>{}</f>',
      '<f=y>{}</f>',
      '<f=x>[]</f>',
      '<f=x>{}',
    ];
    expect(await allowed({ ...tags, atLeastOne: false, stopsAfterFirst: false }, texts)).toEqual(
      texts.slice(0, 3),
    );
    expect(await allowed({ ...tags, atLeastOne: true, stopsAfterFirst: true }, texts)).toEqual([
      '<f=x>{}</f>',
    ]);
  });

  it('of a form or tags allow either, and nothing beside them', async () => {
    const call = { begin: ['<f=x>'], content: { kind: 'json' }, end: ['</f>'] } as const;
    const either = { kind: 'either', text: { kind: 'regex', pattern: 'yes|no' }, tags: [call] } as const;
    const texts = [
      'yes',
      '<f=x>{}</f>',
      '<f=x>{}</f>\n<f=x>{}</f>',
      'maybe',
      'yes<f=x>{}</f>',
      '<f=x>{}</f>no',
      '',
    ];
    expect(await allowed({ ...either, isRepeated: true, behind: null }, texts)).toEqual(texts.slice(0, 3));
    expect(await allowed({ ...either, isRepeated: false, behind: null }, texts)).toEqual(texts.slice(0, 2));
    expect(await allowed({ ...either, text: null, isRepeated: true, behind: null }, texts)).toEqual(
      texts.slice(1, 3),
    );
    const thought = ['Hm.</t>yes', '</t>\n\n<f=x>{}</f>', 'Hm.</t>maybe', '</t>yes</t>yes'];
    expect(await allowed({ ...either, isRepeated: true, behind: ['</t>'] }, thought)).toEqual(
      thought.slice(0, 2),
    );
  });

  const tagged = {
    kind: 'tagged',
    beforeKey: ['<k='],
    afterKey: [['>']],
    afterValue: ['</k>'],
    isOnOwnLine: false,
    isLenient: false,
  } as const;

  it('of values between tags hold each to its schema, and texts to their end alone', async () => {
    const properties = {
      text: { type: 'string' },
      word: { enum: ['on', 'off'] },
      count: { type: 'integer', minimum: 1 },
      list: { anyOf: [{ type: 'array', items: { type: 'boolean' } }, { type: 'null' }] },
      maybe: { type: ['string', 'null'] },
    };
    const constraint = { ...tagged, schema: { type: 'object', properties, required: ['text'] } } as const;
    const texts = [
      '<k=text>a < b </ k> <<k> "\n</k>',
      '<k=text><</k>',
      '<k=text></k>\n<k=count>12</k>',
      '<k=text></k><k=word>off</k><k=list>[true]</k><k=maybe>null</k>',
      '<k=text></k><k=list>null</k>',
      '<k=count>12</k>',
      '<k=text></k><k=count>0</k>',
      '<k=text></k><k=word>of</k>',
      '<k=text></k><k=list>[1]</k>',
      '<k=text></k><k=other>1</k>',
      '<k=text></k><k=text></k>',
    ];
    expect(await allowed(constraint, texts)).toEqual(texts.slice(0, 5));
    const none = { ...tagged, schema: { type: 'object', properties: {} } };
    expect(await allowed(none, ['', '<k=a>1</k>'])).toEqual(['']);
  });

  it('of values on lines and between several marks read them as they are written', async () => {
    const lines = {
      ...tagged,
      afterKey: [['</k>'], ['<v>']],
      afterValue: ['</v>'],
      isOnOwnLine: true,
    } as const;
    const constraint = { ...lines, schema: { type: 'object', properties: { a: { type: 'string' } } } };
    const texts = [
      '<k=a</k><v>\nx\n\n</v>',
      '<k=a</k>\n<v>\n\n</v>\n',
      '<k=a</k><v>x</v>',
      '<k=a<v>\nx\n</v>',
    ];
    expect(await allowed(constraint, texts)).toEqual(texts.slice(0, 2));
  });

  it('leave aside, where that is enough, what answers cannot be held to', async () => {
    const odd = { type: 'integer', multipleOf: 3 };
    const object = { type: 'object', properties: { a: odd, b: { type: 'integer' } } } as const;
    const json = { kind: 'schema', schema: object, isLenient: true } as const;
    expect(await allowed(json, ['{"c":1}', '[]'])).toEqual(['{"c":1}']);
    const texts = ['<k=a>"x"</k><k=b>1</k>', '<k=a>1</k><k=b>"x"</k>'];
    expect(await allowed({ ...tagged, schema: object, isLenient: true }, texts)).toEqual(texts.slice(0, 1));
    expect(refusal({ ...tagged, schema: object })).toBe('REQUEST_UNSUPPORTED schema.properties.a.multipleOf');
    const long = { type: 'object', properties: { a: { type: 'string', maxLength: 3 } } };
    expect(refusal({ ...tagged, schema: long })).toBe('REQUEST_UNSUPPORTED schema.properties.a.maxLength');
  });

  it.each([
    [
      schema({ type: 'object', properties: { a: { type: 'integer', multipleOf: 3 } } }),
      'REQUEST_UNSUPPORTED schema.properties.a.multipleOf',
    ],
    [schema({ anyOf: [{ not: {} }] }), 'REQUEST_UNSUPPORTED schema.anyOf.0.not'],
    [schema({ $ref: 'https://example.org/x' }), 'REQUEST_UNSUPPORTED schema.$ref'],
    [schema({ $ref: '#/$defs/none' }), 'REQUEST_INVALID schema.$ref'],
    [schema({ $ref: '#' }), 'REQUEST_INVALID schema.$ref'],
    [schema({ type: 'strin' }), 'REQUEST_INVALID schema.type'],
    [schema({ type: 'string', pattern: '(?=a)' }), 'REQUEST_UNSUPPORTED schema.pattern'],
    [schema({ type: 'string', pattern: '[' }), 'REQUEST_INVALID schema.pattern'],
    [schema({ type: 'string', format: 'iri' }), 'REQUEST_UNSUPPORTED schema.format'],
    [schema({ type: 'array', uniqueItems: true }), 'REQUEST_UNSUPPORTED schema.uniqueItems'],
    [schema({ oneOf: [{ type: 'integer' }, { type: 'number' }] }), 'REQUEST_UNSUPPORTED schema.oneOf.1'],
    [schema({ type: 'integer', minimum: 3, maximum: 2 }), 'REQUEST_INVALID schema'],
    [schema({ type: 'string', pattern: '^x.{1,900}y$' }), 'REQUEST_UNSUPPORTED schema.pattern'],
    [{ kind: 'regex', pattern: '(a|b)*a(a|b){30}' }, 'REQUEST_UNSUPPORTED pattern'],
    [{ kind: 'regex', pattern: '((a{1000}){1000}){1000}' }, 'REQUEST_UNSUPPORTED pattern'],
    [{ kind: 'grammar', grammar: 'root ::= "a' }, 'REQUEST_INVALID grammar'],
    [{ kind: 'grammar', grammar: 'root ::= b' }, 'REQUEST_INVALID grammar'],
  ] as const)('that answers cannot be held to are refused by path: %j', (constraint, said) => {
    expect(refusal(constraint)).toBe(said);
  });

  it('of any depth and size are refused before they are walked', () => {
    let deep: Json = {};
    for (let depth = 0; depth < 20_000; depth++) deep = { items: deep };
    expect(refusal(schema(deep))).toBe('REQUEST_INVALID schema');
    expect(refusal(schema({ enum: Array.from({ length: 20_000 }, (_, value) => value) }))).toBe(
      'REQUEST_INVALID schema',
    );
    const $defs = Object.fromEntries(
      Array.from({ length: 5_000 }, (_, at) => [at, { $ref: `#/$defs/${at + 1}` }]),
    );
    expect(refusal(schema({ $ref: '#/$defs/0', $defs }))).toBe('REQUEST_UNSUPPORTED schema.$ref');
  });
});
