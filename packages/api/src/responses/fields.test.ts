import { ButterflyError } from '@butterfly/common';
import { describe, expect, it } from 'vitest';
import type { Field, Fields } from '../fields/field-kinds.js';
import { documentation, documentedRows } from '../testing/documentation.js';
import { responseFields } from './fields.js';
import { parseResponseRequest } from './parse.js';
import type { ResponseMemory } from './recall.js';

const fields: Fields = responseFields;
const memory: ResponseMemory = {
  conversation: () => [],
  item: () => {
    throw new Error('No item is named here.');
  },
  watcher: () => ({ begun: () => () => undefined, ended: () => undefined }),
};
const parse = (body: object) => parseResponseRequest({ input: 'Hi', ...body }, memory);

const ofKind = <K extends Field['kind']>(kind: K) =>
  Object.entries(fields).filter(
    (entry): entry is [string, Extract<Field, { kind: K }>] => entry[1].kind === kind,
  );

/** Something that each field without effect takes. */
const samples: Readonly<Record<string, unknown>> = {
  stream_options: { include_obfuscation: true },
  max_tool_calls: 3,
};

const codeOf = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    if (error instanceof ButterflyError) return `${error.code} ${error.param}`;
    throw error;
  }
  return 'taken';
};

describe('the fields of /v1/responses', () => {
  it('may all be null, but for the input', () => {
    for (const name of Object.keys(fields)) {
      const expected = name === 'input' ? 'REQUEST_INVALID input' : 'taken';
      expect([name, codeOf(() => parse({ [name]: null }))]).toEqual([name, expected]);
    }
  });

  it('without effect are let through, and named', () => {
    for (const [name] of ofKind('withoutEffect'))
      expect(parse({ [name]: samples[name] ?? 'any text' }).withoutEffect).toEqual([name]);
  });

  it('that are refused pass only with what asks for nothing, and are named then too', () => {
    for (const [name, { idle, instead }] of ofKind('refused')) {
      for (const json of idle)
        expect([name, parse({ [name]: JSON.parse(json) as unknown }).withoutEffect]).toEqual([name, [name]]);
      const asks = { [name]: { something: 'else' } };
      expect([name, codeOf(() => parse(asks))]).toEqual([name, `REQUEST_UNSUPPORTED ${name}`]);
      expect(() => parse(asks)).toThrow(instead ?? 'leave it out');
    }
  });
});

describe('docs/api.md, of responses,', () => {
  it('lists what is honoured, with its values', () => {
    const expected = ofKind('honoured').map(([name, { values, fallback }]) => [
      `\`${name}\``,
      values,
      fallback,
    ]);
    expect(documentedRows('responses option').sort()).toEqual(expected.sort());
  });

  it('lists what has no effect', () => {
    const [list = ''] = /^- Of responses: [^]*?(?=^- )/m.exec(documentation) ?? [];
    const named = [...list.matchAll(/`[a-z_]+`/g)].map(([name]) => name);
    expect(named.sort()).toEqual(
      ofKind('withoutEffect')
        .map(([name]) => `\`${name}\``)
        .sort(),
    );
  });

  it('lists what is refused, and with what it passes', () => {
    const expected = ofKind('refused').map(([name, { idle, instead }]) => [
      `\`${name}\``,
      idle.map((json) => `\`${json}\``).join(', '),
      instead ?? '',
    ]);
    expect(documentedRows('responses refused').sort()).toEqual(expected.sort());
  });
});
