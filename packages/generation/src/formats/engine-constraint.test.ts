import { describe, expect, it } from 'vitest';
import type { ToolDefinition } from '../spec.js';
import { answerConstraint } from './call-constraint.js';
import { engineConstraint } from './engine-constraint.js';
import { plainSyntax, type AnswerSyntax } from './syntax.js';

const schema = { type: 'object', properties: { at: { type: 'integer' } }, required: ['at'] };
const look: ToolDefinition = { name: 'look', description: null, parameters: schema, isStrict: false };
const odd = { type: 'object', properties: { at: { type: 'integer', multipleOf: 3 } } };
const hermes: AnswerSyntax = {
  ...plainSyntax,
  reasoning: { begin: '<think>', end: '</think>' },
  calls: {
    kind: 'object',
    brackets: { begin: '<tool_call>', end: '</tool_call>' },
    tag: null,
    argumentsKey: 'arguments',
    opening: '\n',
    closing: '\n',
    separator: null,
  },
};
const surroundings = { isThinking: false, specialTokens: new Map<string, number>() };
const use = (tools: readonly ToolDefinition[], kind: 'auto' | 'required', isParallel = true) => ({
  tools,
  choice: { kind },
  isParallel,
});

describe('engineConstraint', () => {
  it('is nothing where nothing is wanted', () => {
    expect(engineConstraint(null, surroundings)).toBeUndefined();
    expect(
      engineConstraint(answerConstraint(hermes, use([], 'auto'), { kind: 'text' }), surroundings),
    ).toBeUndefined();
  });

  it('holds the whole answer to a form, or what comes behind the thoughts', () => {
    const wanted = answerConstraint(hermes, use([], 'auto'), { kind: 'schema', schema });
    expect(engineConstraint(wanted, surroundings)).toEqual({ kind: 'schema', schema });
    expect(engineConstraint(wanted, { ...surroundings, isThinking: true })).toMatchObject({
      kind: 'tags',
      triggers: [['</think>']],
      tags: [{ begin: ['</think>'], content: { kind: 'schema', schema }, end: [] }],
    });
  });

  it('holds calls to the schemas of their tools from where they begin', () => {
    const specialTokens = new Map([['<tool_call>', 7]]);
    const wanted = answerConstraint(hermes, use([look], 'auto', false), { kind: 'text' });
    expect(engineConstraint(wanted, { ...surroundings, specialTokens })).toEqual({
      kind: 'tags',
      tags: [
        {
          begin: [7, '\n{"name": "look", "arguments": '],
          content: { kind: 'schema', schema, isLenient: true },
          end: ['}\n</tool_call>'],
        },
      ],
      triggers: [[7]],
      atLeastOne: false,
      stopsAfterFirst: true,
    });
    const required = answerConstraint(hermes, use([look], 'required'), { kind: 'text' });
    expect(engineConstraint(required, surroundings)).toMatchObject({
      atLeastOne: true,
      stopsAfterFirst: false,
    });
  });

  it('says whether a schema that it cannot follow may be left aside', () => {
    const contentOf = (isStrict: boolean) =>
      engineConstraint(
        answerConstraint(hermes, use([{ ...look, parameters: odd, isStrict }], 'required'), { kind: 'text' }),
        surroundings,
      );
    expect(contentOf(false)).toMatchObject({ tags: [{ content: { isLenient: true } }] });
    expect(contentOf(true)).toMatchObject({
      tags: [{ content: { kind: 'schema', schema: odd, isLenient: false } }],
    });
  });

  it('holds answers to a form, or to calls instead, behind the thoughts where there are some', () => {
    const both = answerConstraint(hermes, use([look], 'auto'), { kind: 'json' });
    const tags = [{ begin: ['<tool_call>\n{"name": "look", "arguments": '] }];
    expect(engineConstraint(both, surroundings)).toMatchObject({
      kind: 'either',
      text: { kind: 'json' },
      tags,
      isRepeated: true,
      behind: null,
    });
    expect(engineConstraint(both, { ...surroundings, isThinking: true })).toMatchObject({
      kind: 'either',
      behind: ['</think>'],
    });
    const required = answerConstraint(hermes, use([look], 'required', false), { kind: 'json' });
    expect(engineConstraint(required, { ...surroundings, isThinking: true })).toMatchObject({
      kind: 'either',
      text: null,
      isRepeated: false,
      behind: ['</think>'],
    });
  });

  it('holds arguments between tags to their schemas', () => {
    const tagged: AnswerSyntax = {
      ...plainSyntax,
      calls: {
        kind: 'tagged',
        section: { begin: '<tool_call>', end: '</tool_call>' },
        beforeName: '<function=',
        afterName: '>',
        end: '</function>',
        beforeKey: '<parameter=',
        afterKey: ['>'],
        afterValue: '</parameter>',
        isOnOwnLine: true,
      },
    };
    const wanted = answerConstraint(tagged, use([look], 'required'), { kind: 'text' });
    expect(engineConstraint(wanted, surroundings)).toMatchObject({
      triggers: [['<tool_call>']],
      tags: [
        {
          begin: ['<tool_call>\n<function=look>\n'],
          content: {
            kind: 'tagged',
            schema,
            beforeKey: ['<parameter='],
            afterKey: [['>']],
            isOnOwnLine: true,
          },
          end: ['</function>\n</tool_call>'],
        },
      ],
    });
  });
});
