import { createHash } from 'node:crypto';
import { createRandom } from '../random.js';
import { drawChat, type Turn } from './chat.js';
import { drawStory } from './story.js';

/** A text to learn: a story, or a chat. */
export type Document =
  | { readonly kind: 'story'; readonly text: string }
  | { readonly kind: 'chat'; readonly turns: readonly Turn[] };

export type Split = 'train' | 'heldOut';

/** One in so many stories is never trained on. */
const heldOutEvery = 20;
const chatShare = 0.3;

/**
 * To which part documents about these choices belong. A story's choices are its plot, hero, friend, place and thing;
 * so a held-out story is not one that was trained on in other words.
 */
export function splitOf(choices: string): Split {
  return createHash('sha256').update(choices).digest().readUInt32LE(0) % heldOutEvery === 0
    ? 'heldOut'
    : 'train';
}

/** An endless stream of documents of one part, the same for the same seed. */
export function* documents(split: Split, seed: number): Generator<Document, never> {
  const random = createRandom(`${split} ${seed}`);
  for (;;) {
    if (random.chance(chatShare)) {
      const { turns, choices } = drawChat(random);
      if (choices.split(' + ').every((part) => splitOf(part) === split)) yield { kind: 'chat', turns };
    } else {
      const { text, choices } = drawStory(random);
      if (splitOf(choices) === split) yield { kind: 'story', text };
    }
  }
}

/** Control tokens of the chat format. */
export const chatTokens = { user: '<|user|>', assistant: '<|assistant|>', end: '<|end|>' } as const;

/** As the model reads it, special tokens written out; the first `<s>` is the tokenizer's. */
export function rendered(document: Document): string {
  switch (document.kind) {
    case 'story':
      return `${document.text}</s>`;
    case 'chat':
      return document.turns
        .map(({ role, content }) => `${chatTokens[role]}${content}${chatTokens.end}`)
        .join('');
    default:
      return document satisfies never;
  }
}

/**
 * The same for `tokenizer.chat_template` in the model's metadata. The model knows no system messages, so what they say goes
 * before what the user says next, and is never lost.
 */
export const chatTemplate = [
  "{{ bos_token }}{% set ns = namespace(system='') %}{% for message in messages %}",
  "{% if message['role'] == 'assistant' %}<|assistant|>{{ message['content'] }}<|end|>",
  "{% elif message['role'] == 'user' %}<|user|>{{ ns.system + message['content'] }}<|end|>{% set ns.system = '' %}",
  "{% elif message['role'] == 'system' %}{% set ns.system = ns.system + message['content'] + '\\n\\n' %}",
  "{% else %}{{ raise_exception('Roles are system, user and assistant') }}{% endif %}{% endfor %}",
  '{% if ns.system %}<|user|>{{ ns.system | trim }}<|end|>{% endif %}',
  '{% if add_generation_prompt %}<|assistant|>{% endif %}',
].join('');
