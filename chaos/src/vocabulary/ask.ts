import { writeFileSync } from 'node:fs';
import { ButterflyError, silentLogger } from '@butterfly/common';
import { type Vocabulary, loadGgml, loadVocabulary } from '@butterfly/ggml';
import { openGguf } from '@butterfly/model';
import { randomBits } from '@butterfly/testkit';
import { mutatedVocabulary, type Below } from './mutate.js';

/** How a case ended: `loaded`, or the check that refused it with the code of its error. */
export type Outcome = string;

const everyScript =
  "Once upon a time, there was the café: “quotes” — naïve 12345 3.14\t\r\n\n  Привет мир. Γειά σου. שָׁלוֹם مُرحبا नमस्ते தமிழ் ไทย မြန်မာ 中文汉字。日本語カナ한국어 አማርኛ ᚠᚢᚦ 𓀀𐍈𝒜 😀👨‍👩‍👧🏳️‍🌈🇩🇪 e\u0301 \u0000\u0001\u001b\u007f\u0080\u0085\u00a0\u2028\u200b\ufeff\ufffd\u{10ffff} ABBA <s></s><unk><0x41><|im_start|>user<|im_end|><tool><dna>ACGT</dna> 's 'RE x";
const texts = ['', ' ', '\0', '\n', '\ud800 \udc00', 'a  b', everyScript];

/** Makes the case of a number, loads its vocabulary as a server does, and asks it all that one asks. */
export async function tryCase(options: {
  readonly seed: string;
  readonly index: number;
  readonly path: string;
}): Promise<Outcome> {
  const next = randomBits(`${options.seed}/${options.index}`);
  const below: Below = (bound) => (next() >>> 0) % bound;
  writeFileSync(options.path, mutatedVocabulary(below));
  let step = 'openGguf';
  try {
    await openGguf(options.path);
    step = 'loadVocabulary';
    using vocabulary = loadVocabulary(loadGgml({ log: silentLogger }), options.path);
    step = 'asked';
    ask(vocabulary, below);
    return 'loaded';
  } catch (thrown) {
    if (thrown instanceof ButterflyError) return `${step}: ${thrown.code}`;
    throw thrown;
  }
}

function ask(vocabulary: Vocabulary, below: Below): void {
  const tokens: string[] = [];
  for (let token = 0; token < vocabulary.size; token++) {
    tokens.push(vocabulary.tokenText(token));
    for (const special of [false, true]) vocabulary.tokenToBytes(token, { special });
  }
  const own = Array.from({ length: 20 }, () => tokens[below(tokens.length)] ?? '').join('');
  const random = String.fromCharCode(...Array.from({ length: 40 }, () => below(0x1_0000)));
  const long = below(200) === 0 ? [(own || 'a').repeat(30_000).slice(0, 30_000), 'a'.repeat(20_000)] : [];
  for (const text of [...texts, own, random, ...long]) {
    const parseSpecial = below(2) === 0;
    for (const token of vocabulary.tokenize(text, { addSpecial: parseSpecial, parseSpecial }))
      vocabulary.tokenToBytes(token, { special: true });
    vocabulary.tokenize(text, { addSpecial: true, parseSpecial: !parseSpecial });
  }
}
