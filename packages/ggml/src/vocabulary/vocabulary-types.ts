export interface TokenizeOptions {
  /** Adds the BOS and EOS tokens that the model asks for. */
  readonly addSpecial: boolean;
  /** Reads special and control tokens out of the text; off for what users write. */
  readonly parseSpecial: boolean;
}

/** A token that libllama finds in a text as a whole, before it takes the rest apart. */
export interface SpecialToken {
  readonly token: number;
  readonly text: string;
  /** Found whether special tokens are asked for or not: a token that the model's makers added by hand. */
  readonly isAlwaysRead: boolean;
}

/** What a text with a gap in it is written with, for models that were taught to fill it. */
export interface InfillTokens {
  /** Stands before what comes before the gap. */
  readonly prefix: number;
  /** Stands before what comes behind it. */
  readonly suffix: number;
  /** Stands before what is to fill it. */
  readonly middle: number;
  /** Stands before the name of a repository; null where nothing does. */
  readonly repository: number | null;
  /** Stands before the name of a file of it; null where nothing does. */
  readonly file: number | null;
}

/** The tokenizer of one model, as libllama implements it. */
export interface Vocabulary extends Disposable {
  /** Number of tokens. */
  readonly size: number;
  readonly bos: number | null;
  readonly eos: number | null;
  readonly addsBos: boolean;
  readonly addsEos: boolean;
  /** What stands between two texts in one, as rerankers read them; null where nothing does. */
  readonly separator: number | null;
  /** Null where the model was taught to fill no gaps. */
  readonly infill: InfillTokens | null;
  readonly endOfGenerationTokens: ReadonlySet<number>;
  readonly specialTokens: readonly SpecialToken[];
  tokenize(text: string, options: TokenizeOptions): Int32Array;
  /** The bytes of one token, which need not be whole code points. Special tokens give nothing unless asked for. */
  tokenToBytes(token: number, options: { readonly special: boolean }): Uint8Array;
  /** The text of a token in the vocabulary, such as `<s>`. */
  tokenText(token: number): string;
}
