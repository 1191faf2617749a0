import {
  f32s,
  flag,
  i32s,
  text,
  texts,
  u32,
  u8s,
  word,
  type RawMetadata,
  type RawValue,
} from './gguf-values.js';

/** `llama_token_type` of llama.h. */
const normal = 1;
const unknown = 2;
const control = 3;
const userDefined = 4;
const byteType = 6;

type Token = readonly [text: string, type: number, score?: number];

const byteTokens: readonly Token[] = Array.from({ length: 256 }, (_, byte): Token => [
  `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`,
  byteType,
]);
const characters = Array.from("etaoinshrdluABC012.,'!éßяشא中日한हไ€🙂🦋");
const words = ['the', 'he', 'in', 'an', 'hello', 'ing', '中日'];
const pieces: readonly Token[] = [
  ...['▁', ...characters].map((piece, index): Token => [piece, normal, -index - 1]),
  ...words.flatMap((piece, index): Token[] => [
    [piece, normal, -index - 60],
    [`▁${piece}`, normal, -index - 50],
  ]),
  ['<tool>', userDefined, 0],
];

function vocabulary(
  kind: string,
  tokens: readonly Token[],
  more: Readonly<Record<string, RawValue>> = {},
): RawMetadata {
  const own = Object.entries({
    model: text(kind),
    tokens: texts(tokens.map(([piece]) => piece)),
    token_type: i32s(tokens.map(([, type]) => type)),
    scores: f32s(tokens.map(([, , score]) => score ?? 0)),
    ...more,
  });
  return new Map<string, RawValue>([
    ['general.architecture', text('llama')],
    ['general.name', text('Fuzz')],
    ...own.map(([key, value]): [string, RawValue] => [`tokenizer.ggml.${key}`, value]),
    ['tokenizer.chat_template', text('{% for m in messages %}{{ m.content }}{% endfor %}')],
  ]);
}

/** GPT-2's printable stand-in for each byte. */
function byteAlphabet(): string[] {
  const isPrintable = (byte: number): boolean =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
  let stand = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(isPrintable(byte) ? byte : stand++));
}

/** A trie of two rules, `A` to `a` and `B` to nothing, as SentencePiece lays it out. */
function charsmap(): Buffer {
  const nodes = 768;
  const array = Buffer.alloc(nodes * 4);
  array.writeUInt32LE(256 << 10, 0);
  const rule = (byte: number, valueNode: number, replacement: number): void => {
    const node = 256 ^ byte;
    array.writeUInt32LE((((node ^ valueNode) << 10) | 0x100 | byte) >>> 0, node * 4);
    array.writeUInt32LE(replacement, valueNode * 4);
  };
  rule(0x41, 512, 0);
  rule(0x42, 513, 2);
  return Buffer.concat([word(array.length), array, Buffer.from('a\0\0')]);
}

const escaped = Array.from({ length: 256 }, (_, byte): Token => [
  `\\x${byte.toString(16).padStart(2, '0')}`,
  normal,
]);

/** One small vocabulary of each kind of tokenizer, all of which are accepted. */
export const seeds: readonly RawMetadata[] = [
  vocabulary('llama', [['<unk>', unknown], ['<s>', control], ['</s>', control], ...byteTokens, ...pieces], {
    bos_token_id: u32(1),
    eos_token_id: u32(2),
    unknown_token_id: u32(0),
    add_bos_token: flag(true),
  }),
  vocabulary(
    'gpt2',
    [
      ...byteAlphabet().map((piece): Token => [piece, normal]),
      ...['th', 'the', 'he', 'Ġt', 'Ġthe', 'in', 'ing'].map((piece): Token => [piece, normal]),
      ...['<|endoftext|>', '<|im_start|>', '<|im_end|>'].map((piece): Token => [piece, control]),
      ['<tool>', userDefined],
    ],
    {
      pre: text('qwen2'),
      merges: texts(['t h', 'th e', 'h e', 'Ġ t', 'Ġ the', 'i n', 'in g']),
      bos_token_id: u32(263),
      eos_token_id: u32(265),
      padding_token_id: u32(263),
      add_bos_token: flag(false),
    },
  ),
  vocabulary(
    'gemma4',
    [['<pad>', control], ['<eos>', control], ['<bos>', control], ...byteTokens, ...pieces],
    {
      merges: texts(['t h', 'th e', '▁ the', 'i n', 'in g']),
      bos_token_id: u32(2),
      eos_token_id: u32(1),
    },
  ),
  vocabulary(
    'bert',
    [
      ['[PAD]', control],
      ['[UNK]', unknown],
      ['[CLS]', control],
      ['[SEP]', control],
      ['[MASK]', control],
      ...pieces,
    ],
    { bos_token_id: u32(2), unknown_token_id: u32(1), seperator_token_id: u32(3), padding_token_id: u32(0) },
  ),
  vocabulary('t5', [['<pad>', control], ['</s>', control], ['<unk>', unknown], ...pieces], {
    precompiled_charsmap: u8s(charsmap()),
    add_space_prefix: flag(true),
    remove_extra_whitespaces: flag(true),
  }),
  vocabulary('rwkv', [['<s>', normal], ...escaped, ['hello', normal], ['\\xf0\\x9f', normal]]),
  vocabulary('plamo2', [
    ...['<|plamo:unk|>', '<|plamo:bos|>', '<|plamo:eos|>', '<|plamo:pad|>'].map((piece): Token => [
      piece,
      control,
    ]),
    ...byteTokens,
    ...pieces,
  ]),
];
