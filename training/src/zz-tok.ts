import { documents, rendered } from './text/documents.js';
import { learnPieces, reservedTokens, tokenizerMetadata } from './tokenizer.js';
import { writeModel } from './model-file.js';
import { loadGgml, loadVocabulary } from '@butterfly/ggml';
import { silentLogger } from '@butterfly/common';
const docs = documents('train', 1); const texts: string[] = []; const full: string[] = [];
for (let i = 0; i < 20000; i++) { const d = docs.next().value; full.push(rendered(d)); if (d.kind === 'story') texts.push(d.text); else for (const t of d.turns) texts.push(t.content); }
for (const size of [1024, 1280, 1536]) {
  const t = performance.now(); const pieces = learnPieces(texts, size - reservedTokens); const ms = performance.now() - t;
  const tokenizer = tokenizerMetadata(pieces);
  const shape = { layers: 8, hidden: 128, heads: 4, feedForward: 320, vocabulary: reservedTokens + pieces.length, context: 256, normEpsilon: 1e-5, ropeBase: 10000 };
  await writeModel('/tmp/tb/vocab.gguf', { shape, tokenizer, weights: [] }, 'F32');
  const v = loadVocabulary(loadGgml({ log: silentLogger }), '/tmp/tb/vocab.gguf');
  let n = 0, max = 0, over = 0; for (const f of full.slice(0, 4000)) { const k = v.tokenize(f, { addSpecial: true, parseSpecial: true }).length; n += k; if (k > max) max = k; if (k > 256) over++; }
  console.log(size, pieces.length, ms.toFixed(0), 'ms', n / 4000, 'max', max, over, pieces.slice(-5), [...v.endOfGenerationTokens]);
  if (size === 1024) console.log([...v.tokenize(full[0] ?? '', { addSpecial: true, parseSpecial: true })].map((x) => v.tokenText(x)).join('|'));
}
