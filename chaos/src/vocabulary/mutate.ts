import {
  encodeRaw,
  flag,
  float,
  i32s,
  text,
  u32,
  word,
  type RawMetadata,
  type RawValue,
} from './gguf-values.js';
import { seeds } from './seeds.js';

/** Numbers below a bound, in an order that the seed decides. */
export type Below = (bound: number) => number;

const kinds = 'llama gpt2 gemma4 bert t5 rwkv plamo2 none no_vocab test hybriddna whitespace xyz'.split(' ');
/** One name of each rule of llama-vocab.cpp. */
const pretokenizers =
  'default minicpm5 llama3 deepseek-llm deepseek-coder deepseek-v3 spark2_5 youtu falcon mpt starcoder gpt-2 jais-2 gemma4 sarvam-moe jina-v1-en whitespace refact command-r qwen2 qwen35 stablelm2 olmo dbrx smaug-bpe poro-chat glm4 viking jais tekken smollm codeshell bloom gpt3-finnish exaone exaone4 exaone-moe chameleon minerva-7b megrez gpt-4o granite-embed-multi-97m tiny_aya superbpe trillion granite-docling bailingmoe seed-coder hunyuan hunyuan-dense hy_v4 joyai-llm kimi-k2 ufakzeka grok-2 afmoe laguna minimax-m2 solar-open mellum2 xyz'.split(
    ' ',
  );
const ids =
  'bos eos eot eom unknown seperator padding mask fim_pre fim_suf fim_mid fim_pad fim_rep fim_sep prefix suffix middle'.split(
    ' ',
  );
const flags =
  'add_bos_token add_eos_token add_sep_token add_space_prefix remove_extra_whitespaces normalizer.lowercase normalizer.strip_accents'.split(
    ' ',
  );
const oddTexts: readonly (string | Buffer)[] = [
  ...[
    '',
    '\0',
    'a\0b',
    ' ',
    '  ',
    '\n',
    '\n\n',
    '▁',
    '<0x41>',
    '<0xZZ>',
    '<0x',
    '<',
    '[EMPTY_5]',
    '\\',
    '\\x4',
    '\\xff',
  ],
  ...[
    '<|im_end|>',
    '<|end|>',
    '<|return|>',
    '<|call|>',
    '<|channel|>',
    '</s>',
    '<|endoftext|>',
    '<mask>',
    '[EMPTY_7]',
  ],
  ...[
    '<dna>',
    '</dna>',
    '<oov>',
    'aa\u{e000}',
    '\u{e000}',
    '🦋',
    '中中中',
    'é',
    'ﬁ',
    '\u0301',
    '\ufeff',
    'unused',
  ],
  ...['x'.repeat(1024), 'x'.repeat(1025), 'é'.repeat(511), 'y'.repeat(50_000), 'the', 'a', '\t', '\r\n'],
  ...[
    [0xf0],
    [0x80],
    [0xff, 0xfe],
    [0xe2, 0x96],
    [0x61, 0x80, 0x62],
    [0xf4, 0x90, 0x80, 0x80],
    [0xed, 0xa0, 0x80],
  ].map((bytes) => Buffer.from(bytes)),
];
const oddMerges = ['', 'a', ' ', '  ', 'a b c', ' a b', 'a ', '\n \n', 't h', 'Ġ Ġ', '\0', 'a\0 b'];
const oddNumbers = [0, 1, 2, 3, 5, 13, 255, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1];
const oddFloats = [NaN, Infinity, -Infinity, 3.4e38, -3.4e38, 0, -0, 1, -1000, -1e30, 1e-40];

type Mutation = (metadata: RawMetadata, below: Below) => RawMetadata;

const pick = <T>(from: readonly T[], below: Below): T => {
  const chosen = from[below(from.length)];
  if (chosen === undefined) throw new RangeError('nothing to choose from');
  return chosen;
};
const key = (name: string): string => `tokenizer.ggml.${name}`;
const set = (metadata: RawMetadata, name: string, value: RawValue): RawMetadata =>
  new Map([...metadata, [name, value]]);

/** Changes the elements of an array, where it is there. */
function edit(
  metadata: RawMetadata,
  name: string,
  change: (items: readonly Buffer[]) => readonly Buffer[],
): RawMetadata {
  const value = metadata.get(name);
  return value?.kind === 'array' && value.items.length > 0
    ? set(metadata, name, { ...value, items: change(value.items) })
    : metadata;
}

const replace = (name: string, made: (below: Below) => Buffer): Mutation => {
  return (metadata, below) =>
    edit(metadata, key(name), (items) => items.with(below(items.length), made(below)));
};
const randomBytes = (below: Below): Buffer =>
  Buffer.from(Array.from({ length: below(12) }, () => below(256)));
const arrays = ['tokens', 'token_type', 'scores', 'merges', 'precompiled_charsmap'];

const mutations: readonly Mutation[] = [
  (metadata, below) => {
    const gone = pick([...metadata.keys()], below);
    return new Map([...metadata].filter(([name]) => name !== gone));
  },
  (metadata, below) => set(metadata, key('model'), text(pick(kinds, below))),
  (metadata, below) => set(metadata, key('pre'), text(pick(pretokenizers, below))),
  (metadata, below) => set(metadata, key('pre'), text(pick(pretokenizers, below))),
  (metadata, below) => {
    const type = below(13);
    const bytes = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8][type] ?? 0;
    const name = pick([...metadata.keys(), ...flags.map(key)], below);
    if (bytes === 0) return set(metadata, name, text(pick(oddTexts, below)));
    return set(metadata, name, {
      kind: 'scalar',
      type,
      bytes: Buffer.from(Array.from({ length: bytes }, () => below(256))),
    });
  },
  (metadata, below) =>
    set(metadata, key(`${pick(ids, below)}_token_id`), u32(pick([...oddNumbers, below(400)], below))),
  (metadata, below) => set(metadata, key(pick(flags, below)), flag(below(2) === 1)),
  (metadata, below) =>
    edit(metadata, key(pick(arrays, below)), (items) => items.slice(0, below(items.length + 1))),
  (metadata, below) =>
    edit(metadata, key(pick(arrays, below)), (items) => [...items, ...items.slice(0, 1 + below(3))]),
  (metadata, below) =>
    edit(metadata, key(pick(arrays, below)), (items) => items.toSpliced(below(items.length), 1)),
  (metadata, below) => {
    const name = key(pick(arrays, below));
    const value = metadata.get(name);
    return value?.kind === 'array' ? set(metadata, name, { ...value, elementType: below(13) }) : metadata;
  },
  replace('tokens', (below) => Buffer.from(pick(oddTexts, below))),
  replace('tokens', (below) => Buffer.from(pick(oddTexts, below))),
  replace('tokens', randomBytes),
  replace('token_type', (below) => word(below(10) - 1)),
  replace('token_type', (below) => word(below(10) - 1)),
  replace('scores', (below) => float(pick(oddFloats, below))),
  replace('merges', (below) => Buffer.from(pick(oddMerges, below))),
  replace('merges', randomBytes),
  replace('precompiled_charsmap', (below) => Buffer.from([below(256)])),
  (metadata, below) =>
    edit(metadata, key('precompiled_charsmap'), (items) =>
      items.map((item) => (below(50) === 0 ? Buffer.from([below(256)]) : item)),
    ),
  (metadata, below) => edit(metadata, key('token_type'), (items) => items.map(() => word(below(9)))),
  (metadata, below) => edit(metadata, key('tokens'), (items) => items.toReversed().slice(below(4))),
  (metadata, below) => {
    // A whole token goes, of every array, so that their lengths agree.
    const at = below(300);
    return ['tokens', 'token_type', 'scores'].reduce(
      (changed, name) =>
        edit(changed, key(name), (items) => (at < items.length ? items.toSpliced(at, 1) : items)),
      metadata,
    );
  },
  (metadata, below) =>
    set(
      metadata,
      'general.name',
      text(pick(['Phi-3 mini', 'phi3', 'modern-bert', '\0', 'x'.repeat(70_000)], below)),
    ),
  (metadata, below) =>
    set(metadata, 'general.architecture', text(pick(['qwen2', 'jina-bert-v3', 'bert', 'xyz'], below))),
  (metadata, below) => set(metadata, 'tokenizer.chat_template', text(pick(oddTexts, below))),
  (metadata, below) =>
    set(metadata, key('suppress_tokens'), i32s(oddNumbers.slice(below(oddNumbers.length)))),
  (metadata, below) => set(metadata, 'general.alignment', u32(pick(oddNumbers, below))),
];

/** The bytes of a GGUF file whose tokenizer was changed in one to four ways, or a few of whose bytes were. */
export function mutatedVocabulary(below: Below): Buffer {
  let metadata = pick(seeds, below);
  const changes = below(20) === 0 ? 0 : 1 + below(4);
  for (let change = 0; change < changes; change++) metadata = pick(mutations, below)(metadata, below);
  const bytes = encodeRaw(metadata);
  if (changes > 0 && below(8) > 0) return bytes;
  for (let flip = below(6); flip > 0; flip--) bytes[below(bytes.length)] = below(256);
  return below(4) === 0 ? bytes.subarray(0, below(bytes.length + 1)) : bytes;
}
