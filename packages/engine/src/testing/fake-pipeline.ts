import type { Logprobs, SamplingParams, StepSequence, WindowRooms } from '@butterfly/wire';
import { tokenLogprobs } from '../scheduler/prompt-scores.js';
import type { TokenLogprobs } from '../types.js';
import type { PlannedStep, SchedulerRequest, SchedulerResult } from '../scheduler/scheduler-types.js';

/*
 * A pipeline with a real arena in every layer. Each token is a hash of everything cached before it,
 * read from the arena through the regions, positions and copies of the steps, so whatever goes wrong in any of
 * these turns into a wrong token, which is compared to what the sequence gives alone. In a recurrent model, every second
 * layer knows what came before by its state alone, so that a state which is not the one behind all tokens before, or was
 * written over meanwhile, does the same. In a model with a window, every second layer sees the last tokens alone, which lie
 * in the arena as well, or in rooms that the steps name.
 */

/** Layers of the fake model, split over the stages. */
export const layerCount = 4;
export const vocabulary = 64;

function mix(a: number, b: number): number {
  const x = Math.imul(a ^ Math.imul(b, 0x9e3779b1), 0x85ebca6b);
  return ((x ^ (x >>> 15)) + 0x27d4eb2f) | 0;
}

/** Random integers from a seed; `between` includes both bounds. */
export function randomSource(seed: number): {
  below(bound: number): number;
  between(min: number, max: number): number;
} {
  let state = mix(seed, 1);
  const below = (bound: number): number => {
    state = (state + 0x6d2b79f5) | 0;
    return ((mix(mix(state, 7), state >>> 13) >>> 0) % bound) | 0;
  };
  return { below, between: (min, max) => min + below(max - min + 1) };
}

/** Caches the rows behind what is cached and returns their activations: one layer of the fake model. */
function runLayer(
  layer: number,
  cache: Int32Array,
  regionStart: number,
  positionStart: number,
  rows: Int32Array,
): Int32Array {
  let state = layer;
  for (let position = 0; position < positionStart; position += 1)
    state = mix(state, cache[regionStart + position] ?? 0);
  return runFrom(state, { layer, cache, regionStart, positionStart }, rows).outputs;
}

/** The same from a state, which all before the rows comes down to: a layer of a recurrent model. */
function runFrom(
  before: number,
  place: {
    readonly layer: number;
    readonly cache: Int32Array;
    readonly regionStart: number;
    readonly positionStart: number;
  },
  rows: Int32Array,
): { readonly outputs: Int32Array; readonly state: number } {
  const { layer, cache, regionStart, positionStart } = place;
  let state = before;
  const outputs = rows.map((row, index) => {
    const cached = mix(row, mix(layer, positionStart + index));
    cache[regionStart + positionStart + index] = cached;
    state = mix(state, cached);
    return mix(state, row);
  });
  return { outputs, state };
}

/** Where a layer keeps a token of a sequence, by its position. */
interface Kept {
  readonly values: Int32Array;
  readonly slotOf: (position: number) => number;
}

/** The same where each row sees so many tokens alone, itself among them. */
function runWindow(
  layer: number,
  { values, slotOf }: Kept,
  windowTokens: number,
  positionStart: number,
  rows: Int32Array,
): Int32Array {
  return rows.map((row, index) => {
    const position = positionStart + index;
    values[slotOf(position)] = mix(row, mix(layer, position));
    let state = layer;
    for (let seen = Math.max(0, position - windowTokens + 1); seen <= position; seen += 1)
      state = mix(state, values[slotOf(seen)] ?? 0);
    return mix(state, row);
  });
}

function draw(
  activation: number,
  position: number,
  sampling: SamplingParams,
  recent: readonly number[],
): number {
  const penalties = recent.reduce(mix, recent.length);
  const drawn = mix(mix(activation, penalties), mix(position, sampling.seed)) >>> 0;
  // Half of the requests speak in so few words that they repeat themselves, as guesses need it, half of these mostly in circles.
  if (sampling.seed % 4 === 1 && drawn % 8 > 0) return position % 3;
  return sampling.seed % 4 === 3 ? drawn % 3 : drawn % vocabulary;
}

/** Log probabilities of tokens by the activations of the rows before them: made up, but never twice the same. */
function logprobsOf(rows: readonly number[], tokens: readonly number[], alternatives: number): Logprobs {
  const valueOf = (row: number, token: number): number => -(mix(row, token) >>> 16);
  const ranks = Array.from({ length: alternatives }, (_, rank) => rank);
  return {
    chosen: Float32Array.from(rows, (row, i) => valueOf(row, tokens[i] ?? 0)),
    alternatives,
    topTokens: Int32Array.from(
      rows.flatMap((row) => ranks.map((rank) => (mix(row, rank) >>> 0) % vocabulary)),
    ),
    topValues: Float32Array.from(rows.flatMap((row) => ranks.map((rank) => valueOf(row, -1 - rank)))),
  };
}

function logprobsOfToken(row: number, token: number, alternatives: number): TokenLogprobs {
  return tokenLogprobs(logprobsOf([row], [token], alternatives), 0);
}

/** What a sequence gives, all of it. */
interface Reference {
  readonly tokens: number[];
  readonly reason: 'stop' | 'length';
  /** Of the tokens, where they are wanted. */
  readonly logprobs: TokenLogprobs[];
  /** Of the tokens of the prompt, where they are wanted. */
  readonly promptLogprobs: (TokenLogprobs | null)[];
}

/** What the sequence gives alone. @param windowTokens what every second layer sees; 0 for all */
export function reference(request: SchedulerRequest, windowTokens = 0): Reference {
  const { promptTokens, outputTokensMax, sampling, stopTokens } = request;
  const known = [...promptTokens];
  const caches = Array.from({ length: layerCount }, () => new Int32Array(known.length + outputTokensMax + 1));
  const logprobs: TokenLogprobs[] = [];
  const promptLogprobs: (TokenLogprobs | null)[] = [];
  let cached = 0;
  for (;;) {
    let rows: Int32Array = Int32Array.from(known.slice(cached));
    for (const [layer, cache] of caches.entries())
      rows =
        windowTokens > 0 && !isAttending(layer)
          ? runWindow(layer, { values: cache, slotOf: (position) => position }, windowTokens, cached, rows)
          : runLayer(layer, cache, 0, cached, rows);
    const { promptLogprobs: alternatives } = request;
    if (cached === 0 && alternatives !== null)
      for (const [i, token] of known.entries())
        promptLogprobs.push(i === 0 ? null : logprobsOfToken(rows[i - 1] ?? 0, token, alternatives));
    cached = known.length;
    const lookback = sampling.repeatPenalty === 1 ? 0 : sampling.penaltyLastN;
    const row = rows.at(-1) ?? 0;
    const token = draw(row, cached, sampling, known.slice(Math.max(0, known.length - lookback)));
    const tokens = known.slice(promptTokens.length);
    const said = { logprobs, promptLogprobs };
    if (outputTokensMax === 0) return { tokens, reason: 'length', ...said };
    if (stopTokens.has(token)) return { tokens, reason: 'stop', ...said };
    known.push(token);
    if (request.logprobs !== null) logprobs.push(logprobsOfToken(row, token, request.logprobs));
    if (tokens.length + 1 === outputTokensMax)
      return { tokens: [...tokens, token], reason: 'length', ...said };
  }
}

interface FakeLayer {
  readonly index: number;
  readonly cache: Int32Array;
  /** By slot, of a recurrent model; that of slot 0 is the state before any token. */
  readonly states: Int32Array;
  /** By room and slot. */
  readonly rooms: Int32Array;
}

/** What a model keeps of a sequence beside the arena. */
interface FakeMemory {
  /** More than 0 make it a recurrent model. */
  readonly stateSlots?: number;
  /** What every second layer sees; 0 for all. */
  readonly windowTokens?: number;
  /** Where these keep it; by default in the arena. */
  readonly windows?: WindowRooms | null;
}

interface Work {
  readonly step: PlannedStep;
  readonly rows: Int32Array;
}

/** Stages in a row, each with its range of layers and a queue; steps stay in order but stages drift apart freely. */
export class FakePipeline {
  readonly results: SchedulerResult[] = [];
  /** What steps sampled, by "step sequence". */
  readonly #sampled = new Map<string, number>();
  readonly #stages: {
    readonly layers: FakeLayer[];
    readonly queue: Work[];
  }[];

  constructor(
    stages: number,
    arenaSlots: number,
    garbage: number,
    private readonly memory: FakeMemory = {},
  ) {
    const { stateSlots = 0, windows } = memory;
    this.#stages = Array.from({ length: stages }, () => ({ layers: [], queue: [] }));
    for (let index = 0; index < layerCount; index += 1)
      this.#stages[Math.floor((index * stages) / layerCount)]?.layers.push({
        index,
        cache: new Int32Array(arenaSlots).fill(garbage),
        states: new Int32Array(stateSlots).fill(garbage).fill(index, 0, 1),
        rooms: new Int32Array(windows ? windows.rooms * windows.roomSlots : 0).fill(garbage),
      });
  }

  push(step: PlannedStep): void {
    this.#stages[0]?.queue.push({ step, rows: step.tokens });
  }

  /** Lets one stage run the step at the head of its queue, unless its tokens are yet to be sampled. */
  advance(index: number): void {
    const stage = this.#stages[index];
    const work = stage?.queue[0];
    if (stage === undefined || work === undefined) return;
    const inputs = index === 0 ? this.#resolved(work.step) : work.rows;
    if (inputs === null) return;
    stage.queue.shift();
    let rows = inputs;
    for (const layer of stage.layers) {
      for (const { fromSlot, toSlot, slots } of work.step.copies)
        layer.cache.set(layer.cache.slice(fromSlot, fromSlot + slots), toSlot);
      let offset = 0;
      this.#moveRooms(layer.rooms, work.step);
      checkStates(work.step);
      const written = new Set<number>();
      const outputs = work.step.sequences.map((sequence) => {
        const input = rows.subarray(offset, offset + sequence.rows);
        offset += sequence.rows;
        return this.#run(layer, sequence, input, written);
      });
      rows = Int32Array.from(outputs.flatMap((output) => [...output]));
    }
    const next = this.#stages[index + 1];
    if (next) next.queue.push({ step: work.step, rows });
    else {
      const result = sample({ step: work.step, rows });
      for (const { sequenceId, tokens } of result.outputs)
        this.#sampled.set(`${result.stepId} ${sequenceId}`, tokens.at(-1) ?? 0);
      this.results.push(result);
    }
  }

  #run(layer: FakeLayer, sequence: StepSequence, input: Int32Array, written: Set<number>): Int32Array {
    const { windowTokens = 0, windows } = this.memory;
    const { regionStart, positionStart, window } = sequence;
    if ((window === null) === (windows !== null && windows !== undefined))
      throw new Error('there are rooms or there are none');
    if (windowTokens === 0 || isAttending(layer.index)) return runSequence(layer, sequence, input, written);
    const kept: Kept =
      window && windows
        ? {
            values: layer.rooms,
            slotOf: (position) => window.to * windows.roomSlots + position - window.toFirst,
          }
        : { values: layer.cache, slotOf: (position) => regionStart + position };
    return runWindow(layer.index, kept, windowTokens, positionStart, input);
  }

  #moveRooms(rooms: Int32Array, { stepId, sequences }: PlannedStep): void {
    const { windows } = this.memory;
    const written = new Set<number>();
    for (const { window, positionStart, rows } of sequences) {
      if (!window || !windows) continue;
      const { from, fromFirst, to, toFirst } = window;
      const { roomSlots, windowTokens, blockSlots = 1 } = windows;
      const isInside = to < windows.rooms && positionStart + rows - toFirst <= roomSlots;
      if (!isInside || toFirst % blockSlots !== 0 || toFirst > Math.max(0, positionStart - windowTokens + 1))
        throw new Error(`step ${stepId} does not fit room ${to}`);
      const isStill = from === to && fromFirst === toFirst;
      if (!isStill && (written.has(from) || written.has(to)))
        throw new Error(`room ${from} is written in step ${stepId}`);
      written.add(to);
      const start = from * roomSlots + toFirst - fromFirst;
      rooms.set(rooms.slice(start, start + positionStart - toFirst), to * roomSlots);
    }
  }

  /** The tokens of a step, those that steps before sampled among them; null where one of these is under way. */
  #resolved({ stepId, sequences, tokens }: PlannedStep): Int32Array | null {
    const resolved = Int32Array.from(tokens);
    let offset = 0;
    for (const { sequenceId, rows } of sequences) {
      const token = tokens[offset] ?? 0;
      if (token < 0) {
        if (-token > this.#stages.length) throw new Error(`step ${stepId} reaches back ${-token} steps`);
        const sampled = this.#sampled.get(`${stepId + token} ${sequenceId}`);
        if (sampled === undefined) {
          if (!this.#isUnderWay(stepId + token)) throw new Error('nothing was sampled before');
          return null;
        }
        resolved[offset] = sampled;
      }
      offset += rows;
    }
    return resolved;
  }

  #isUnderWay(stepId: number): boolean {
    return this.#stages.some(({ queue }) => queue.some(({ step }) => step.stepId === stepId));
  }

  get stages(): number {
    return this.#stages.length;
  }
}

/** The order of sequences within a step is not defined: none may read what another writes. */
function checkStates({ stepId, sequences }: PlannedStep): void {
  const written = new Set(sequences.flatMap(({ state }) => (state ? [state.to] : [])));
  for (const { state } of sequences)
    if (state && written.has(state.from)) throw new Error(`state ${state.from} is written in step ${stepId}`);
}

/** Which layers of a recurrent model attend to what is cached, as those of hybrid ones do. */
function isAttending(layer: number): boolean {
  return layer % 2 === 1;
}

function runSequence(
  { index, cache, states }: FakeLayer,
  { regionStart, positionStart, state }: StepSequence,
  input: Int32Array,
  written: Set<number>,
): Int32Array {
  if ((state === null) !== (states.length === 0)) throw new Error('there are states or there are none');
  if (state === null) return runLayer(index, cache, regionStart, positionStart, input);
  if (state.to === 0 || state.to >= states.length || state.from === state.to || written.has(state.to))
    throw new Error(`state ${state.to} may not be written`);
  written.add(state.to);
  if (isAttending(index)) return runLayer(index, cache, regionStart, positionStart, input);
  const place = { layer: index, cache, regionStart, positionStart };
  const ran = runFrom(states[state.from] ?? 0, place, input);
  states[state.to] = ran.state;
  return ran.outputs;
}

function sample({ step, rows }: Work): SchedulerResult {
  let end = 0;
  const outputs = step.sequences.flatMap((sequence) => {
    end += sequence.rows;
    const { sequenceId, sampling, logitRows, scored } = sequence;
    if (sampling === null && scored === null) return [];
    const values = [...rows.subarray(end - logitRows, end)];
    const scores = scored
      ? {
          scored: logprobsOf(values.splice(0, scored.tokens.length), [...scored.tokens], scored.alternatives),
        }
      : {};
    if (sampling === null) return [{ sequenceId, tokens: new Int32Array(0), ...scores }];
    const tokens = sampleLine(sequence, sampling, values);
    const logprobs =
      sequence.logprobs === null
        ? {}
        : { logprobs: logprobsOf(values.slice(0, tokens.length), tokens, sequence.logprobs) };
    return [{ sequenceId, tokens: Int32Array.from(tokens), ...logprobs, ...scores }];
  });
  return { stepId: step.stepId, outputs };
}

function sampleLine(sequence: StepSequence, sampling: SamplingParams, values: readonly number[]): number[] {
  const { positionStart, rows, draftTokens } = sequence;
  const recent = [...sequence.recentTokens];
  const tokens: number[] = [];
  for (const [index, value] of values.entries()) {
    const position = positionStart + rows - (values.length - 1 - index);
    const lookback = sampling.repeatPenalty === 1 ? 0 : sampling.penaltyLastN;
    const token = draw(value, position, sampling, recent.slice(Math.max(0, recent.length - lookback)));
    tokens.push(token);
    if (token !== draftTokens[index]) break;
    recent.push(token);
  }
  return tokens;
}
