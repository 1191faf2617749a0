import type { InfillTokens, Vocabulary } from '@butterfly/ggml';

const bos = 256;
const eos = 257;
const firstMarker = 258;

const infillTexts = [
  '<|fim_prefix|>',
  '<|fim_suffix|>',
  '<|fim_middle|>',
  '<|repo_name|>',
  '<|file_sep|>',
] as const;

/** Where it has the markers of Qwen, as libllama finds them. */
function infillOf(tokenOf: ReadonlyMap<string, number>): InfillTokens | null {
  const [prefix, suffix, middle, repository, file] = infillTexts.map((text) => tokenOf.get(text) ?? null);
  if (prefix == null || suffix == null || middle == null) return null;
  return { prefix, suffix, middle, repository: repository ?? null, file: file ?? null };
}

/** One token for each byte, `<s>`, `</s>`, and one for each marker; `ends` are those that end an answer. */
export function markerVocabulary(markers: readonly string[], ends: readonly string[] = []): Vocabulary {
  const texts = ['<s>', '</s>', ...markers];
  const tokenOf = new Map(texts.map((text, index) => [text, bos + index]));
  const specialTokens = texts.map((text, index) => ({ token: bos + index, text, isAlwaysRead: false }));
  const textOf = (token: number): string => texts[token - bos] ?? String.fromCharCode(token);
  return {
    size: firstMarker + markers.length,
    bos,
    eos,
    addsBos: false,
    addsEos: false,
    separator: null,
    infill: infillOf(tokenOf),
    endOfGenerationTokens: new Set([eos, ...ends.map((text) => tokenOf.get(text) ?? eos)]),
    specialTokens,
    tokenize(text, { parseSpecial }) {
      const tokens: number[] = [];
      for (let at = 0; at < text.length;) {
        const marker = parseSpecial ? texts.find((each) => text.startsWith(each, at)) : undefined;
        const unit = marker ?? String.fromCodePoint(text.codePointAt(at) ?? 0);
        tokens.push(...(marker === undefined ? Buffer.from(unit) : [tokenOf.get(marker) ?? eos]));
        at += unit.length;
      }
      return Int32Array.from(tokens);
    },
    tokenToBytes(token, { special }) {
      if (token < 256) return Uint8Array.of(token);
      return special ? Buffer.from(textOf(token)) : new Uint8Array();
    },
    tokenText: textOf,
    [Symbol.dispose]: () => undefined,
  };
}
