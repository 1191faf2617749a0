import { ButterflyError } from '@butterfly/common';
import { randomBits } from '@butterfly/testkit/random';
import { type Corpus } from './corpus.js';
import type { Coverage } from './coverage.js';
import { mutatedJson } from './mutate-json.js';
import { type Below, mutated } from './mutate.js';
import type { FuzzTarget } from './target.js';

/** What an input did that none may do. */
export interface Finding {
  readonly input: Uint8Array;
  readonly problem: string;
}

/** Inputs between two looks at the coverage, which takes some milliseconds: few at first, when much is new. */
const batchMin = 16;
const batchMax = 4096;

export interface FuzzerOptions {
  readonly target: FuzzTarget;
  readonly seed: string;
  /** What takes longer is a finding: whoever sends it holds up everything else. */
  readonly slowMs: number;
  readonly coverage: Coverage;
  readonly corpus: Corpus;
  /** Hears of each input right before it is tried, so that one is known that never ends. */
  readonly onInput: (input: Uint8Array) => void;
  readonly onFinding: (finding: Finding) => void;
}

/** Tries inputs of one target, and keeps those that reach what none has reached before. */
export class Fuzzer {
  readonly #words: readonly Uint8Array[];
  readonly #texts: readonly string[];
  readonly #below: Below;
  #batchInputs = batchMin;
  /** Inputs that were tried, those again that were tried twice to find which was new left out. */
  inputs = 0;
  /** Of those, how many were read without complaint. */
  accepted = 0;
  slowestMs = 0;

  constructor(private readonly options: FuzzerOptions) {
    const bits = randomBits(`${options.target.name} ${options.seed}`);
    this.#below = (bound) => Math.floor(((bits() >>> 0) / 2 ** 32) * bound);
    this.#texts = options.target.words.filter((word) => typeof word === 'string');
    this.#words = options.target.words.map((word) => (typeof word === 'string' ? Buffer.from(word) : word));
  }

  /** Tries each of these as it is. */
  async tryAll(inputs: readonly Uint8Array[]): Promise<void> {
    for (const input of inputs) await this.#absorb([input], true);
  }

  /** Tries so many new inputs at most. */
  async step(inputsMax: number): Promise<void> {
    const batch: Uint8Array[] = [];
    while (batch.length < Math.min(this.#batchInputs, inputsMax)) batch.push(this.#made());
    const isNew = await this.#absorb(batch, true);
    this.#batchInputs = isNew
      ? Math.max(batchMin, this.#batchInputs >> 1)
      : Math.min(batchMax, this.#batchInputs * 2);
  }

  #made(): Uint8Array {
    const { target, corpus } = this.options;
    const below = this.#below;
    const input = corpus.pick(below);
    const other = corpus.pick(below);
    const json =
      target.isJson && below(4) > 0 ? mutatedJson(input, { below, words: this.#texts, other }) : null;
    const made = (json ?? mutated(input, { below, words: this.#words, other })).subarray(
      0,
      target.inputBytesMax,
    );
    return target.repair && below(8) > 0 ? target.repair(made, below) : made;
  }

  /** Tries inputs, and when something new ran, finds out which of them made it run. */
  async #absorb(inputs: readonly Uint8Array[], isFirst: boolean): Promise<boolean> {
    const { coverage, corpus } = this.options;
    for (const input of inputs) await this.#try(input, isFirst);
    const ran = await coverage.take();
    if (!coverage.isNew(ran)) return false;
    const [only] = inputs;
    if (inputs.length > 1) {
      const half = inputs.length >> 1;
      await this.#absorb(inputs.slice(0, half), false);
      await this.#absorb(inputs.slice(half), false);
    } else if (only) corpus.add(only);
    // Also what only ran when they were tried together, as code that runs once.
    coverage.learn(ran);
    return true;
  }

  async #try(input: Uint8Array, isFirst: boolean): Promise<void> {
    const { target, onInput, onFinding } = this.options;
    onInput(input);
    const startMs = performance.now();
    const problem = await problemOf(target, input);
    const tookMs = performance.now() - startMs;
    if (!isFirst) return;
    this.inputs++;
    if (problem === null) this.accepted++;
    this.slowestMs = Math.max(this.slowestMs, tookMs);
    if (problem !== null && problem !== refused) onFinding({ input, problem });
    if (tookMs > this.options.slowMs) onFinding({ input, problem: `It took ${Math.round(tookMs)} ms.` });
  }
}

const refused = Symbol('refused');
/** Frames of a stack, which tell where a defect is. */
const tellingFrames = 20;

/** Null where the input is read, `refused` where it is refused as it should be, else what is wrong. */
async function problemOf(
  target: FuzzTarget,
  input: Uint8Array,
  frames = 0,
): Promise<string | typeof refused | null> {
  // Without stacks, which are most of the work where nearly every input is refused.
  Error.stackTraceLimit = frames;
  try {
    const running = target.run(input);
    if (running) await running;
    return null;
  } catch (thrown) {
    if (thrown instanceof ButterflyError && thrown.code !== 'INTERNAL') return refused;
    const described = thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
    if (frames > 0) return described;
    const again = await problemOf(target, input, tellingFrames);
    return typeof again === 'string' ? again : described;
  } finally {
    Error.stackTraceLimit = tellingFrames;
  }
}
