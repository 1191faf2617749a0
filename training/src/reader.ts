import { type Ggml, type Vocabulary, loadVocabulary } from '@butterfly/ggml';
import { cacheBlockSlots, describeFamilyModel, openGguf } from '@butterfly/model';
import { StageRuntime } from '@butterfly/stage';
import { IncrementalDetokenizer } from '@butterfly/text';
import { LocalSource } from '@butterfly/weights';
import type { SamplingParams, StepSequence } from '@butterfly/wire';

/** A whole model in one stage of Butterfly, for one text at a time. */
export class Reader implements Disposable {
  readonly #sampler: ReturnType<StageRuntime['createSampler']>;

  private constructor(
    readonly vocabulary: Vocabulary,
    private readonly stage: StageRuntime,
    readonly contextTokens: number,
  ) {
    this.#sampler = stage.createSampler();
  }

  static async open(ggml: Ggml, path: string, threads: number): Promise<Reader> {
    const spec = describeFamilyModel(await openGguf(path));
    const contextTokens = Math.ceil(spec.contextTrained / cacheBlockSlots) * cacheBlockSlots;
    const range = { layerStart: 0, layerEnd: spec.layers };
    const stage = new StageRuntime({
      ggml,
      spec,
      range,
      threads,
      arenaSlots: contextTokens,
      cacheType: 'f16',
      rowsMax: contextTokens,
    });
    await using source = await LocalSource.open(spec);
    if (!source) throw new RangeError(`${path} changed while it was opened`);
    await stage.load(source);
    return new Reader(loadVocabulary(ggml, path), stage, contextTokens);
  }

  /** Sum of the negative log likelihoods in nats of all tokens but the first. */
  async surprise(tokens: Int32Array): Promise<number> {
    const rows = tokens.length - 1;
    const result = await this.stage.run(this.#step(tokens.subarray(0, rows), 0, rows, null));
    if (!result.logits) throw new RangeError('a whole model gives logits');
    let sum = 0;
    for (let row = 0; row < rows; row++) {
      const size = this.vocabulary.size;
      sum -= logProbability(result.logits.subarray(row * size, (row + 1) * size), tokens[row + 1] ?? 0);
    }
    return sum;
  }

  /** Continues a prompt until it ends or the context is full. @returns the new tokens, the last of which may be an end */
  async generate(
    prompt: Int32Array,
    sampling: SamplingParams,
    tokensMax = this.contextTokens,
  ): Promise<number[]> {
    const tokens: number[] = [];
    let input = prompt;
    for (let position = 0; position + input.length <= this.contextTokens && tokens.length < tokensMax;) {
      const step = this.#step(input, position, 1, sampling);
      const { logits } = await this.stage.run(step);
      const [output] = await this.#sampler.sample(step.sequences, logits);
      const token = output?.tokens[0];
      if (token === undefined) throw new RangeError('a step with sampling gives a token');
      tokens.push(token);
      if (this.vocabulary.endOfGenerationTokens.has(token)) break;
      position += input.length;
      input = Int32Array.of(token);
    }
    return tokens;
  }

  /** What the tokens say, without special ones. */
  text(tokens: readonly number[]): string {
    const detokenizer = new IncrementalDetokenizer(this.vocabulary);
    return tokens.map((token) => detokenizer.push(token)).join('') + detokenizer.flush();
  }

  [Symbol.dispose](): void {
    this.#sampler[Symbol.dispose]();
    this.stage[Symbol.dispose]();
    this.vocabulary[Symbol.dispose]();
  }

  #step(tokens: Int32Array, positionStart: number, logitRows: number, sampling: SamplingParams | null) {
    const sequence: StepSequence = {
      sequenceId: 0,
      regionStart: 0,
      regionSlots: this.contextTokens,
      positionStart,
      rows: tokens.length,
      logitRows,
      sampling,
      draftTokens: new Int32Array(0),
      recentTokens: new Int32Array(0),
      logprobs: null,
      scored: null,
      state: null,
      window: null,
    };
    const payload = new Uint8Array(Int32Array.from(tokens).buffer);
    return { copies: [], sequences: [sequence], payload };
  }
}

function logProbability(logits: Float32Array, token: number): number {
  const largest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const sum = logits.reduce((total, logit) => total + Math.exp(logit - largest), 0);
  return (logits[token] ?? NaN) - largest - Math.log(sum);
}
