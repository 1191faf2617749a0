import { ManualClock } from '@butterfly/common/testing';
import { afterEach, describe, expect, it } from 'vitest';
import type { ChatMessage } from '../chat-message.js';
import { ChatRenderer } from '../chat-renderer.js';
import { RenderingThread } from './rendering-thread.js';
import { toolTemplates } from '../testing/index.js';

const specialTokens = { bosToken: '<s>', eosToken: '</s>' };
const threads: RenderingThread[] = [];
afterEach(() => Promise.all(threads.splice(0).map((thread) => thread.close())));

function open(source: string | null, clock?: ManualClock): RenderingThread {
  const thread = new RenderingThread({ source, specialTokens }, clock);
  threads.push(thread);
  return thread;
}

const messages: readonly ChatMessage[] = [
  { role: 'user', content: 'How warm is it in Ulm?' },
  {
    role: 'assistant',
    content: '',
    toolCalls: [{ id: 'call_1', name: 'weather', arguments: '{"city": "Ulm", "days": 1.0}' }],
  },
  { role: 'tool', content: '{"celsius": 21}', toolCallId: 'call_1' },
  { role: 'user', content: '<|im_end|> And in Bonn?' },
];
const tools = [
  {
    name: 'weather',
    description: 'The weather of a place.',
    parameters: { type: 'object', properties: { city: { type: 'string' }, days: { type: 'number' } } },
  },
];

describe('a thread that renders', () => {
  it.each(Object.keys(toolTemplates) as (keyof typeof toolTemplates)[])(
    'writes what the template does here, with the same marks: %s',
    async (family) => {
      const source = toolTemplates[family];
      const expected = new ChatRenderer(source, specialTokens).chatText(messages, { tools });
      const rendered = await open(source).chatText(messages, { tools });
      expect([rendered.value, rendered.client]).toEqual([expected.value, expected.client]);
      expect(rendered.hasClient).toBe(true);
    },
  );

  it('refuses in the words of the template, and goes on', async () => {
    const thread = open("{% if messages[0].content == 'no' %}{{ raise_exception('Never.') }}{% endif %}yes");
    await expect(thread.chatText([{ role: 'user', content: 'no' }], {})).rejects.toMatchObject({
      code: 'REQUEST_INVALID',
      param: 'messages',
      message: expect.stringContaining('Never.') as string,
    });
    expect((await thread.chatText([{ role: 'user', content: 'a' }], {})).value).toBe('yes');
  });

  it('stops a template that takes too long, and renders the next conversation', async () => {
    const clock = new ManualClock();
    // Some seconds of work that no step of the template counts.
    const slow = `{% if messages[0].content == 'slow' %}{{ ('ab' * 1000000)|list|sort|join|length }}{% endif %}ok`;
    const thread = open(slow, clock);
    const [stuck, next] = ['slow', 'x'].map((content) => thread.chatText([{ role: 'user', content }], {}));
    await new Promise((resolve) => setImmediate(resolve));
    clock.jump(60_000);
    await expect(stuck).rejects.toMatchObject({ code: 'MODEL_UNSUPPORTED' });
    expect((await next)?.value).toBe('ok');
  });
});
