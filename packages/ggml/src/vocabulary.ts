import { existsSync } from 'node:fs';
import { ButterflyError, ensure } from '@butterfly/common';
import { withNativeErrors, type Ggml } from './library.js';
import type { Pointer } from './symbols.js';
import type { SpecialToken, TokenizeOptions, Vocabulary } from './vocabulary-types.js';

/** Longest text of one token in bytes; ordinary vocabularies stay below 256. */
const tokenBytesMax = 4096;

/** Of `llama_token_attr` in llama.h. */
const attributes = { unknown: 1, control: 8, userDefined: 16 } as const;

class LlamaVocabulary implements Vocabulary {
  readonly size: number;
  readonly bos: number | null;
  readonly eos: number | null;
  readonly addsBos: boolean;
  readonly endOfGenerationTokens: ReadonlySet<number>;
  readonly specialTokens: readonly SpecialToken[];
  readonly #llama: Ggml['llama'];
  readonly #vocab: Pointer;
  readonly #piece = new Uint8Array(tokenBytesMax);
  #model: Pointer | null;

  constructor(ggml: Ggml, model: Pointer) {
    const llama = ggml.llama;
    this.#llama = llama;
    this.#model = model;
    this.#vocab = llama.llama_model_get_vocab(model);
    this.size = llama.llama_vocab_n_tokens(this.#vocab);
    const special = (token: number): number | null => (token < 0 ? null : token);
    this.bos = special(llama.llama_vocab_bos(this.#vocab));
    this.eos = special(llama.llama_vocab_eos(this.#vocab));
    this.addsBos = llama.llama_vocab_get_add_bos(this.#vocab);
    const ends = new Set<number>();
    for (let token = 0; token < this.size; token++)
      if (llama.llama_vocab_is_eog(this.#vocab, token)) ends.add(token);
    this.endOfGenerationTokens = ends;
    this.specialTokens = this.#specialTokens();
  }

  tokenize(text: string, options: TokenizeOptions): Int32Array {
    const vocab = this.#alive();
    const bytes = new TextEncoder().encode(text);
    // One token per byte and the special ones at both ends; more is reported as a negative count.
    let tokens = new Int32Array(bytes.length + 8);
    for (let attempt = 0; attempt < 2; attempt++) {
      const count = this.#llama.llama_tokenize(
        vocab,
        bytes,
        bytes.length,
        tokens,
        tokens.length,
        options.addSpecial,
        options.parseSpecial,
      );
      if (count >= 0) return tokens.slice(0, count);
      ensure(count > -(1 << 30), () => 'The text is too long to be tokenized.');
      tokens = new Int32Array(-count);
    }
    throw new ButterflyError('INTERNAL', 'The tokenizer gave two different counts for one text.');
  }

  tokenToBytes(token: number, options: { readonly special: boolean }): Uint8Array {
    const vocab = this.#checked(token);
    const length = this.#llama.llama_token_to_piece(
      vocab,
      token,
      this.#piece,
      tokenBytesMax,
      0,
      options.special,
    );
    ensure(length >= 0, () => `Token ${token} is longer than ${tokenBytesMax} bytes.`);
    return this.#piece.slice(0, length);
  }

  tokenText(token: number): string {
    return this.#llama.llama_vocab_get_text(this.#checked(token), token) ?? '';
  }

  [Symbol.dispose](): void {
    if (this.#model !== null) this.#llama.llama_model_free(this.#model);
    this.#model = null;
  }

  /** The same as `cache_special_tokens` of llama-vocab.cpp. */
  #specialTokens(): readonly SpecialToken[] {
    const { control, unknown, userDefined } = attributes;
    const found: SpecialToken[] = [];
    for (let token = 0; token < this.size; token++) {
      const attribute = this.#llama.llama_vocab_get_attr(this.#vocab, token);
      if ((attribute & (control | unknown | userDefined)) === 0) continue;
      const text = this.tokenText(token);
      if (text !== '') found.push({ token, text, isAlwaysRead: (attribute & (control | unknown)) === 0 });
    }
    return found;
  }

  #alive(): Pointer {
    if (this.#model === null) throw new ButterflyError('COMPUTE_INVALID', 'The vocabulary is disposed.');
    return this.#vocab;
  }

  #checked(token: number): Pointer {
    ensure(
      Number.isInteger(token) && token >= 0 && token < this.size,
      () => `Token ${token} is not in the vocabulary of ${this.size}.`,
    );
    return this.#alive();
  }
}

/**
 * Loads the tokenizer of a GGUF file, without its weights.
 * @throws ButterflyError MODEL_NOT_FOUND, or MODEL_CORRUPT when libllama cannot read it.
 */
export function loadVocabulary(ggml: Ggml, path: string): Vocabulary {
  if (!existsSync(path)) throw new ButterflyError('MODEL_NOT_FOUND', `There is no file ${path}.`);
  const params = ggml.llama.llama_model_default_params();
  params.vocabOnly = true;
  const { result: model, errors } = withNativeErrors(() =>
    ggml.llama.llama_model_load_from_file(path, params),
  );
  if (model !== null) return new LlamaVocabulary(ggml, model);
  const reason = errors[0]?.replace(/^\w+: /, '') ?? 'no reason given';
  throw new ButterflyError(
    'MODEL_CORRUPT',
    `libllama cannot read the tokenizer of ${path} (${reason}); download or convert the model again.`,
  );
}
