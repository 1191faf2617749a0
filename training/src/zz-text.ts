import { documents, rendered } from './text/documents.js';
let n = 0; const seen = new Set<string>(); let chars = 0;
for (const d of documents('train', 1)) { const t = rendered(d); if (n < 40) console.log(t, '\n'); seen.add(t); chars += t.length; if (++n >= 20000) break; }
console.log(n, seen.size, chars / n, 'words', new Set([...seen].join(' ').split(/[^A-Za-z']+/)).size);
