import type { ArrayPlace, GgufHeader, Metadata } from '../header.js';

/** The tokenizer of a GGUF file as libllama sees it: bytes, and texts that end at their first NUL. */
export interface RawVocabulary {
  /** `tokenizer.ggml.model`. */
  readonly kind: string;
  /** `tokenizer.ggml.pre`; empty when it is missing. */
  readonly pre: string;
  /** A character for each byte. A token without text has the name that libllama gives it. */
  readonly texts: readonly string[];
  /** `llama_token_type` of each token; all are normal when the file says nothing. */
  readonly typeOf: (token: number) => number;
  readonly merges: number;
  /** `tokenizer.ggml.unknown_token_id`; null when it is missing. */
  readonly unknown: number | null;
  /** Rules of normalisation of a `t5` tokenizer; null without. */
  readonly charsmap: Uint8Array | null;
}

type Header = Pick<GgufHeader, 'metadata' | 'arrays'>;

/** `llama_token_type` of llama.h, as far as it matters here. */
export const tokenTypes = { normal: 1, byte: 6 } as const;

/** Null when there is no tokenizer, or one whose keys have types that libllama refuses itself. */
export function readRawVocabulary({ metadata, arrays }: Header, bytes: Uint8Array): RawVocabulary | null {
  const kind = textOf(metadata, 'model');
  const tokens = arrays.get('tokenizer.ggml.tokens');
  if (kind === null || tokens?.elementType !== 'string') return null;
  const types = arrays.get('tokenizer.ggml.token_type');
  const merges = arrays.get('tokenizer.ggml.merges');
  const charsmap = arrays.get('tokenizer.ggml.precompiled_charsmap');
  const unknown = metadata.get('tokenizer.ggml.unknown_token_id');
  return {
    kind,
    pre: textOf(metadata, 'pre') ?? '',
    texts: readTexts(tokens, bytes),
    typeOf: types?.elementType === 'i32' ? readTypes(types, bytes) : () => tokenTypes.normal,
    merges: merges?.length ?? 0,
    unknown: typeof unknown === 'number' ? unknown : null,
    charsmap:
      charsmap?.elementType === 'u8' || charsmap?.elementType === 'i8'
        ? bytes.subarray(charsmap.offset, charsmap.offset + charsmap.length)
        : null,
  };
}

function textOf(metadata: Metadata, key: string): string | null {
  const value = metadata.get(`tokenizer.ggml.${key}`);
  return typeof value === 'string' ? untilNul(value) : null;
}

function readTexts(tokens: ArrayPlace, bytes: Uint8Array): string[] {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const texts: string[] = [];
  let at = tokens.offset;
  for (let token = 0; token < tokens.length; token++) {
    const start = at + 8;
    at = start + Number(buffer.readBigUInt64LE(at));
    texts.push(untilNul(buffer.toString('latin1', start, at)) || `[EMPTY_${token}]`);
  }
  return texts;
}

function readTypes(types: ArrayPlace, bytes: Uint8Array): RawVocabulary['typeOf'] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return (token) =>
    token < types.length ? view.getInt32(types.offset + token * 4, true) : tokenTypes.normal;
}

function untilNul(text: string): string {
  const end = text.indexOf('\0');
  return end < 0 ? text : text.slice(0, end);
}
