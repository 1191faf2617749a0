import { ButterflyError, limits } from '@butterfly/common';
import type { GgufHeader } from '../header.js';
import { charsmapFault } from './charsmap.js';
import { piecesBytes } from './pieces.js';
import { readRawVocabulary, tokenTypes, type RawVocabulary } from './raw-vocabulary.js';
import { rwkvFault } from './rwkv.js';

/** What a vocabulary lacks for libllama, and whether the file is at fault or merely of a kind that cannot be run. */
interface Fault {
  readonly code: 'MODEL_CORRUPT' | 'MODEL_UNSUPPORTED';
  readonly problem: string;
}

type Header = Pick<GgufHeader, 'metadata' | 'arrays'>;

const corrupt = (problem: string): Fault => ({ code: 'MODEL_CORRUPT', problem });
const unsupported = (problem: string): Fault => ({ code: 'MODEL_UNSUPPORTED', problem });

/**
 * Kinds that no model of a known architecture has, and on which libllama can abort: `test` is none, and `hybriddna` and
 * `whitespace` are of models for DNA and for embeddings.
 */
const refusedKinds = ['test', 'hybriddna', 'whitespace'];

/**
 * `whitespace` keeps spaces, which find_bpe_rank of llama-vocab.cpp asserts away; `exaone-moe` matches whole texts at once,
 * and `superbpe` takes minutes for long numbers. No model of a known architecture has them.
 */
const refusedPretokenizers = ['whitespace', 'exaone-moe', 'superbpe'];

/**
 * Verifies all that libllama (src/llama-vocab.cpp of llama.cpp v0.5.0) presupposes of a vocabulary and does not check
 * itself, or checks by ending the process. What it refuses on its own is left to it.
 * @param bytes the file from its start, at least up to the end of the metadata
 * @throws ButterflyError MODEL_CORRUPT, MODEL_UNSUPPORTED
 */
export function checkVocabulary(header: Header, bytes: Uint8Array, path: string): void {
  const count = header.arrays.get('tokenizer.ggml.tokens')?.length ?? 0;
  const fault =
    count > limits.vocabularyTokensMax
      ? corrupt(`claims ${count} tokens, and at most ${limits.vocabularyTokensMax} make sense`)
      : faultOf(readRawVocabulary(header, bytes));
  if (fault === null) return;
  const remedy = {
    MODEL_CORRUPT: 'Download the model again, or convert it again with a current llama.cpp.',
    MODEL_UNSUPPORTED: 'Convert the model again with a current llama.cpp, or use another one.',
  } as const;
  throw new ButterflyError(fault.code, `${path}: its tokenizer ${fault.problem}. ${remedy[fault.code]}`);
}

function faultOf(vocabulary: RawVocabulary | null): Fault | null {
  if (vocabulary === null) return null;
  return (
    kindFault(vocabulary) ??
    sizeFault(vocabulary) ??
    duplicateFault(vocabulary) ??
    pieceFault(vocabulary) ??
    faultOfKind(vocabulary)
  );
}

function kindFault({ kind, pre }: RawVocabulary): Fault | null {
  if (refusedKinds.includes(kind)) return unsupported(`is of the kind "${kind}", which cannot be run`);
  if (isBytePair(kind) && refusedPretokenizers.includes(pre))
    return unsupported(`splits text by the rule "${pre}", which cannot be run`);
  return null;
}

function sizeFault({ texts, merges }: RawVocabulary): Fault | null {
  if (texts.length === 0) return corrupt('has no tokens');
  const max = limits.tokenTextBytesMax;
  const long = texts.findIndex((text) => text.length > max);
  if (long >= 0)
    return corrupt(`has a token ${long} of ${texts[long]?.length ?? 0} bytes, and at most ${max} make sense`);
  return merges > limits.vocabularyMergesMax ? corrupt(`claims ${merges} merges`) : null;
}

/** GGML_ASSERT in llama_vocab::impl::load. */
function duplicateFault({ texts }: RawVocabulary): Fault | null {
  const known = new Map<string, number>();
  for (const [token, text] of texts.entries()) {
    const other = known.get(text);
    if (other !== undefined) return corrupt(`has ${quoted(text)} twice, as tokens ${other} and ${token}`);
    known.set(text, token);
  }
  return null;
}

function pieceFault(vocabulary: RawVocabulary): Fault | null {
  const max = limits.tokenPiecesBytesMax;
  return isBytePair(vocabulary.kind) && piecesBytes(vocabulary) > max
    ? corrupt(`has tokens that stand for more than ${max} bytes`)
    : null;
}

function faultOfKind(vocabulary: RawVocabulary): Fault | null {
  switch (vocabulary.kind) {
    case 'llama':
      return missingBytesFault(vocabulary);
    case 'bert':
      return byteTokenFault(vocabulary) ?? unknownFault(vocabulary, 100);
    case 't5':
      return charsmapFaultOf(vocabulary) ?? unknownFault(vocabulary, 2);
    case 'rwkv': {
      const { problem, needsUnknown } = rwkvFault(vocabulary.texts);
      if (problem !== null) return corrupt(problem);
      return needsUnknown ? unknownFault(vocabulary, null) : null;
    }
    case 'plamo2':
      return codePointFault(vocabulary);
    default:
      return null;
  }
}

/** Text that no token has is made of bytes, and llama_vocab::byte_to_token throws where one is missing. */
function missingBytesFault({ texts }: RawVocabulary): Fault | null {
  const known = new Set(texts);
  const missing = bytesOfText
    .map((byte) => ({ byte, name: `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>` }))
    .filter(({ byte, name }) => !known.has(name) && !known.has(String.fromCharCode(byte)))
    .map(({ name }) => name);
  if (missing.length === 0) return null;
  const named = `${missing.slice(0, 4).join(', ')}${missing.length > 4 ? ` and ${missing.length - 4} others` : ''}`;
  return unsupported(`lacks the byte tokens ${named}, so that not every text can be tokenized`);
}

/** Bytes that occur in UTF-8; a space is written as U+2581 before. */
const bytesOfText = Array.from({ length: 0xf5 }, (_, byte) => byte).filter(
  (byte) => byte !== 0x20 && byte !== 0xc0 && byte !== 0xc1,
);

/** GGML_ABORT in llama_vocab::impl::token_to_byte. */
function byteTokenFault({ kind, texts, typeOf }: RawVocabulary): Fault | null {
  const token = texts.findIndex((_, index) => typeOf(index) === tokenTypes.byte);
  return token < 0 ? null : corrupt(`is of the kind "${kind}" and has a byte token (${token})`);
}

/** Such tokenizers give the unknown token, or -1 when there is none. */
function unknownFault({ kind, texts, unknown }: RawVocabulary, usual: number | null): Fault | null {
  const exists = (token: number | null): boolean => token !== null && token < texts.length;
  return exists(usual) || exists(unknown)
    ? null
    : corrupt(`is of the kind "${kind}" and has no unknown token (tokenizer.ggml.unknown_token_id)`);
}

function charsmapFaultOf({ charsmap }: RawVocabulary): Fault | null {
  const problem = charsmap && charsmapFault(charsmap);
  return problem === null ? null : corrupt(`has a precompiled_charsmap ${problem}`);
}

/**
 * llm_tokenizer_plamo2 counts in code points, reads past its tables when text is not UTF-8, and builds all suffixes of
 * all tokens.
 */
function codePointFault({ texts, typeOf }: RawVocabulary): Fault | null {
  const utf8 = new TextDecoder('utf-8', { fatal: true });
  for (const [token, text] of texts.entries()) {
    if (typeOf(token) === tokenTypes.byte) continue;
    if (text.length > suffixedBytesMax) return corrupt(`has a token ${token} of ${text.length} bytes`);
    try {
      utf8.decode(Buffer.from(text, 'latin1'));
    } catch {
      return corrupt(`has a token ${token} whose text is not UTF-8`);
    }
  }
  return null;
}

/** The work for one token grows with the cube of its length. */
const suffixedBytesMax = 256;

function isBytePair(kind: string): boolean {
  return kind === 'gpt2' || kind === 'gemma4';
}

function quoted(latin1: string): string {
  return JSON.stringify(Buffer.from(latin1, 'latin1').toString());
}
