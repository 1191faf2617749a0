import { setImmediate as nextTurn } from 'node:timers/promises';
import { ButterflyError, limits } from '@butterfly/common';
import type { Vocabulary } from '@butterfly/ggml';

/** Of a vocabulary, what texts are looked for in. */
type Words = Pick<Vocabulary, 'size' | 'tokenize' | 'tokenToBytes'>;

/** So many tokens are spelt out, or looked through, before others get their turn: some milliseconds. */
const tokensPerTurn = 8192;

const known = new WeakMap<Words, Promise<Breakers>>();

/**
 * The rows of tokens that hold a text, or begin with a token that holds its beginning: behind each of them DRY begins anew.
 * The same as llama.cpp's `get_overlapping_token_sequences` (llama-sampler.cpp), but that a token which ends in the middle of
 * a character begins none.
 * @param texts of at most `limits.dryBreakerBytesMax` bytes, none empty
 * @throws ButterflyError REQUEST_INVALID where there are too many
 */
export async function dryBreakers(vocabulary: Words, texts: readonly string[]): Promise<Int32Array[]> {
  const opened = known.get(vocabulary) ?? Breakers.open(vocabulary);
  known.set(vocabulary, opened);
  const breakers = await opened;
  const found = new Map<string, Int32Array>();
  for (const text of new Set(texts)) for (const row of await breakers.of(text)) found.set(row.join(' '), row);
  const rows = [...found.values()];
  const longTokens = rows.reduce((sum, { length }) => sum + (length > 1 ? length : 0), 0);
  if (rows.length > limits.dryBreakersMax || longTokens > limits.dryLongBreakerTokensMax)
    throw new ButterflyError(
      'REQUEST_INVALID',
      'dry_sequence_breakers: too many tokens of this model begin these texts; send fewer of them, best of one character each.',
      { param: 'dry_sequence_breakers' },
    );
  return rows;
}

/** The texts of one vocabulary, and which rows break at the texts that were asked for of late. */
class Breakers {
  readonly #rows = new Map<string, readonly Int32Array[]>();

  /** @param words of all tokens, a character for each byte */
  private constructor(
    private readonly vocabulary: Words,
    private readonly words: readonly string[],
  ) {}

  static async open(vocabulary: Words): Promise<Breakers> {
    // Vocabularies that put a blank before the first word take it away again when one token is written alone.
    const [first] = vocabulary.tokenize('a', { addSpecial: false, parseSpecial: false });
    const hasBlank = first !== undefined && vocabulary.tokenToBytes(first, { special: true })[0] === 0x20;
    const words: string[] = [];
    for (let token = 0; token < vocabulary.size; token++) {
      if (token % tokensPerTurn === tokensPerTurn - 1) await nextTurn();
      const word = Buffer.from(vocabulary.tokenToBytes(token, { special: true })).toString('latin1');
      words.push(hasBlank && word.startsWith(' ') ? word.slice(1) : word);
    }
    return new Breakers(vocabulary, words);
  }

  async of(text: string): Promise<readonly Int32Array[]> {
    const found = this.#rows.get(text) ?? (await this.#find(text));
    this.#rows.delete(text);
    this.#rows.set(text, found);
    const [oldest] = this.#rows.keys();
    if (this.#rows.size > limits.dryBreakerTextsKept && oldest !== undefined) this.#rows.delete(oldest);
    return found;
  }

  async #find(text: string): Promise<readonly Int32Array[]> {
    const sought = Buffer.from(text).toString('latin1');
    const beginnings = beginningsOf(text).map((begin) => ({
      begin: Buffer.from(begin).toString('latin1'),
      rest: this.#restOf(text.slice(begin.length)),
    }));
    const rows: Int32Array[] = [];
    for (const [token, word] of this.words.entries()) {
      if (token % tokensPerTurn === tokensPerTurn - 1) await nextTurn();
      if (word.includes(sought)) rows.push(Int32Array.of(token));
      else
        for (const { begin, rest } of beginnings)
          if (word.endsWith(begin)) rows.push(Int32Array.of(token, ...rest));
    }
    return rows;
  }

  #restOf(text: string): Int32Array {
    const tokens = this.vocabulary.tokenize(text, { addSpecial: false, parseSpecial: false });
    return tokens.subarray(0, limits.dryBreakerTokensMax - 1);
  }
}

/** All that a text begins with, but itself. */
function beginningsOf(text: string): readonly string[] {
  const characters = Array.from(text);
  return characters.slice(1).map((_, index) => characters.slice(0, index + 1).join(''));
}
