import { describe, expect, it } from 'vitest';
import { bounds } from '../state/bounds.js';
import {
  afterEvent,
  type Answer,
  bodyOf,
  type Chat,
  emptyAnswer,
  markdownOf,
  openCalls,
  plainSettings,
  readChats,
  storedChats,
  titleOf,
} from './conversation.js';
import { htmlOf } from './markdown.js';

const chunk = (delta: object, more: object = {}): string =>
  JSON.stringify({ choices: [{ index: 0, delta, finish_reason: null, ...more }] });
const answerOf = (...events: string[]): Answer => events.reduce(afterEvent, emptyAnswer);
const chatOf = (messages: Chat['messages'], settings = {}): Chat => ({
  ...{ id: 'c', changedMs: 1, messages, settings: { ...plainSettings, ...settings } },
});

describe('an answer', () => {
  it('is put together from its stream', () => {
    const call = (index: number, piece: object, id?: string) =>
      chunk({ tool_calls: [{ index, ...(id === undefined ? {} : { id }), function: piece }] });
    const answer = answerOf(
      chunk({ role: 'assistant', content: '' }),
      chunk({ reasoning_content: 'Hm.' }),
      chunk(
        { content: 'Good ' },
        { logprobs: { content: [{ token: 'Good', logprob: -1, top_logprobs: [] }] } },
      ),
      chunk({ content: 'day' }),
      call(0, { name: 'one', arguments: '' }, 'a'),
      call(0, { arguments: '{"x":' }),
      call(0, { arguments: '1}' }),
      call(1, { name: 'two', arguments: '{}' }, 'b'),
      chunk({}, { finish_reason: 'tool_calls' }),
      JSON.stringify({ choices: [], usage: { prompt_tokens: 3, completion_tokens: 4 } }),
      '[DONE]',
    );
    expect(answer).toEqual({
      ...{ role: 'assistant', text: 'Good day', reasoning: 'Hm.' },
      toolCalls: [
        { id: 'a', name: 'one', arguments: '{"x":1}' },
        { id: 'b', name: 'two', arguments: '{}' },
      ],
      tokens: [{ token: 'Good', logprob: -1, top: [] }],
      usage: { promptTokens: 3, outputTokens: 4 },
      end: { kind: 'done', reason: 'tool_calls' },
    });
  });

  it('that fails in its midst has its error, and what came before', () => {
    const error = JSON.stringify({ error: { message: 'A worker is gone.', code: 'worker_lost', type: 'x' } });
    expect(answerOf(chunk({ content: 'Once' }), error)).toMatchObject({
      text: 'Once',
      end: { kind: 'failed', code: 'worker_lost', message: 'A worker is gone.' },
    });
  });

  it('has no end before it is told', () => {
    expect(answerOf(chunk({ content: 'Once' })).end).toBeNull();
  });
});

describe('a chat', () => {
  const answer = answerOf(chunk({ content: 'Hi' }), chunk({}, { finish_reason: 'stop' }));
  const calling: Answer = { ...answer, toolCalls: [{ id: 'a', name: 'one', arguments: '{}' }] };

  it('asks with what was set, and leaves the rest to the server', () => {
    expect(bodyOf(chatOf([{ role: 'user', text: 'Hello' }]))).toEqual({
      messages: [{ role: 'user', content: 'Hello' }],
      ...{ stream: true, stream_options: { include_usage: true } },
    });
    const settings = { model: 'm', system: 'Be kind.', temperature: '0', maxTokens: '5', hasLogprobs: true };
    expect(
      bodyOf(chatOf([], { ...settings, tools: '[{"type":"function"}]', more: '{"top_k":4}' })),
    ).toMatchObject({
      ...{ model: 'm', temperature: 0, top_k: 4, max_tokens: 5, logprobs: true, top_logprobs: 5 },
      messages: [{ role: 'system', content: 'Be kind.' }],
      tools: [{ type: 'function' }],
    });
    expect(() => bodyOf(chatOf([], { tools: 'none' }))).toThrow(SyntaxError);
  });

  it('knows the calls that wait for a result, and tells of those that have one', () => {
    const result = { role: 'tool', callId: 'a', name: 'one', text: '1' } as const;
    expect(openCalls([{ role: 'user', text: 'x' }, calling])).toEqual(calling.toolCalls);
    expect(openCalls([calling, result])).toEqual([]);
    expect(openCalls([{ role: 'user', text: 'x' }])).toEqual([]);
    expect(bodyOf(chatOf([calling, result])).messages).toEqual([
      {
        ...{ role: 'assistant', content: 'Hi' },
        tool_calls: [{ id: 'a', type: 'function', function: { name: 'one', arguments: '{}' } }],
      },
      { role: 'tool', tool_call_id: 'a', content: '1' },
    ]);
  });

  it('is called by its first words, and can be read elsewhere', () => {
    const chat = chatOf([{ role: 'user', text: ' Tell  me\nmore ' }, calling], { model: 'm' });
    expect([titleOf(chat), titleOf(chatOf([]))]).toEqual(['Tell me more', 'Empty chat']);
    expect(markdownOf(chat)).toBe(
      '# Tell me more\n\n## You\n\n Tell  me\nmore \n\n## m\n\nHi\n\nCalls one: `{}`\n',
    );
  });

  it('is kept without the probabilities of its tokens, and as cut where it was not at its end', () => {
    const chat = chatOf([
      { role: 'user', text: 'x' },
      { ...answer, end: null, tokens: [{ token: 'Hi', logprob: 0, top: [] }] },
    ]);
    expect(readChats(storedChats([chat, chatOf([])]))).toEqual([
      chatOf([
        { role: 'user', text: 'x' },
        { ...answer, end: { kind: 'cut' } },
      ]),
    ]);
    expect([readChats(null), readChats('no JSON'), readChats('[{"id":1}]'), readChats('3')]).toEqual([
      [],
      [],
      [],
      [],
    ]);
  });

  it('gives way to newer ones where there is no room', () => {
    const long = Array.from({ length: 4 }, (_, index) => ({
      ...chatOf([{ role: 'user', text: 'x'.repeat(bounds.chatCharactersMax / 3) }]),
      ...{ id: `c${index}`, changedMs: index },
    }));
    expect(readChats(storedChats(long)).map(({ id }) => id)).toEqual(['c3', 'c2']);
    const many = Array.from({ length: bounds.chatsMax + 5 }, () => chatOf([{ role: 'user', text: 'x' }]));
    expect(readChats(storedChats(many))).toHaveLength(bounds.chatsMax);
  });
});

describe('Markdown', () => {
  it('has no tags, images and styles of the model', () => {
    const html = htmlOf(
      '<script>x</script> **a** ![b](http://c/d.png) [e](javascript:f) [g](http://h)\n\n|i|j|\n|:-:|-|\n|k|l|',
    );
    expect(html).not.toMatch(/<script|<img|style=|href="javascript/);
    expect(html).toContain('<strong>a</strong>');
    expect(html).toContain('<a href="http://h" rel="noreferrer noopener" target="_blank">g</a>');
    expect(html).toContain('<th class="align-center">i</th>');
  });
});
