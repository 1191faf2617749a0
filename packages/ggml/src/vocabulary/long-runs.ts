/**
 * Names of `tokenizer.ggml.pre` for which libllama splits text by loops of its own (unicode_regex_split_custom of
 * unicode.cpp), or by expressions that match one character. For others it runs std::regex, which recurses once for each
 * character that it matches.
 */
const splitByLoops = new Set(
  [
    'llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano dbrx smaug-bpe glm4 chatglm-bpe',
    'gpt-2 phi-2 jina-es jina-de gigachat jina-v2-es jina-v2-de a.x-4.0 mellum modern-bert exaone4 jina-v1-en',
    'jina-v2-code roberta-bpe mpt olmo jais trillion granite-docling starcoder refact command-r smollm codeshell exaone',
    'minerva-7b mellum2 stablelm2 qwen2 deepseek-r1-qwen kormo f2llmv2 megrez hunyuan solar-open qwen35 grok-2 laguna',
    'kimi-k2 gemma4 granite-embed-multi-311m sarvam-moe',
  ].flatMap((line) => line.split(' ')),
);

/** Whether long runs of text overflow the stack in the pre-tokenizer of that name. */
export function recursesOverText(pre: string): boolean {
  return !splitByLoops.has(pre);
}

/**
 * Characters of a run that stay whole. An expression can match a run and the white space after it; every pre-tokenizer
 * was seen to match 33,000 characters of any kind on the stack that `library.ts` gives to native calls.
 */
export const runCharactersMax = 8192;

/** No expression of a pre-tokenizer matches both text and white space but at its ends. */
const runKinds = [/[^\t\n\v\f\r ]+/g, /[\s\u0085\u180e]+/g];

/**
 * Cuts text so that no run without white space, and none of white space, has more than about `runCharactersMax`
 * characters. Ordinary text is never cut. Special tokens stay whole.
 */
export function cutLongRuns(text: string, specials: () => readonly string[]): readonly string[] {
  if (text.length <= runCharactersMax) return [text];
  const cuts = new Set<number>();
  for (const kind of runKinds)
    for (const { index, 0: run } of text.matchAll(kind))
      for (let at = index + runCharactersMax; at < index + run.length; at += runCharactersMax)
        cuts.add(beforeSpecial(text, at, specials()));
  const ends = [...cuts, text.length].sort((a, b) => a - b);
  return ends.map((end, piece) => text.slice(ends[piece - 1] ?? 0, end)).filter((piece) => piece !== '');
}

/** Enough for any real vocabulary, in which special tokens do not overlap; each is at most 1,024 bytes long. */
const shiftsMax = 4;

/** Moves a cut before the special token, or the surrogate pair, that it would split. */
function beforeSpecial(text: string, cut: number, specials: readonly string[]): number {
  let at = cut;
  for (let shift = 0; shift < shiftsMax; shift++) {
    const start = specials.map((special) => startOfSplit(text, at, special)).find((found) => found !== null);
    if (start === undefined) break;
    at = start;
  }
  return /[\udc00-\udfff]/.test(text.charAt(at)) ? at - 1 : at;
}

function startOfSplit(text: string, cut: number, special: string): number | null {
  const from = Math.max(0, cut - special.length + 1);
  const found = text.slice(from, cut + special.length - 1).indexOf(special);
  return found < 0 ? null : from + found;
}
