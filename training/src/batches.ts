import type { Vocabulary } from '@butterfly/ggml';
import type { Batch } from './network.js';
import { documents, rendered, type Document, type Split } from './text/documents.js';

/** Documents in a row that fit into no window, after which the windows count as packed. */
const missesMax = 4;

/** The tokens of a document, from `<s>` to its end. */
export function encoded(document: Document, vocabulary: Vocabulary): Int32Array {
  return vocabulary.tokenize(rendered(document), { addSpecial: true, parseSpecial: true });
}

interface Window {
  readonly tokens: number[];
  readonly starts: number[];
}

/**
 * Windows packed with whole documents; only the last of a window may be cut, so that no token lacks what comes before
 * it. The same for the same seed.
 */
export function drawBatch(
  split: Split,
  seed: number,
  size: { windows: number; context: number },
  vocabulary: Vocabulary,
): Batch {
  const stream = documents(split, seed);
  const next = (): Int32Array => encoded(stream.next().value, vocabulary);
  // One token more than the context: the last is only predicted.
  const length = size.context + 1;
  const windows = Array.from({ length: size.windows }, (): Window => ({ tokens: [], starts: [] }));
  for (let misses = 0; misses < missesMax;) {
    const document = next();
    const window = windows.find(({ tokens }) => tokens.length + document.length <= length);
    if (window) append(window, document);
    else misses++;
  }
  for (const window of windows)
    while (window.tokens.length < length) append(window, next().subarray(0, length - window.tokens.length));
  const joined = (part: (window: Window) => number[]): Int32Array => Int32Array.from(windows.flatMap(part));
  return {
    tokens: joined(({ tokens }) => tokens.slice(0, -1)),
    targets: joined(({ tokens }) => tokens.slice(1)),
    documentStarts: joined(({ starts }) => starts.slice(0, -1)),
  };
}

function append({ tokens, starts }: Window, document: Int32Array): void {
  const start = tokens.length;
  for (const token of document) {
    tokens.push(token);
    starts.push(start);
  }
}
