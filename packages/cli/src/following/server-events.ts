import { ButterflyError, limits } from '@butterfly/common';

/** One of server-sent events. */
export interface ServerEvent {
  readonly kind: string;
  readonly data: string;
}

/**
 * Events of a stream, as the HTML standard has them, without ids and times to wait; comments are no events.
 * @throws ButterflyError PROTOCOL_INVALID for one that does not end
 */
export async function* serverEvents(body: AsyncIterable<Uint8Array>): AsyncGenerator<ServerEvent> {
  const decoder = new TextDecoder();
  let text = '';
  for await (const bytes of body) {
    text += decoder.decode(bytes, { stream: true });
    const blocks = text.split(/\r?\n\r?\n/u);
    text = blocks.pop() ?? '';
    if (text.length > limits.requestBodyBytesMax)
      throw new ButterflyError(
        'PROTOCOL_INVALID',
        'An event of the server does not end; is it a Butterfly server of this version?',
      );
    for (const block of blocks) {
      const event = parsed(block);
      if (event) yield event;
    }
  }
}

function parsed(block: string): ServerEvent | null {
  let kind = 'message';
  const data: string[] = [];
  for (const line of block.split(/\r?\n/u)) {
    const [, field, value = ''] = /^(\w+):? ?(.*)$/su.exec(line) ?? [];
    if (field === 'event') kind = value;
    if (field === 'data') data.push(value);
  }
  return data.length === 0 ? null : { kind, data: data.join('\n') };
}
