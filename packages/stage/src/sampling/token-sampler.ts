import { limits } from '@butterfly/common';
import { type CpuBackend, Softmax } from '@butterfly/ggml';
import { drawFraction } from '@butterfly/model';
import type { SamplingParams, Step, StepResult, StepSequence } from '@butterfly/wire';
import { drawToken, inverse, isNarrowing, largestIndex, noToken } from './draw.js';
import { ruleOut } from './token-masks.js';
import { faultySequences, type StageFaults } from '../faults.js';
import type { TokenMasks } from '../stage.js';

/** Rows whose probabilities are computed at once; each takes 4 bytes for each token of the vocabulary. */
const rowsAtOnce = 16;

/** A row of logits and the token to be sampled from it. */
interface SampledRow {
  readonly row: number;
  readonly position: number;
  readonly sampling: SamplingParams;
  /** The tokens that penalties look at. */
  readonly recentTokens: Int32Array;
}

/** The answer for a sequence whose numbers are NaN or infinite. */
const noTokens = new Int32Array(0);

/** Draws tokens from logits on the last stage. It remembers nothing of a sequence: each step says all it needs. */
export class TokenSampler implements Disposable {
  readonly #softmax: Softmax;

  constructor(
    backend: CpuBackend,
    private readonly vocabularySize: number,
    /** Of sequences with a constraint. */
    private readonly masks: TokenMasks | null = null,
  ) {
    this.#softmax = new Softmax(backend, vocabularySize, rowsAtOnce);
  }

  /**
   * For each sequence that samples, its guesses as far as they are what is sampled, and the token sampled after them. The
   * line ends before a token that cannot be sampled because its numbers are NaN or infinite; a sequence without any
   * token has failed, also one in the midst of its prompt.
   * @param logits F32 of the logit rows of all sequences in turn; used up, as penalties are applied in place. Null in
   * the midst of prompts.
   */
  async sample(
    sequences: Step['sequences'],
    logits: Float32Array | null,
    faults: StageFaults | null = null,
  ): Promise<StepResult['outputs']> {
    if (logits) ruleOut(sequences, logits, (await this.masks?.ready()) ?? new Map(), this.vocabularySize);
    const faulty = faults && faultySequences(sequences, faults);
    const lines: { readonly sequence: StepSequence; readonly rows: SampledRow[] }[] = [];
    let end = 0;
    for (const sequence of sequences) {
      end += sequence.logitRows;
      if (faulty?.has(sequence.sequenceId)) lines.push({ sequence, rows: [] });
      else if (logits && sequence.sampling && sequence.logitRows > 0)
        lines.push({ sequence, rows: sampledRows(sequence, sequence.sampling, end) });
    }
    const rows = lines.flatMap((line) => line.rows);
    const tokens = logits && (await this.#tokens(rows, logits, faults?.logitRows));
    let start = 0;
    const outputs = lines.map((line) => {
      const { sequenceId, draftTokens } = line.sequence;
      const sampled = tokens?.subarray(start, (start += line.rows.length)) ?? noTokens;
      return { sequenceId, tokens: confirmed(sampled, draftTokens) };
    });
    this.masks?.accept(outputs);
    return outputs;
  }

  [Symbol.dispose](): void {
    this.#softmax[Symbol.dispose]();
  }

  /** The token of each row, or `noToken`. */
  async #tokens(
    rows: readonly SampledRow[],
    logits: Float32Array,
    faultyRows: StageFaults['logitRows'] | undefined,
  ): Promise<Int32Array> {
    const tokens = new Int32Array(rows.length);
    const drawn: number[] = [];
    for (const [i, { row, sampling, recentTokens }] of rows.entries()) {
      if (faultyRows?.has(row)) {
        tokens[i] = noToken;
        continue;
      }
      const values = this.#row(logits, row);
      penalise(values, sampling, recentTokens);
      if (sampling.temperature === 0) tokens[i] = largestIndex(values);
      else drawn.push(i);
    }
    for (let start = 0; start < drawn.length; start += rowsAtOnce) {
      const indices = drawn.slice(start, start + rowsAtOnce);
      const inputs = this.#softmax.inputs(indices.length);
      for (const [i, index] of indices.entries()) {
        const wanted = rows[index];
        if (wanted) scale(this.#row(logits, wanted.row), wanted.sampling, this.#row(inputs, i));
      }
      const probabilities = await this.#softmax.compute(indices.length);
      for (const [i, index] of indices.entries()) {
        const wanted = rows[index];
        if (!wanted) continue;
        const fraction = drawFraction(wanted.sampling.seed, wanted.position);
        const row = this.#row(probabilities, i);
        // Each is divided by the sum of all: one tells of all whether the logits gave any.
        tokens[index] = Number.isNaN(row[0]) ? noToken : drawToken(row, wanted.sampling, fraction);
      }
    }
    return tokens;
  }

  #row(values: Float32Array, row: number): Float32Array {
    return values.subarray(row * this.vocabularySize, (row + 1) * this.vocabularySize);
  }
}

/** The row before its guesses and those of the guesses, given the end of its rows of logits. */
function sampledRows(sequence: StepSequence, sampling: SamplingParams, end: number): SampledRow[] {
  const { draftTokens, recentTokens } = sequence;
  const count = draftTokens.length + 1;
  const positionEnd = sequence.positionStart + sequence.rows;
  return Array.from({ length: count }, (_, i) => ({
    row: end - count + i,
    position: positionEnd - count + i,
    sampling,
    // The row of a guess counts only if it and those before it are confirmed.
    recentTokens: i === 0 ? recentTokens : Int32Array.of(...recentTokens, ...draftTokens.subarray(0, i)),
  }));
}

/**
 * A token that is not the one guessed ends the line, as the rows behind it belong to another text; and the line ends before
 * one that cannot be said.
 */
function confirmed(sampled: Int32Array, draftTokens: Int32Array): Int32Array {
  let count = 0;
  while (count < draftTokens.length && sampled[count] === draftTokens[count]) count++;
  return sampled.slice(0, sampled[count] === noToken ? count : count + 1);
}

/** Makes recent tokens less likely, as libllama's sampler does. */
function penalise(logits: Float32Array, sampling: SamplingParams, recentTokens: Int32Array): void {
  const { repeatPenalty, frequencyPenalty, presencePenalty } = sampling;
  if (repeatPenalty === 1 && frequencyPenalty === 0 && presencePenalty === 0) return;
  const counts = new Map<number, number>();
  for (const token of recentTokens.subarray(-limits.recentTokensMax))
    counts.set(token, (counts.get(token) ?? 0) + 1);
  for (const [token, count] of counts) {
    const logit = logits[token];
    if (logit === undefined) continue;
    const repeated = logit <= 0 ? logit * repeatPenalty : logit / repeatPenalty;
    logits[token] = repeated - count * frequencyPenalty - presencePenalty;
  }
}

/** Divides by the temperature, unless that comes after narrowing. */
function scale(logits: Float32Array, sampling: SamplingParams, target: Float32Array): void {
  const { temperature } = sampling;
  if (temperature === 1 || isNarrowing(sampling)) {
    target.set(logits);
    return;
  }
  const factor = inverse(temperature);
  for (let i = 0; i < target.length; i++) target[i] = (logits[i] ?? 0) * factor;
}
