import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { ensure } from '@butterfly/common';
import koffi, { type KoffiFunc } from 'koffi';

/** A token that a sampler left, with its logit. */
export interface OracleCandidate {
  readonly token: number;
  readonly logit: number;
}

/** One of libllama's samplers with its parameters. */
export type OracleSampler =
  | { readonly kind: 'logitBias'; readonly biases: readonly (readonly [token: number, bias: number])[] }
  | {
      readonly kind: 'penalties';
      readonly lastN: number;
      readonly repeat: number;
      readonly frequency: number;
      readonly presence: number;
    }
  | {
      readonly kind: 'dry';
      readonly multiplier: number;
      readonly base: number;
      readonly allowedLength: number;
      readonly lastN: number;
      /** Texts behind which it begins anew, none by default, and the `llama_vocab` whose tokens they are looked for in. */
      readonly breakers?: { readonly vocabulary: bigint; readonly texts: readonly string[] };
    }
  | { readonly kind: 'topK'; readonly k: number }
  | { readonly kind: 'typical' | 'topP' | 'minP'; readonly p: number }
  /** Always, not by chance. */
  | { readonly kind: 'xtc'; readonly threshold: number }
  | { readonly kind: 'temperature'; readonly temperature: number };

/** `llama_token_data` of llama.h. */
const tokenData = koffi.struct({ token: 'int32_t', logit: 'float', p: 'float' });
/** `llama_token_data_array` of llama.h: where the data are, how many, which is selected, and whether they are sorted. */
const arrayBytes = 32;

const anySeed = 1;

/** libllama's own samplers, one after the other: what ours are compared with. */
export class OracleSamplers {
  readonly #call: (
    name: string,
    result: string,
    parameters: readonly string[],
    args: readonly unknown[],
  ) => unknown;

  /** @param directory of the libraries, as `loadGgml` finds it. */
  constructor(directory: string) {
    const file = readdirSync(directory).find((name) =>
      /^(lib)?llama(\.v[\d.]+)?\.(so|dylib|dll)$/.test(name),
    );
    ensure(file !== undefined, () => `There is no libllama in ${directory}.`);
    const library = koffi.load(join(directory, file));
    const bound = new Map<string, KoffiFunc<(...args: unknown[]) => unknown>>();
    this.#call = (name, result, parameters, args) => {
      const known = bound.get(name) ?? library.func(name, result, [...parameters]);
      bound.set(name, known);
      return known(...args) as unknown;
    };
  }

  /**
   * What is left of these logits, in no order, and with which logits.
   * @param recentTokens that the samplers have seen, oldest first.
   */
  apply(
    logits: readonly number[],
    samplers: readonly OracleSampler[],
    recentTokens: readonly number[] = [],
  ): OracleCandidate[] {
    const memory = koffi.alloc(tokenData, logits.length) as bigint;
    try {
      const all = logits.map((logit, token) => ({ token, logit, p: 0 }));
      koffi.encode(memory, koffi.array(tokenData, logits.length), all);
      const array = Buffer.alloc(arrayBytes);
      array.writeBigUInt64LE(memory, 0);
      array.writeBigUInt64LE(BigInt(logits.length), 8);
      array.writeBigInt64LE(-1n, 16);
      for (const sampler of samplers)
        this.#applyOne(this.#create(sampler, logits.length), array, recentTokens);
      const size = Number(array.readBigUInt64LE(8));
      const left = koffi.decode(array.readBigUInt64LE(0), koffi.array(tokenData, size)) as OracleCandidate[];
      return left.map(({ token, logit }) => ({ token, logit }));
    } finally {
      koffi.free(memory);
    }
  }

  #applyOne(sampler: unknown, array: Buffer, recentTokens: readonly number[]): void {
    for (const token of recentTokens)
      this.#call('llama_sampler_accept', 'void', ['void *', 'int32_t'], [sampler, token]);
    this.#call('llama_sampler_apply', 'void', ['void *', 'void *'], [sampler, array]);
    this.#call('llama_sampler_free', 'void', ['void *'], [sampler]);
  }

  #create(sampler: OracleSampler, vocabulary: number): unknown {
    const init = (name: string, parameters: readonly string[], args: readonly unknown[]): unknown =>
      this.#call(`llama_sampler_init_${name}`, 'void *', parameters, args);
    switch (sampler.kind) {
      case 'logitBias': {
        const pairs = Buffer.alloc(8 * sampler.biases.length);
        for (const [i, [token, bias]] of sampler.biases.entries()) {
          pairs.writeInt32LE(token, 8 * i);
          pairs.writeFloatLE(bias, 8 * i + 4);
        }
        return init(
          'logit_bias',
          ['int32_t', 'int32_t', 'void *'],
          [vocabulary, sampler.biases.length, pairs],
        );
      }
      case 'penalties':
        return init(
          'penalties',
          ['int32_t', 'int32_t', 'float', 'float', 'float'],
          [vocabulary, sampler.lastN, sampler.repeat, sampler.frequency, sampler.presence],
        );
      case 'dry': {
        const { vocabulary: vocab = null, texts = [] } = sampler.breakers ?? {};
        return init(
          'dry',
          ['void *', 'float', 'float', 'int32_t', 'int32_t', 'const char **', 'size_t'],
          // Without breakers, which are texts, it does not look at the vocabulary.
          [
            vocab,
            sampler.multiplier,
            sampler.base,
            sampler.allowedLength,
            sampler.lastN,
            texts.length === 0 ? null : texts,
            texts.length,
          ],
        );
      }
      case 'topK':
        return init('top_k', ['int32_t'], [sampler.k]);
      case 'typical':
        return init('typical', ['float', 'size_t'], [sampler.p, 0]);
      case 'topP':
        return init('top_p', ['float', 'size_t'], [sampler.p, 0]);
      case 'minP':
        return init('min_p', ['float', 'size_t'], [sampler.p, 0]);
      case 'xtc':
        return init('xtc', ['float', 'float', 'size_t', 'uint32_t'], [1, sampler.threshold, 0, anySeed]);
      case 'temperature':
        return init('temp', ['float'], [sampler.temperature]);
      default:
        return sampler satisfies never;
    }
  }
}
