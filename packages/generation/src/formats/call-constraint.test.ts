import { PromptMaker } from '@butterfly/text';
import { markerVocabulary, type ToolFamilyName, toolTemplates } from '@butterfly/text/testing';
import { describe, expect, it } from 'vitest';
import { answerReader } from '../answer-reader.js';
import { callIds } from './call-ids.js';
import type { OutputEvent } from '../events.js';
import { type ToolUse, noTools } from '../spec.js';
import { tools } from '../testing/samples.js';
import { answerReading, modelSyntax } from './answer-reading.js';
import { answerConstraint } from './call-constraint.js';

const vocabulary = markerVocabulary([]);
const promptsOf = (family: ToolFamilyName) =>
  new PromptMaker({ vocabulary, chatTemplate: toolTemplates[family] });
const use = (more: Partial<ToolUse> = {}): ToolUse => ({
  tools,
  choice: { kind: 'auto' },
  isParallel: true,
  ...more,
});
const callsOf = (family: ToolFamilyName, toolUse: ToolUse) =>
  answerConstraint(modelSyntax({ prompts: promptsOf(family), vocabulary }).syntax, toolUse, { kind: 'text' })
    ?.calls ?? null;
const families = Object.keys(toolTemplates) as ToolFamilyName[];

describe('answerConstraint', () => {
  it.each(families)('has calls of %s that the parser of the family reads', (family) => {
    const prompts = promptsOf(family);
    const calls = callsOf(family, use());
    if (calls === null) throw new Error('nothing may be called');
    const [get, now] = calls.forms;
    const written = calls.isRepeated ? [get, now] : [get];
    const { section, separator } = calls;
    const body = written.map((form) => {
      const isJson = form?.arguments.kind === 'json';
      return `${form?.begin}${isJson ? '{}' : ''}${form?.end}`;
    });
    const answer = section.begin + body.join(separator) + section.end;
    expect(answer.startsWith(calls.trigger)).toBe(true);
    const events: OutputEvent[] = [];
    const input = {
      kind: 'chat',
      messages: [{ role: 'user', content: 'Hi' }],
      toolUse: use(),
      templateValues: {},
      continuesLast: false,
    } as const;
    const reader = answerReader({
      choice: 0,
      newCallId: callIds(undefined, 0),
      vocabulary,
      stops: [],
      sink: (event) => events.push(event),
      reading: answerReading({ prompts, vocabulary }, input, ''),
    });
    for (const byte of Buffer.from(answer)) reader.push(byte);
    reader.end();
    const names = events.flatMap((event) => (event.kind === 'toolStart' ? [event.name] : []));
    expect(names).toEqual(written.map((form) => form?.name));
    const texts = events.flatMap((event) => (event.kind === 'text' ? [event.text] : []));
    expect(texts.join('')).toBe('');
    const given = events.flatMap((event) => (event.kind === 'toolArguments' ? [event.text] : []));
    expect(given.join('')).toBe('{}'.repeat(written.length));
  });

  it('says what must be called, and how often', () => {
    expect(callsOf('hermes', use())).toMatchObject({
      isRequired: false,
      isRepeated: true,
      trigger: '<tool_call>',
    });
    expect(callsOf('hermes', use({ choice: { kind: 'required' }, isParallel: false }))).toMatchObject({
      isRequired: true,
      isRepeated: false,
    });
    const named = callsOf('hermes', use({ choice: { kind: 'named', names: ['now'], isRequired: true } }));
    expect(named?.isRequired).toBe(true);
    expect(named?.forms.map(({ name }) => name)).toEqual(['now']);
    expect(callsOf('hermes', use({ choice: { kind: 'none' } }))).toBeNull();
  });

  it('is none where the answer is free, and the format alone where nothing can be called', () => {
    const { syntax } = modelSyntax({ prompts: promptsOf('hermes'), vocabulary });
    expect(answerConstraint(syntax, noTools, { kind: 'text' })).toBeNull();
    expect(answerConstraint(syntax, noTools, { kind: 'json' })).toEqual({
      reasoning: { begin: '<think>', end: '</think>' },
      format: { kind: 'json' },
      calls: null,
    });
  });

  it('holds arguments to the schema of the tool, and to none where it has none', () => {
    const bare = { name: 'bare', description: null, parameters: null, isStrict: false };
    const calls = callsOf('hermes', use({ tools: [...tools, bare] }));
    expect(calls?.forms[0]).toEqual({
      name: 'get_weather',
      isStrict: false,
      begin: '<tool_call>\n{"name": "get_weather", "arguments": ',
      arguments: { kind: 'json', schema: tools[0]?.parameters },
      end: '}\n</tool_call>',
    });
    expect(calls?.forms[2]?.arguments).toEqual({
      kind: 'json',
      schema: { type: 'object', properties: {}, additionalProperties: false },
    });
  });
});
