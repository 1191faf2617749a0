import { ButterflyError } from '@butterfly/common';
import { Text } from '@butterfly/python';
import type { PlacedMessage } from './call-arguments.js';

/** Stands at the end of what is continued while the template renders it; plain letters, which no template changes. */
const endMark = 'ButterflyContinuesHere4711';

/** What templates take off the front of an answer: the reasoning in it. */
const reasoningInContent = /^[^]*(?:<\/[\w:]*think>|\[\/THINK\]|◁\/think▷)/;

/**
 * The conversation with a mark at the end of its last message.
 * @throws ButterflyError REQUEST_INVALID where that is none that can be continued
 */
export function markedForContinuing(messages: readonly PlacedMessage[]): PlacedMessage[] {
  const last = messages.at(-1);
  const refuse = (why: string): ButterflyError =>
    new ButterflyError(
      'REQUEST_INVALID',
      `messages: only a last message of the assistant can be continued, ${why}.`,
      {
        param: 'messages',
      },
    );
  if (last?.role !== 'assistant') throw refuse('and the last one is not');
  if ((last.toolCalls ?? []).length > 0) throw refuse('without calls of tools');
  return messages.with(messages.length - 1, {
    ...last,
    content: Text.concat([last.content, Text.client(endMark)]),
  });
}

/**
 * The rendering up to the mark.
 * @throws ButterflyError REQUEST_UNSUPPORTED where the template does not write the last message as it is
 */
export function cutAtMark(rendered: Text, messages: readonly PlacedMessage[]): Text {
  const said = messages.at(-1)?.content.value ?? '';
  const end = rendered.value.lastIndexOf(endMark);
  const before = rendered.value.slice(0, Math.max(0, end));
  const isWhole = [said, said.replace(reasoningInContent, '')].some((text) =>
    before.endsWith(text.trimStart()),
  );
  if (end >= 0 && isWhole) return rendered.slice(0, end);
  throw new ButterflyError(
    'REQUEST_UNSUPPORTED',
    'messages: the chat template of this model does not write the last message so that it can be continued; end with a message of the user.',
    { param: 'messages' },
  );
}
