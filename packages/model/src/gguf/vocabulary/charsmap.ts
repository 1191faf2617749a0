/**
 * Finds what would make libllama throw in the midst of a text: in llm_tokenizer_ugm_session::normalize_prefix of
 * llama-vocab.cpp. A charsmap is the length of a double array in bytes, that array (a trie over bytes, XOR-compressed),
 * and replacements that end in NUL. Every node that bytes of text can lead to is visited.
 * @returns what is wrong with it; null when nothing is
 */
export function charsmapFault(charsmap: Uint8Array): string | null {
  // Shorter ones are refused by libllama itself.
  if (charsmap.length < 4) return null;
  const view = new DataView(charsmap.buffer, charsmap.byteOffset, charsmap.byteLength);
  const trieBytes = view.getUint32(0, true);
  if (trieBytes + 4 >= charsmap.length) return null;
  const nodes = Math.floor(trieBytes / 4);
  const replacements = charsmap.subarray(4 + trieBytes);
  const lastEnd = replacements.lastIndexOf(0);
  const node = (index: number): number => view.getUint32(4 + index * 4, true);
  if (nodes === 0) return null;
  const start = baseOf(node(0));
  const seen = new Set([start]);
  const left = [start];
  for (let base = left.pop(); base !== undefined; base = left.pop())
    for (let byte = 1; byte <= lastByteOfText; byte++) {
      const child = (base ^ byte) >>> 0;
      if (child >= nodes) return `that leads to node ${child} of ${nodes}`;
      const packed = node(child);
      // LCHECK and the highest bit; another value means that no such child exists.
      if ((packed & 0x8000_00ff) !== byte) continue;
      const next = (child ^ baseOf(packed)) >>> 0;
      if ((packed & 0x100) !== 0) {
        if (next >= nodes) return `that leads to node ${next} of ${nodes}`;
        const replacement = node(next) & 0x7fff_ffff;
        if (replacement > lastEnd) return `with a replacement at ${replacement} of ${replacements.length}`;
      }
      if (!seen.has(next)) {
        seen.add(next);
        left.push(next);
      }
    }
  return null;
}

/** The largest byte that UTF-8 has. */
const lastByteOfText = 0xf4;

function baseOf(packed: number): number {
  return ((packed >>> 10) << ((packed & 0x200) >>> 6)) >>> 0;
}
