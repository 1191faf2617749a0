import { ButterflyError } from '@butterfly/common';
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
          content: { kind: 'schema', schema },
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

  it('leaves a schema that it cannot follow aside, or refuses it where that was asked for', () => {
    const contentOf = (isStrict: boolean) =>
      engineConstraint(
        answerConstraint(hermes, use([{ ...look, parameters: odd, isStrict }], 'required'), { kind: 'text' }),
        surroundings,
      );
    expect(contentOf(false)).toMatchObject({ tags: [{ content: { kind: 'json' } }] });
    // The engine refuses it, with the path.
    expect(contentOf(true)).toMatchObject({ tags: [{ content: { kind: 'schema', schema: odd } }] });
  });

  it('refuses what cannot be held together', () => {
    const both = answerConstraint(hermes, use([look], 'auto'), { kind: 'json' });
    expect(() => engineConstraint(both, surroundings)).toThrow(ButterflyError);
  });

  it('holds arguments between tags to their names', () => {
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
          content: { kind: 'grammar', grammar: expect.stringContaining('name ::= "at"') as string },
          end: ['</function>\n</tool_call>'],
        },
      ],
    });
  });
});
