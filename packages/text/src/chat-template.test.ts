import { ButterflyError } from '@butterfly/common';
import { describe, expect, it } from 'vitest';
import { ChatTemplate, defaultChatTemplate } from './chat-template.js';

const specialTokens = { bosToken: '<s>', eosToken: '</s>' };
const chatml =
  "{{ bos_token }}{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
const alternating =
  "{% for message in messages %}{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate user/assistant') }}{% endif %}{{ message.content }}{% endfor %}";

function errorOf(run: () => unknown): ButterflyError {
  try {
    run();
  } catch (error) {
    if (error instanceof ButterflyError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('ChatTemplate', () => {
  it('renders messages, special tokens and the generation prompt', () => {
    const template = new ChatTemplate(chatml, specialTokens);
    const messages = [
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'Hi 👋' },
    ];
    const text = '<s><|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi 👋<|im_end|>\n';
    expect(template.render(messages, { addGenerationPrompt: false })).toBe(text);
    expect(template.render(messages, { addGenerationPrompt: true })).toBe(`${text}<|im_start|>assistant\n`);
  });

  it('joins text parts', () => {
    const template = new ChatTemplate('{{ messages[0].content }}', specialTokens);
    const content = [
      { type: 'text', text: 'one ' },
      { type: 'text', text: 'two' },
    ];
    expect(template.render([{ role: 'user', content }], { addGenerationPrompt: true })).toBe('one two');
  });

  it('refuses parts that are not text, and text parts without text', () => {
    const template = new ChatTemplate(chatml, specialTokens);
    const render = (part: { type: string }) => () =>
      template.render([{ role: 'user', content: [part] }], { addGenerationPrompt: true });
    const image = errorOf(render({ type: 'image_url' }));
    expect([image.code, image.param]).toEqual(['REQUEST_UNSUPPORTED', 'messages.0.content.0.type']);
    expect(image.message).toContain('image_url');
    const empty = errorOf(render({ type: 'text' }));
    expect([empty.code, empty.param]).toEqual(['REQUEST_INVALID', 'messages.0.content.0.text']);
  });

  it("passes on the template's own refusal", () => {
    const template = new ChatTemplate(alternating, specialTokens);
    const error = errorOf(() =>
      template.render([{ role: 'assistant', content: 'x' }], { addGenerationPrompt: true }),
    );
    expect([error.code, error.param]).toEqual(['REQUEST_INVALID', 'messages']);
    expect(error.message).toContain('Roles must alternate user/assistant');
  });

  it('reports a template that does not parse as a fault of the model', () => {
    for (const source of ['{% if x %}', '{{ 3 ', '{% endfor %}'])
      expect(errorOf(() => new ChatTemplate(source, specialTokens)).code).toBe('MODEL_CORRUPT');
  });

  it('has a plain default', () => {
    const template = new ChatTemplate(defaultChatTemplate, { bosToken: '', eosToken: '' });
    const messages = [
      { role: 'system', content: 'Tell stories.\n' },
      { role: 'user', content: 'Once upon a time' },
    ];
    expect(template.render(messages, { addGenerationPrompt: true })).toBe(
      'System: Tell stories.\n\nUser: Once upon a time\n\nAssistant:',
    );
  });
});
