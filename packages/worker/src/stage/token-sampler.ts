import { limits, type SamplingParams, type Step, type StepResult } from '@butterfly/common';
import { Candidates, SamplerChain, type Ggml, type CpuBackend } from '@butterfly/ggml';
import { drawFraction } from '@butterfly/model';
import type { StageResult } from './runtime.js';

/** Chains kept for requests with the same parameters. */
const chainsMax = 32;

/** Draws tokens from logits on the last stage. It remembers nothing of a sequence: each step says all it needs. */
export class TokenSampler implements Disposable {
  readonly #candidates: Candidates;
  readonly #chains = new Map<string, SamplerChain>();

  constructor(
    private readonly ggml: Ggml,
    backend: CpuBackend,
    private readonly vocabularySize: number,
  ) {
    this.#candidates = new Candidates(backend, vocabularySize);
  }

  /** One token for each logit row of each sequence that asks for sampling. */
  sample(
    sequences: Step['sequences'],
    { logits, greedy }: Pick<StageResult, 'logits' | 'greedy'>,
  ): StepResult['outputs'] {
    const outputs: { sequenceId: number; tokens: Int32Array }[] = [];
    let logitRow = 0;
    for (const sequence of sequences) {
      const { sampling, logitRows } = sequence;
      if (sampling && logits && greedy) {
        const first = logitRow;
        const tokens = Int32Array.from({ length: logitRows }, (_, i) => {
          const row = first + i;
          if (isGreedy(sampling)) return greedy[row] ?? 0;
          const position = sequence.positionStart + sequence.rows - logitRows + i;
          const start = row * this.vocabularySize;
          return this.#draw(
            logits.subarray(start, start + this.vocabularySize),
            sampling,
            position,
            sequence.recentTokens,
          );
        });
        outputs.push({ sequenceId: sequence.sequenceId, tokens });
      }
      logitRow += logitRows;
    }
    return outputs;
  }

  [Symbol.dispose](): void {
    for (const chain of this.#chains.values()) chain[Symbol.dispose]();
    this.#chains.clear();
    this.#candidates[Symbol.dispose]();
  }

  #draw(logits: Float32Array, sampling: SamplingParams, position: number, recentTokens: Int32Array): number {
    this.#candidates.fill(logits);
    this.#chain(sampling).apply(this.#candidates, recentTokens);
    // Temperature 0 leaves the chosen token alone with a finite logit, so any fraction draws it.
    return this.#candidates.draw(drawFraction(sampling.seed, position));
  }

  #chain(sampling: SamplingParams): SamplerChain {
    const { temperature, topK, topP, minP, repeatPenalty, frequencyPenalty, presencePenalty } = sampling;
    const key = [temperature, topK, topP, minP, repeatPenalty, frequencyPenalty, presencePenalty].join();
    const known = this.#chains.get(key);
    if (known) return known;
    if (this.#chains.size >= chainsMax) {
      for (const chain of this.#chains.values()) chain[Symbol.dispose]();
      this.#chains.clear();
    }
    const penalties = hasPenalties(sampling)
      ? { repeat: repeatPenalty, frequency: frequencyPenalty, presence: presencePenalty }
      : null;
    const chain = new SamplerChain(
      this.ggml,
      { penalties, topK, topP, minP, temperature },
      this.vocabularySize,
      limits.recentTokensMax,
    );
    this.#chains.set(key, chain);
    return chain;
  }
}

function hasPenalties({ repeatPenalty, frequencyPenalty, presencePenalty }: SamplingParams): boolean {
  return repeatPenalty !== 1 || frequencyPenalty !== 0 || presencePenalty !== 0;
}

function isGreedy(sampling: SamplingParams): boolean {
  return sampling.temperature === 0 && !hasPenalties(sampling);
}
