import { describe, expect, it } from 'vitest';
import { charsmapFault } from './charsmap.js';

interface Rule {
  readonly byte: number;
  /** The node that holds where the replacement starts. */
  readonly valueNode: number;
  readonly replacement: number;
}

/** A double array whose root has one child for each rule. */
function charsmapOf(
  rules: readonly Rule[],
  options: { readonly nodes?: number; readonly texts?: string } = {},
): Uint8Array {
  const { nodes = 768, texts = 'a\0bc\0' } = options;
  const array = Buffer.alloc(nodes * 4);
  array.writeUInt32LE(256 << 10, 0);
  for (const { byte, valueNode, replacement } of rules) {
    const node = 256 ^ byte;
    array.writeUInt32LE((((node ^ valueNode) << 10) | 0x100 | byte) >>> 0, node * 4);
    if (valueNode < nodes) array.writeUInt32LE(replacement, valueNode * 4);
  }
  const head = Buffer.alloc(4);
  head.writeUInt32LE(array.length);
  return Buffer.concat([head, array, Buffer.from(texts)]);
}

describe('a charsmap', () => {
  it('is right when every node that text leads to is there, and every replacement ends', () => {
    const rules = [
      { byte: 0x41, valueNode: 512, replacement: 0 },
      { byte: 0xc3, valueNode: 513, replacement: 2 },
    ];
    expect(charsmapFault(charsmapOf(rules))).toBeNull();
    expect(charsmapFault(charsmapOf([]))).toBeNull();
  });

  // libllama threw at the first text with such a byte, which ended the process.
  it.each<[string, Uint8Array, string]>([
    ['its root leads beyond its end', charsmapOf([], { nodes: 300 }), 'leads to node 300 of 300'],
    [
      'a child leads beyond its end',
      charsmapOf([{ byte: 0x41, valueNode: 900, replacement: 0 }]),
      'leads to node 900',
    ],
    [
      'what follows a child would',
      charsmapOf([{ byte: 0x41, valueNode: 767, replacement: 0 }], { nodes: 768 - 100 }),
      'of 668',
    ],
    [
      'a replacement is none',
      charsmapOf([{ byte: 0x41, valueNode: 512, replacement: 99 }]),
      'replacement at 99 of 5',
    ],
    [
      'a replacement does not end',
      charsmapOf([{ byte: 0x41, valueNode: 512, replacement: 2 }], { texts: 'a\0bc' }),
      'replacement at 2',
    ],
  ])('is refused when %s', (_, charsmap, problem) => {
    expect(charsmapFault(charsmap)).toContain(problem);
  });

  it('may have circles', () => {
    // The child of `A` is its own parent: its base leads back to the root's.
    const circle = charsmapOf([{ byte: 0x41, valueNode: 256, replacement: 0 }]);
    expect(charsmapFault(circle)).toBeNull();
  });

  it.each([0, 3, 4, 8])('is left to libllama when it is only %i bytes long', (bytes) => {
    expect(charsmapFault(charsmapOf([]).subarray(0, bytes))).toBeNull();
  });
});
