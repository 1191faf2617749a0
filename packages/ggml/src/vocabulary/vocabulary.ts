import { existsSync } from 'node:fs';
import { ButterflyError, ensure } from '@butterfly/common';
import { withNativeErrors, type Ggml } from '../library/library.js';
import { cutLongRuns, recursesOverText } from './long-runs.js';
import type { Pointer } from '../library/symbols.js';
import type { InfillTokens, SpecialToken, TokenizeOptions, Vocabulary } from './vocabulary-types.js';

/** Room for what a token stands for, in bytes; it grows for the odd one that needs more. */
const pieceBytesUsual = 4096;

/** `llama_vocab_type` of llama.h. */
const vocabularyTypes = { none: 0, bytePair: 2, wordPiece: 3, test: 7 } as const;

/** `llama_token_attr` of llama.h. */
const attributes = { unknown: 1, control: 8, userDefined: 16 } as const;

class LlamaVocabulary implements Vocabulary {
  readonly size: number;
  readonly bos: number | null;
  readonly eos: number | null;
  readonly addsBos: boolean;
  readonly addsEos: boolean;
  readonly separator: number | null;
  readonly infill: InfillTokens | null;
  readonly endOfGenerationTokens: ReadonlySet<number>;
  readonly specialTokens: readonly SpecialToken[];
  readonly #llama: Ggml['llama'];
  readonly #vocab: Pointer;
  readonly #cutsLongRuns: boolean;
  #piece = new Uint8Array(pieceBytesUsual);
  #model: Pointer | null;

  constructor(ggml: Ggml, model: Pointer) {
    const llama = ggml.llama;
    this.#llama = llama;
    this.#model = model;
    this.#vocab = llama.llama_model_get_vocab(model);
    this.size = llama.llama_vocab_n_tokens(this.#vocab);
    this.bos = special(llama.llama_vocab_bos(this.#vocab));
    this.eos = special(llama.llama_vocab_eos(this.#vocab));
    this.addsBos = llama.llama_vocab_get_add_bos(this.#vocab);
    this.addsEos = llama.llama_vocab_get_add_eos(this.#vocab);
    this.separator = llama.llama_vocab_get_add_sep(this.#vocab)
      ? special(llama.llama_vocab_sep(this.#vocab))
      : null;
    this.infill = infillTokens(llama, this.#vocab);
    this.#cutsLongRuns =
      llama.llama_vocab_type(this.#vocab) === vocabularyTypes.bytePair &&
      recursesOverText(metadataText(llama, model, 'tokenizer.ggml.pre'));
    const ends = new Set<number>();
    for (let token = 0; token < this.size; token++)
      if (llama.llama_vocab_is_eog(this.#vocab, token)) ends.add(token);
    this.endOfGenerationTokens = ends;
    this.specialTokens = this.#specialTokens();
  }

  tokenize(text: string, options: TokenizeOptions): Int32Array {
    const vocab = this.#alive();
    const specials = (): readonly string[] =>
      this.specialTokens
        .filter(({ isAlwaysRead }) => options.parseSpecial || isAlwaysRead)
        .map((special) => special.text);
    const pieces = this.#cutsLongRuns ? cutLongRuns(text, specials) : [text];
    if (pieces.length === 1) return this.#tokenizeWhole(vocab, text, options);
    const { addSpecial } = options;
    return Int32Array.from([
      ...(addSpecial && this.addsBos && this.bos !== null ? [this.bos] : []),
      ...pieces.flatMap((piece) => [...this.#tokenizeWhole(vocab, piece, { ...options, addSpecial: false })]),
      ...(addSpecial && this.addsEos && this.eos !== null ? [this.eos] : []),
    ]);
  }

  tokenToBytes(token: number, options: { readonly special: boolean }): Uint8Array {
    const vocab = this.#checked(token);
    // A negative length says how much room it takes.
    for (let attempt = 0; attempt < 2; attempt++) {
      const room = this.#piece.length;
      const length = this.#llama.llama_token_to_piece(vocab, token, this.#piece, room, 0, options.special);
      if (length >= 0) return this.#piece.slice(0, length);
      this.#piece = new Uint8Array(-length);
    }
    throw new ButterflyError('INTERNAL', `Token ${token} has two different lengths.`);
  }

  tokenText(token: number): string {
    return this.#llama.llama_vocab_get_text(this.#checked(token), token) ?? '';
  }

  [Symbol.dispose](): void {
    if (this.#model !== null) this.#llama.llama_model_free(this.#model);
    this.#model = null;
  }

  #tokenizeWhole(vocab: Pointer, text: string, options: TokenizeOptions): Int32Array {
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
      if (count >= 0) return this.#known(tokens.slice(0, count));
      ensure(count > -(1 << 30), () => 'The text is too long to be tokenized.');
      tokens = new Int32Array(-count);
    }
    throw new ButterflyError('INTERNAL', 'The tokenizer gave two different counts for one text.');
  }

  /** Some tokenizers of libllama give -1 for what no token stands for. */
  #known(tokens: Int32Array): Int32Array {
    const unknown = tokens.find((token) => token < 0 || token >= this.size);
    ensure(unknown === undefined, () => `The tokenizer gave token ${unknown ?? ''} of ${this.size}.`);
    return tokens;
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

/** As llama.h has the tokens that there are not: below 0. */
const special = (token: number): number | null => (token < 0 ? null : token);

function infillTokens(llama: Ggml['llama'], vocab: Pointer): InfillTokens | null {
  const prefix = special(llama.llama_vocab_fim_pre(vocab));
  const suffix = special(llama.llama_vocab_fim_suf(vocab));
  const middle = special(llama.llama_vocab_fim_mid(vocab));
  if (prefix === null || suffix === null || middle === null) return null;
  const repository = special(llama.llama_vocab_fim_rep(vocab));
  return { prefix, suffix, middle, repository, file: special(llama.llama_vocab_fim_sep(vocab)) };
}

/**
 * Loads the tokenizer of a GGUF file, without its weights. The file must have passed `openGguf` of @butterfly/model:
 * libllama ends the process on some vocabularies, while it loads them or at a later text.
 * @throws ButterflyError MODEL_NOT_FOUND, MODEL_UNSUPPORTED, or MODEL_CORRUPT when libllama cannot read it.
 */
export function loadVocabulary(ggml: Ggml, path: string): Vocabulary {
  if (!existsSync(path)) throw new ButterflyError('MODEL_NOT_FOUND', `There is no file ${path}.`);
  const params = ggml.llama.llama_model_default_params();
  params.vocabOnly = true;
  const { result: model, errors } = withNativeErrors(() =>
    ggml.llama.llama_model_load_from_file(path, params),
  );
  if (model !== null) {
    const refusal = refusalOf(ggml.llama, model, path);
    if (refusal === null) return new LlamaVocabulary(ggml, model);
    ggml.llama.llama_model_free(model);
    throw refusal;
  }
  const reason = errors[0]?.replace(/^\w+: /, '') ?? 'no reason given';
  throw new ButterflyError(
    'MODEL_CORRUPT',
    `libllama cannot read the tokenizer of ${path} (${reason}); download or convert the model again.`,
  );
}

/** What libllama asserts when it tokenizes: that there is a tokenizer, and each special token that it adds. */
function refusalOf(llama: Ggml['llama'], model: Pointer, path: string): ButterflyError | null {
  const vocab = llama.llama_model_get_vocab(model);
  const type = llama.llama_vocab_type(vocab);
  if (type === vocabularyTypes.none || type === vocabularyTypes.test || llama.llama_vocab_n_tokens(vocab) < 1)
    return new ButterflyError(
      'MODEL_UNSUPPORTED',
      `${path} has no tokenizer, so that it cannot be run. Use a model that has one.`,
    );
  const isWordPiece = type === vocabularyTypes.wordPiece;
  const needed = [
    {
      name: 'bos',
      isAdded: isWordPiece || llama.llama_vocab_get_add_bos(vocab),
      id: llama.llama_vocab_bos(vocab),
    },
    { name: 'eos', isAdded: llama.llama_vocab_get_add_eos(vocab), id: llama.llama_vocab_eos(vocab) },
    { name: 'seperator', isAdded: isWordPiece, id: llama.llama_vocab_sep(vocab) },
  ];
  const missing = needed.find(({ isAdded, id }) => isAdded && id < 0);
  if (missing === undefined) return null;
  return new ButterflyError(
    'MODEL_CORRUPT',
    `${path}: its tokenizer adds a token that it does not have (tokenizer.ggml.${missing.name}_token_id); convert the model again.`,
  );
}

/** A text of the metadata; empty when there is none, and cut after a few bytes, since only short ones are asked for. */
function metadataText(llama: Ggml['llama'], model: Pointer, key: string): string {
  const buffer = new Uint8Array(64);
  const length = llama.llama_model_meta_val_str(model, key, buffer, buffer.length);
  return Buffer.from(buffer.subarray(0, Math.max(0, Math.min(length, buffer.length - 1)))).toString();
}
