import { systemClock } from '@butterfly/common';
import { ConstraintHost, constraintGrammar } from '@butterfly/constraint';
import { byteVocabulary, randomAnswer, randomFrom } from '@butterfly/constraint/testing';
import { PromptMaker } from '@butterfly/text';
import { markerVocabulary, type ToolFamilyName, toolTemplates } from '@butterfly/text/testing';
import { afterAll, describe, expect, it } from 'vitest';
import { answerReader } from '../answer-reader.js';
import { callIds } from './call-ids.js';
import type { ToolUse } from '../spec.js';
import { answerReading, modelSyntax } from './answer-reading.js';
import { answerConstraint } from './call-constraint.js';
import { engineConstraint } from './engine-constraint.js';

const parameters = {
  type: 'object',
  properties: {
    text: { type: 'string' },
    maybe: { type: ['string', 'null'] },
    word: { enum: ['on', 'off'] },
    count: { type: 'integer', minimum: 1, maximum: 12 },
    flags: { type: 'array', items: { type: 'boolean' }, maxItems: 2 },
  },
  required: ['text', 'maybe', 'word', 'count', 'flags'],
};
const toolUse: ToolUse = {
  tools: [{ name: 'set', description: null, parameters, isStrict: true }],
  choice: { kind: 'required' },
  isParallel: false,
};
const vocabulary = markerVocabulary([]);
const families = (Object.keys(toolTemplates) as ToolFamilyName[]).filter((family) => {
  const prompts = new PromptMaker({ vocabulary, chatTemplate: toolTemplates[family] });
  return modelSyntax({ prompts, vocabulary }).syntax.calls?.kind === 'tagged';
});

/** The arguments of the one call in an answer, as the parser reads them. */
function argumentsIn(family: ToolFamilyName, answer: string): unknown {
  const prompts = new PromptMaker({ vocabulary, chatTemplate: toolTemplates[family] });
  const messages = [{ role: 'user', content: 'Hi' }];
  const input = { kind: 'chat', messages, toolUse, templateValues: {}, continuesLast: false } as const;
  const given: string[] = [];
  const reader = answerReader({
    choice: 0,
    newCallId: callIds(undefined, 0),
    vocabulary,
    stops: [],
    sink: (event) => {
      if (event.kind === 'toolArguments') given.push(event.text);
      if (event.kind === 'text') expect(event.text).toBe('');
    },
    reading: answerReading({ prompts, vocabulary }, input, ''),
  });
  for (const byte of Buffer.from(answer)) reader.push(byte);
  reader.end();
  return JSON.parse(given.join(''));
}

describe.each(families)('arguments between the tags of %s', (family) => {
  const host = new ConstraintHost(systemClock);
  const table = byteVocabulary(['</parameter>', '</arg_value>', '\n</parameter>', '\n</parameter>\n']);
  host.use(table);
  afterAll(() => host.close());

  it('are read back as valid ones, whatever tokens come of those that may', async () => {
    const prompts = new PromptMaker({ vocabulary, chatTemplate: toolTemplates[family] });
    const { syntax } = modelSyntax({ prompts, vocabulary });
    const wanted = answerConstraint(syntax, toolUse, { kind: 'text' });
    const constraint = engineConstraint(wanted, { isThinking: false, specialTokens: new Map() });
    if (constraint === undefined) throw new Error('nothing is held to');
    await host.prepare(1, constraintGrammar(constraint));
    const random = randomFrom(7);
    let ended = 0;
    for (let tries = 0; tries < 3; tries++) {
      const answer = await randomAnswer(host, 1, table, { random, tokensMax: 2_000 });
      if (answer === null) continue;
      ended++;
      const given = argumentsIn(family, answer) as Record<string, unknown>;
      expect(Object.keys(given), answer).toEqual(parameters.required);
      expect(given.text, answer).toBeTypeOf('string');
      expect([null, expect.any(String)], answer).toContainEqual(given.maybe);
      expect(['on', 'off'], answer).toContain(given.word);
      expect(given.count, answer).toBeOneOf(Array.from({ length: 12 }, (_, index) => index + 1));
      expect(given.flags, answer).toBeInstanceOf(Array);
    }
    expect(ended).toBeGreaterThan(0);
  });
});
