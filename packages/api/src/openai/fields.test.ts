import { ButterflyError, limits } from '@butterfly/common';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { messageFields } from './chat-messages.js';
import type { Field, Fields } from '../fields/field-kinds.js';
import { chatFields, textFields } from './fields.js';
import { parseChatRequest, parseTextRequest } from './parse.js';
import { say, startApi, type TestApi } from '../testing/api.js';
import { documentation, documentedRows } from '../testing/documentation.js';

const messages = [{ role: 'user', content: 'Hi' }];
const endpoints = [
  { path: '/v1/chat/completions', fields: chatFields as Fields, base: { messages }, parse: parseChatRequest },
  { path: '/v1/completions', fields: textFields as Fields, base: { prompt: 'Hi' }, parse: parseTextRequest },
];

const ofKind = <K extends Field['kind']>(fields: Fields, kind: K) =>
  Object.entries(fields).filter(
    (entry): entry is [string, Extract<Field, { kind: K }>] => entry[1].kind === kind,
  );

/** Something that each field without effect takes. */
const samples: Readonly<Record<string, unknown>> = { metadata: { a: 'b' }, store: true, cache_prompt: false };

const codeOf = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    if (error instanceof ButterflyError) return `${error.code} ${error.param}`;
    throw error;
  }
  return 'taken';
};

describe.each(endpoints)('the fields of $path', ({ fields, base, parse }) => {
  it('may all be null, but for what it continues', () => {
    for (const name of Object.keys(fields)) {
      const isRequired = Object.hasOwn(base, name);
      const body = { ...base, [name]: null };
      expect([name, codeOf(() => parse(body))]).toEqual([
        name,
        isRequired ? `REQUEST_INVALID ${name}` : 'taken',
      ]);
      if (!isRequired) expect(parse(body).withoutEffect).toEqual([]);
    }
  });

  it('without effect are let through, and named', () => {
    for (const [name] of ofKind(fields, 'withoutEffect')) {
      const given = parse({ ...base, [name]: samples[name] ?? 'any text' });
      expect(given.withoutEffect).toEqual([name]);
    }
  });

  it('that are refused pass only with what asks for nothing, and are named then too', () => {
    for (const [name, { idle, instead }] of ofKind(fields, 'refused')) {
      for (const json of idle) {
        const body = { ...base, [name]: JSON.parse(json) as unknown };
        expect([name, parse(body).withoutEffect]).toEqual([name, [name]]);
      }
      const asks = { ...base, [name]: { something: 'else' } };
      expect([name, codeOf(() => parse(asks))]).toEqual([name, `REQUEST_UNSUPPORTED ${name}`]);
      expect(() => parse(asks)).toThrow(instead ?? 'leave it out');
    }
  });

  it('that nobody knows are refused by name', () => {
    expect(codeOf(() => parse({ ...base, best_friend: null }))).toBe('REQUEST_UNSUPPORTED best_friend');
  });
});

/** The fields of a kind with the endpoints that have them so, in the words of the documentation. */
function fieldsOf(kind: Field['kind']): { name: string; field: Field; where: string }[] {
  const [chats, texts] = [chatFields as Fields, textFields as Fields];
  const names = new Set([...ofKind(chats, kind), ...ofKind(texts, kind)].map(([name]) => name));
  return [...names].flatMap((name) => {
    const rows = [
      { name, field: chats[name], where: chats[name] === texts[name] ? 'both' : 'chats' },
      { name, field: chats[name] === texts[name] ? undefined : texts[name], where: 'completions' },
    ];
    return rows.flatMap(({ field, where }) => (field?.kind === kind ? [{ name, field, where }] : []));
  });
}

describe('docs/api.md', () => {
  it('lists what is honoured, with its values', () => {
    const expected = fieldsOf('honoured').flatMap(({ name, field, where }) =>
      field.kind === 'honoured' ? [[`\`${name}\``, where, field.values, field.fallback]] : [],
    );
    expect(documentedRows('option').sort()).toEqual(expected.sort());
  });

  it('lists what has no effect', () => {
    const expected = fieldsOf('withoutEffect').map(({ name }) => `\`${name}\``);
    const [list = ''] = /^- Of the request: [^]*?(?=^- )/m.exec(documentation) ?? [];
    expect([...list.matchAll(/`[a-z_]+`/g)].map(([name]) => name).sort()).toEqual(expected.sort());
  });

  it('lists what is refused, and with what it passes', () => {
    const row = (name: string, field: Field, where: string) =>
      field.kind === 'refused'
        ? [[`\`${name}\``, where, field.idle.map((json) => `\`${json}\``).join(', '), field.instead ?? '']]
        : [];
    const expected = [
      ...fieldsOf('refused').flatMap(({ name, field, where }) => row(name, field, where)),
      ...Object.entries(messageFields as Fields).flatMap(([name, field]) => row(name, field, 'messages')),
    ];
    expect(documentedRows('refused').sort()).toEqual(expected.sort());
  });
});

describe('the header that names fields without effect', () => {
  let api: TestApi;
  beforeAll(async () => {
    api = await startApi();
  });
  afterAll(() => api[Symbol.asyncDispose]());
  const named = async (fields: object) => {
    const response = await api.post('/v1/chat/completions', { messages, ...fields });
    const text = await response.text();
    expect([response.status, text]).toEqual([200, text]);
    return response.headers.get('x-butterfly-no-effect');
  };

  it('is absent where there are none', async () => {
    expect(await named({ temperature: 0, user: null, store: null, stop: '' })).toBeNull();
  });

  it('names those of the request, streaming or not', async () => {
    const idle = { store: true, user: 'me', verbosity: 'medium', prompt_cache_key: 'k' };
    for (const stream of [false, true])
      expect((await named({ ...idle, stream }))?.split(', ').sort()).toEqual(Object.keys(idle).sort());
    expect(await named({ stream_options: { include_usage: true } })).toBe('stream_options');
    const obfuscated = { stream: true, stream_options: { include_obfuscation: true, include_usage: true } };
    expect(await named(obfuscated)).toBe('stream_options.include_obfuscation');
  });

  it('names those of messages and their parts, which never reach the template', async () => {
    const part = { type: 'text', text: 'Hi', cache_control: { type: 'ephemeral' } };
    const talk = [
      { role: 'user', content: [part], id: 'msg_1', opts: {} },
      { role: 'assistant', content: 'Yes', reasoning_content: 'Hm.', tool_calls: [], id: 'msg_2' },
    ];
    expect((await named({ messages: talk }))?.split(', ').sort()).toEqual([
      'messages[].content[].cache_control',
      'messages[].id',
      'messages[].opts',
    ]);
    const [, ...tokens] = api.engine.requests.at(-1)?.promptTokens ?? [];
    expect(tokens).toEqual(say('user=Hi|assistant=Yes|'));
  });

  it('is short and plain, whatever the names are', async () => {
    const strange = ['a\r\nset-cookie: x', 'ü', '\u0000', '', 'x'.repeat(5000)];
    const many = Array.from({ length: 500 }, (_, at) => `field_${at}`);
    const others = (names: string[]) => Object.fromEntries(names.map((name) => [name, 1]));
    const message = { role: 'user', content: 'Hi' };
    expect(await named({ messages: [{ ...message, ...others(strange) }] })).toBe('messages[].(another)');
    const header = (await named({ messages: [{ ...message, ...others(many) }] })) ?? '';
    expect(header).toMatch(/^messages\[\]\.field_0, .*, \.\.\.$/);
    expect(header.split(', ')).toHaveLength(limits.fieldsReportedMax + 1);
  });
});
