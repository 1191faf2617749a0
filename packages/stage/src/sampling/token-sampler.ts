import { type CpuBackend, Softmax } from '@butterfly/ggml';
import { drawFraction } from '@butterfly/model';
import type { SamplingParams, Step, StepOutput, StepResult } from '@butterfly/wire';
import { adjustLogits, isAdjusting, touchedLogits } from './adjust.js';
import { largestIndex, noToken } from './blocks.js';
import { drawToken, inverse } from './draw.js';
import { LogprobReader, packed, type RowLogprobs } from './logprobs.js';
import { isNarrowing, type Narrowing } from './narrow.js';
import { type Line, linesOf, type SampledRow } from './sampled-rows.js';
import { ruleOut } from './token-masks.js';
import { faultySequences, type StageFaults } from '../faults.js';
import type { TokenMasks } from '../stage.js';

/** Rows whose probabilities are computed at once; each takes 4 bytes for each token of the vocabulary. */
const rowsAtOnce = 16;
/** Beyond it, XTC is off, as in llama.cpp. */
const xtcThresholdMax = 0.5;
/** The draws of XTC come from a stream of their own, so that they say nothing of which token is drawn. */
const xtcStream = 1;

/** The answer for a sequence whose numbers are NaN or infinite. */
const noTokens = new Int32Array(0);

/** What was read of raw logits, by row. */
type LogprobsByRow = ReadonlyMap<number, RowLogprobs | null>;
const noLogprobs: LogprobsByRow = new Map();

/** Draws tokens from logits on the last stage. It remembers nothing of a sequence: each step says all it needs. */
export class TokenSampler implements Disposable {
  readonly #softmax: Softmax;
  readonly #logprobs: LogprobReader;

  constructor(
    backend: CpuBackend,
    private readonly vocabularySize: number,
    /** Of sequences with a constraint. */
    private readonly masks: TokenMasks | null = null,
  ) {
    this.#softmax = new Softmax(backend, vocabularySize, rowsAtOnce);
    this.#logprobs = new LogprobReader(this.#softmax, rowsAtOnce);
  }

  /**
   * For each sequence that samples, its guesses as far as they are what is sampled, and the token sampled after them; for
   * each that is scored, the log probabilities of the scored tokens. The line ends before a token that cannot be sampled
   * because its numbers are NaN or infinite; a sequence without any token has failed, also one in the midst of its prompt.
   * @param logits F32 of the logit rows of all sequences in turn; used up, as penalties are applied in place. Null in
   * the midst of prompts.
   */
  async sample(
    sequences: Step['sequences'],
    logits: Float32Array | null,
    faults: StageFaults | null = null,
  ): Promise<StepResult['outputs']> {
    const lines = linesOf(sequences, faults && faultySequences(sequences, faults));
    if (!logits) return lines.map(({ sequence: { sequenceId } }) => ({ sequenceId, tokens: noTokens }));
    const logprobs = await this.#readLogprobs(lines, logits, faults?.logitRows);
    const scores = lines.map((line) => this.#scored(line, logits, logprobs));
    // What the model holds likely is told of all tokens, also of those that a constraint rules out.
    ruleOut(sequences, logits, (await this.masks?.ready()) ?? new Map(), this.vocabularySize);
    const rows = lines.flatMap(({ sampled }) => sampled);
    const chosen = await this.#tokens(rows, logits, { faultyRows: faults?.logitRows, logprobs });
    let start = 0;
    const outputs = lines.map(({ sequence, sampled }, index) => {
      const { sequenceId, draftTokens } = sequence;
      const tokens = confirmed(chosen.tokens.subarray(start, start + sampled.length), draftTokens);
      const first = start;
      start += sampled.length;
      const scored = scores[index];
      const isFailed = scored === null || (sampled.length > 0 && tokens.length === 0);
      if (isFailed) return { sequenceId, tokens: noTokens };
      const output: StepOutput = { sequenceId, tokens, ...(scored && { scored }) };
      if (sequence.logprobs === null || sequence.sampling === null) return output;
      const read = sampled.slice(0, tokens.length).flatMap(({ row }) => logprobs.get(row) ?? []);
      return { ...output, logprobs: packed(read, chosen.rawLogits.slice(first, first + tokens.length)) };
    });
    this.masks?.accept(outputs);
    return outputs;
  }

  [Symbol.dispose](): void {
    this.#softmax[Symbol.dispose]();
  }

  /** Of all rows that want any; nothing is computed where none does. */
  async #readLogprobs(
    lines: readonly Line[],
    logits: Float32Array,
    faultyRows: StageFaults['logitRows'] | undefined,
  ): Promise<LogprobsByRow> {
    const wanted = lines
      .flatMap(({ sequence: { logprobs, scored }, scoredStart, sampled, isSound }) => [
        ...(isSound && scored !== null
          ? Array.from(scored.tokens, (_, i) => ({
              row: scoredStart + i,
              alternatives: scored.alternatives,
            }))
          : []),
        ...(logprobs === null ? [] : sampled.map(({ row }) => ({ row, alternatives: logprobs }))),
      ])
      .filter(({ row }) => faultyRows?.has(row) !== true);
    if (wanted.length === 0) return noLogprobs;
    const read = await this.#logprobs.read(wanted, logits);
    return new Map(wanted.map(({ row }, i) => [row, read[i] ?? null]));
  }

  /** Undefined where nothing is scored, and null where its numbers are none. */
  #scored(
    { sequence: { scored }, scoredStart, isSound }: Line,
    logits: Float32Array,
    logprobs: LogprobsByRow,
  ): StepOutput['scored'] | null {
    if (!isSound) return null;
    if (scored === null) return undefined;
    const rows: RowLogprobs[] = [];
    const chosen: number[] = [];
    for (const [i, token] of scored.tokens.entries()) {
      const read = logprobs.get(scoredStart + i);
      if (!read) return null;
      rows.push(read);
      chosen.push(this.#row(logits, scoredStart + i)[token] ?? -Infinity);
    }
    return packed(rows, chosen);
  }

  /** The token of each row, or `noToken`, and where log probabilities are wanted the logit that it had. */
  async #tokens(
    rows: readonly SampledRow[],
    logits: Float32Array,
    {
      faultyRows,
      logprobs,
    }: { readonly faultyRows: StageFaults['logitRows'] | undefined; readonly logprobs: LogprobsByRow },
  ): Promise<{ readonly tokens: Int32Array; readonly rawLogits: number[] }> {
    const tokens = new Int32Array(rows.length);
    const drawn: Drawn[] = [];
    const touched = new Map<number, ReadonlyMap<number, number>>();
    for (const [index, { row, position, sampling, recentTokens }] of rows.entries()) {
      if (faultyRows?.has(row)) {
        tokens[index] = noToken;
        continue;
      }
      const values = this.#row(logits, row);
      if (isAdjusting(sampling)) {
        if (logprobs.has(row)) touched.set(index, touchedLogits(values, sampling, recentTokens));
        adjustLogits(values, sampling, recentTokens);
      }
      const choice = choiceOf(sampling, position);
      if (isGreedy(choice)) tokens[index] = largestIndex(values);
      else drawn.push({ index, values, position, choice, seed: sampling.seed });
    }
    await this.#draw(drawn, tokens);
    if (logprobs.size === 0) return { tokens, rawLogits: [] };
    const rawLogits = rows.map(({ row }, index) => {
      const token = tokens[index] ?? noToken;
      return touched.get(index)?.get(token) ?? this.#row(logits, row)[token] ?? NaN;
    });
    return { tokens, rawLogits };
  }

  async #draw(drawn: readonly Drawn[], tokens: Int32Array): Promise<void> {
    for (let start = 0; start < drawn.length; start += rowsAtOnce) {
      const some = drawn.slice(start, start + rowsAtOnce);
      const inputs = this.#softmax.inputs(some.length);
      for (const [i, { values, choice }] of some.entries()) scale(values, choice, this.#row(inputs, i));
      const probabilities = await this.#softmax.compute(some.length);
      for (const [i, { index, choice, seed, position }] of some.entries()) {
        const row = this.#row(probabilities, i);
        // Each is divided by the sum of all: one tells of all whether the logits gave any.
        tokens[index] = Number.isNaN(row[0]) ? noToken : drawToken(row, choice, drawFraction(seed, position));
      }
    }
  }

  #row(values: Float32Array, row: number): Float32Array {
    return values.subarray(row * this.vocabularySize, (row + 1) * this.vocabularySize);
  }
}

/** How the token of a row is chosen of those with a probability. */
type Choice = Narrowing & Pick<SamplingParams, 'temperature'>;

/** A row whose token is drawn. */
interface Drawn {
  /** Its place among the sampled rows. */
  readonly index: number;
  readonly values: Float32Array;
  readonly position: number;
  readonly choice: Choice;
  readonly seed: number;
}

function choiceOf(sampling: SamplingParams, position: number): Choice {
  const { temperature, topK, typicalP, topP, minP, xtcProbability, xtcThreshold, seed } = sampling;
  const excludes =
    xtcProbability > 0 &&
    xtcThreshold <= xtcThresholdMax &&
    drawFraction(seed, position, xtcStream) <= xtcProbability;
  return { temperature, topK, typicalP, topP, minP, excludesFrom: excludes ? xtcThreshold : Infinity };
}

/** The other limits never rule the likeliest token out. */
function isGreedy({ temperature, typicalP, excludesFrom }: Choice): boolean {
  return temperature === 0 && typicalP >= 1 && excludesFrom === Infinity;
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

/** Divides by the temperature, unless that comes after narrowing. */
function scale(logits: Float32Array, choice: Choice, target: Float32Array): void {
  const { temperature } = choice;
  if (temperature === 1 || isNarrowing(choice)) {
    target.set(logits);
    return;
  }
  const factor = inverse(temperature);
  for (let i = 0; i < target.length; i++) target[i] = (logits[i] ?? 0) * factor;
}
