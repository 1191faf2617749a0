import { ButterflyError } from '@butterfly/common';
import { beforeEach, describe, expect, it } from 'vitest';
import { type Item, outputText, type ResponseObject, type ResponseStatus } from './items.js';
import { ResponseStore, type StoreBounds } from './response-store.js';

const roomy: StoreBounds = {
  entriesMax: 100,
  bytesMax: 1_000_000,
  conversationBytesMax: 1_000_000,
  ageMsMax: 1000,
};
let nowMs = 0;
let store: ResponseStore;
beforeEach(() => {
  nowMs = 0;
  store = new ResponseStore(roomy, () => nowMs);
});

const asked = (text: string): Item => ({
  type: 'message',
  id: `in_${text}`,
  role: 'user',
  status: 'completed',
  content: [{ type: 'input_text', text }],
});

/** Keeps a response that answers its own id. */
function keep(id: string, previousId: string | null = null, status: ResponseStatus = 'completed'): void {
  const output = [
    {
      type: 'message',
      id: `out_${id}`,
      role: 'assistant',
      status: 'completed',
      content: [outputText(id)],
    } as const,
  ];
  const response: ResponseObject = { id, status, output, previous_response_id: previousId };
  store.put({ id, status, previousId, input: [asked(id)], response });
}

const idsOf = (items: readonly Item[]) => items.map(({ id }) => id);
const kept = (...ids: string[]) => ids.filter((id) => store.response(id) !== null);

function refusal(run: () => unknown): [code: string, message: string] {
  try {
    run();
  } catch (error) {
    if (error instanceof ButterflyError) return [error.code, error.message];
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('a store of responses', () => {
  it('gives back what was put, as a copy', () => {
    keep('a');
    expect(store.response('a')).toMatchObject({ id: 'a', status: 'completed' });
    expect(idsOf(store.input('a') ?? [])).toEqual(['in_a']);
    expect(store.response('a')).not.toBe(store.response('a'));
    expect([store.response('b'), store.input('b'), store.item('out_b')]).toEqual([null, null, null]);
  });

  it('finds the items of answers', () => {
    keep('a');
    expect(store.item('out_a')).toMatchObject({ type: 'message', content: [{ text: 'a' }] });
    expect(store.item('in_a')).toBeNull();
    store.delete('a');
    expect(store.item('out_a')).toBeNull();
  });

  it('joins what continues each other', () => {
    keep('a');
    keep('b', 'a');
    keep('other', 'a');
    keep('c', 'b');
    expect(idsOf(store.conversation('c', 'p'))).toEqual(['in_a', 'out_a', 'in_b', 'out_b', 'in_c', 'out_c']);
  });

  it('says what is missing of a conversation', () => {
    keep('a');
    keep('b', 'a');
    store.delete('a');
    expect(refusal(() => store.conversation('b', 'p'))).toEqual([
      'NOT_FOUND',
      expect.stringContaining('"a", which "b" continues, is not kept') as string,
    ]);
    expect(refusal(() => store.conversation('x', 'p'))[1]).toContain('response "x" is not kept');
  });

  it.each(['failed', 'cancelled'] as const)('continues nothing that is %s', (status) => {
    keep('a', null, status);
    expect(refusal(() => store.conversation('a', 'p'))).toEqual([
      'REQUEST_INVALID',
      expect.stringContaining(`is ${status}`) as string,
    ]);
  });

  it('joins no more than any context holds', () => {
    keep('a');
    store = new ResponseStore({ ...roomy, conversationBytesMax: store.bytes }, () => nowMs);
    keep('a');
    keep('b', 'a');
    expect(store.conversation('a', 'p')).toHaveLength(2);
    expect(refusal(() => store.conversation('b', 'p'))).toEqual([
      'REQUEST_TOO_LARGE',
      expect.stringContaining('begin a new one') as string,
    ]);
  });

  it('drops what was not asked for the longest when there are too many', () => {
    store = new ResponseStore({ ...roomy, entriesMax: 3 }, () => nowMs);
    for (const id of ['a', 'b', 'c']) keep(id);
    store.response('a');
    keep('d');
    expect(store.size).toBe(3);
    expect(kept('a', 'b', 'c', 'd')).toEqual(['a', 'c', 'd']);
  });

  it('drops the branches of a conversation before its root', () => {
    store = new ResponseStore({ ...roomy, entriesMax: 3 }, () => nowMs);
    keep('a');
    keep('b', 'a');
    keep('c', 'b');
    keep('d');
    expect(kept('a', 'b', 'c', 'd')).toEqual(['a', 'b', 'd']);
  });

  it('holds no more bytes than it may, and counts them', () => {
    keep('a');
    const each = store.bytes;
    store = new ResponseStore({ ...roomy, bytesMax: 2 * each }, () => nowMs);
    for (const id of ['a', 'b', 'c']) keep(id);
    expect([store.bytes, store.size]).toEqual([2 * each, 2]);
    for (const id of ['b', 'c']) store.delete(id);
    expect(store.bytes).toBe(0);
  });

  it('keeps nothing that is larger than it', () => {
    store = new ResponseStore({ ...roomy, bytesMax: 10 }, () => nowMs);
    keep('a');
    expect([store.size, store.bytes, store.item('out_a')]).toEqual([0, 0, null]);
  });

  it('drops what nobody asked for in time', () => {
    keep('a');
    nowMs = 600;
    keep('b');
    nowMs = 1001;
    expect(kept('a', 'b')).toEqual(['b']);
    nowMs = 2002;
    expect(kept('b')).toEqual([]);
    expect(store.bytes).toBe(0);
  });

  it('puts the same id again in place of the first', () => {
    keep('a');
    const { bytes } = store;
    keep('a');
    expect([store.size, store.bytes]).toEqual([1, bytes]);
  });
});
