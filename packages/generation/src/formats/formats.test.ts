import { markerVocabulary, type ToolFamilyName, toolTemplates } from '@butterfly/text/testing';
import { PromptMaker } from '@butterfly/text';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { answerReader } from '../answer-reader.js';
import { callIds } from './call-ids.js';
import type { OutputEvent } from '../events.js';
import { type ChatInput, noTools } from '../spec.js';
import { type Sample, bern, markers, samples, splitMarkers, tools } from '../testing/samples.js';
import { answerReading } from './answer-reading.js';

/** Markers as tokens, and a vocabulary that spells them. */
const vocabularies = { tokens: markerVocabulary(markers), text: markerVocabulary([]) };
type Kind = keyof typeof vocabularies;

interface Parts {
  readonly text: string;
  readonly reasoning: string;
  readonly calls: readonly (readonly [name: string, args: string])[];
  readonly ids: readonly string[];
}

interface Reading {
  readonly family: ToolFamilyName;
  readonly kind?: Kind;
  readonly input?: Partial<ChatInput>;
  readonly stops?: readonly string[];
  readonly prompt?: string;
}

const made = new Map<string, PromptMaker>();

/** Each template is tried once. */
function promptsOf(family: ToolFamilyName, kind: Kind): PromptMaker {
  const key = `${kind} ${family}`;
  const found = made.get(key);
  if (found !== undefined) return found;
  const prompts = new PromptMaker({
    vocabulary: vocabularies[kind],
    chatTemplate: toolTemplates[family],
  });
  made.set(key, prompts);
  return prompts;
}

/** What is made of an answer that comes in these pieces. */
function read(
  { family, kind = 'tokens', input = {}, stops = [], prompt = '' }: Reading,
  pieces: readonly string[],
): Parts {
  const vocabulary = vocabularies[kind];
  const prompts = promptsOf(family, kind);
  const chat: ChatInput = {
    kind: 'chat',
    messages: [{ role: 'user', content: 'Hi' }],
    toolUse: { tools, choice: { kind: 'auto' }, isParallel: true },
    templateValues: {},
    continuesLast: false,
    ...input,
  };
  const events: OutputEvent[] = [];
  const reader = answerReader({
    choice: 0,
    newCallId: callIds(undefined, 0),
    // Pieces are tokens, beside those of markers.
    vocabulary: {
      ...vocabulary,
      tokenToBytes: (token, options) =>
        token >= 100_000
          ? Buffer.from(pieces[token - 100_000] ?? '')
          : vocabulary.tokenToBytes(token, options),
    },
    stops,
    sink: (event) => events.push(event),
    reading: answerReading({ prompts, vocabulary }, chat, prompt),
  });
  const special = new Map(vocabulary.specialTokens.map(({ text, token }) => [text, token]));
  for (const [index, piece] of pieces.entries())
    if (!reader.isOver) reader.push(special.get(piece) ?? 100_000 + index);
  if (!reader.isOver) reader.end();
  return partsOf(events);
}

function partsOf(events: readonly OutputEvent[]): Parts {
  const calls: [string, string][] = [];
  const ids: string[] = [];
  let [text, reasoning] = ['', ''];
  for (const event of events) {
    if (event.kind === 'text') text += event.text;
    if (event.kind === 'reasoning') reasoning += event.text;
    if (event.kind === 'toolStart') {
      expect(event.call).toBe(calls.length);
      calls.push([event.name, '']);
      ids.push(event.id);
    }
    if (event.kind === 'toolArguments') {
      const call = calls[event.call];
      if (call) call[1] += event.text;
    }
  }
  return { text, reasoning, calls, ids };
}

const thinksAtOnce: Partial<Record<ToolFamilyName, string>> = {
  deepseekR1: '<think>\n',
  minimax: '<think>\n',
};
const readingOf = ({ family }: Sample, kind: Kind): Reading => ({
  family,
  kind,
  prompt: thinksAtOnce[family] ?? '',
});
const wholeOf = ({ text = '', reasoning = '', calls = [] }: Sample) => ({ text, reasoning, calls });

describe('answers of the families', () => {
  it.each(samples.map((sample) => [sample.family, sample.answer, sample] as const))(
    'of %s come apart: %s',
    (_, answer, sample) => {
      for (const kind of ['tokens', 'text'] as const) {
        const pieces = kind === 'tokens' ? splitMarkers(answer) : Array.from(answer);
        expect([kind, read(readingOf(sample, kind), pieces)]).toMatchObject([kind, wholeOf(sample)]);
      }
    },
  );

  it('do so however they were cut into tokens', () => {
    const cuts = fc.array(fc.nat(), { maxLength: 20 });
    const cutUp = (text: string, places: readonly number[]): string[] => {
      const at = [0, ...places.map((place) => place % (text.length + 1)).sort((a, b) => a - b), text.length];
      return at.slice(1).map((end, index) => text.slice(at[index], end));
    };
    fc.assert(
      fc.property(
        fc.constantFrom(...samples),
        fc.constantFrom('tokens', 'text'),
        cuts,
        fc.nat(),
        (sample, kind, places, end) => {
          // Half of the answers break off somewhere.
          const answer =
            end % 2 === 0 ? sample.answer : sample.answer.slice(0, (end >> 1) % sample.answer.length);
          const parts = kind === 'tokens' ? splitMarkers(answer) : [answer];
          const whole = read(readingOf(sample, kind), parts);
          const pieces = parts.flatMap((part) =>
            markers.includes(part) && kind === 'tokens' ? [part] : cutUp(part, places),
          );
          const { ids, ...again } = read(readingOf(sample, kind), pieces);
          expect(ids).toHaveLength(whole.ids.length);
          expect({ ...whole, ids: [] }).toEqual({ ...again, ids: [] });
        },
      ),
      { numRuns: 1500 },
    );
  });

  it('lose and double nothing, whatever they are', () => {
    const words = [
      '{',
      '}',
      '"',
      ':',
      ',',
      'name',
      'arguments',
      ' ',
      '\n',
      'x',
      '[',
      ']',
      '>',
      '"name": "now", "arguments": {}',
    ];
    const few = fc.array(fc.constantFrom(...words, '<tool_call>', '</tool_call>', '<function=', '<think>'), {
      maxLength: 12,
    });
    fc.assert(
      fc.property(
        fc.constantFrom('hermes', 'qwenCoder', 'mistralArgs', 'kimi', 'llama3', 'glm'),
        few,
        (family, pieces) => {
          const { text, reasoning, calls } = read({ family, kind: 'text' }, pieces);
          if (calls.length > 0 || reasoning !== '') return;
          const bare = (string: string): string => string.replace(/<think>|\s/g, '');
          expect(bare(text)).toBe(bare(pieces.join('')));
        },
      ),
      { numRuns: 1000 },
    );
  });

  it('have ids of OpenAI, or those that the model gave', () => {
    const idsOf = (family: ToolFamilyName) =>
      samples
        .filter((sample) => sample.family === family)
        .flatMap((sample) => read(readingOf(sample, 'tokens'), splitMarkers(sample.answer)).ids);
    expect(idsOf('kimi')).toEqual(['functions.get_weather:0', 'functions.now:1']);
    expect(idsOf('mistralArgs')[1]).toBe('abcdefghi');
    for (const id of idsOf('hermes')) expect(id).toMatch(/^call_[a-zA-Z0-9]{24}$/);
  });

  it('are text where there is nothing to call, or a marker is only spelt', () => {
    const answer = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>';
    const none = read({ family: 'hermes', kind: 'text', input: { toolUse: noTools } }, [answer]);
    expect(none).toMatchObject({ text: answer, calls: [] });
    const spelt = read({ family: 'hermes', kind: 'tokens' }, Array.from(answer));
    expect(spelt).toMatchObject({ text: answer, calls: [] });
    const think = read({ family: 'hermes', kind: 'text' }, Array.from('The tag <think> begins it.'));
    expect(think).toMatchObject({ text: 'The tag <think> begins it.', reasoning: '' });
  });

  it('give out what looks like a call and is none', () => {
    for (const [family, answer] of [
      ['hermes', '<tool_call> is a marker.'],
      ['hermes', '<tool_call>\n{"name": 5}\n</tool_call>'],
      ['hermes', '<tool_call>\n{"name": "now", "argu'],
      ['qwenCoder', '<tool_call>\n<function get>'],
      ['mistralArgs', '[TOOL_CALLS]now and then'],
      ['mistralList', '[TOOL_CALLS]now'],
      ['kimi', '<|tool_calls_section_begin|>none'],
      ['deepseekV31', '<｜tool▁call▁begin｜>now<｜tool▁sep｜>never'],
    ] as const)
      expect(read({ family, kind: 'text' }, Array.from(answer))).toMatchObject({ text: answer, calls: [] });
  });

  it('begin in reasoning where the prompt ends in it', () => {
    const pieces = ['Hm.', '</think>', '\n\nYes.'];
    for (const prompt of ['<｜Assistant｜><think>\n', 'x<think>'])
      expect(read({ family: 'deepseekR1', prompt }, pieces)).toMatchObject({
        reasoning: 'Hm.',
        text: 'Yes.',
      });
    const messages = [{ role: 'assistant', content: '<think>\nOnce' }];
    const continued = { messages, continuesLast: true };
    expect(read({ family: 'hermes', input: continued, prompt: '<think>\nOnce' }, pieces)).toMatchObject({
      reasoning: 'Hm.',
    });
    expect(read({ family: 'harmony', input: { continuesLast: true } }, ['on', '<|return|>'])).toMatchObject({
      text: 'on',
    });
  });

  it('end at a stop text of theirs alone', () => {
    const answer = ['<think>', 'STOP', '</think>', 'One ', 'ST', 'OP two'];
    expect(read({ family: 'hermes', stops: ['STOP'] }, answer)).toMatchObject({
      reasoning: 'STOP',
      text: 'One ',
    });
  });

  it('end behind the first call where there may be one alone', () => {
    const [sample] = samples;
    const toolUse = { tools, choice: { kind: 'auto' }, isParallel: false } as const;
    const parts = read({ family: 'hermes', input: { toolUse } }, splitMarkers(sample?.answer ?? ''));
    expect(parts.calls).toEqual([['get_weather', bern]]);
  });
});
