import type { Objective } from '@butterfly/planning';
import { randomBits } from '@butterfly/testkit';
import { greedySampling } from '@butterfly/wire';
import type { MachineTraits } from './fake-machine.js';
import { vocabulary, type FakePrompt } from './fake-model.js';

/** A machine and when its worker is started first. */
export interface WorkerPlan {
  readonly name: string;
  readonly startMs: number;
  readonly traits: MachineTraits;
}

export interface RequestPlan extends FakePrompt {
  readonly atMs: number;
  readonly timeoutMs: number;
  readonly priority: number;
}

/** What may go wrong, or is done on purpose. */
export const faultKinds = [
  'kill',
  'killForGood',
  'killTwo',
  'killThrice',
  'killWhileLoading',
  'pause',
  'cutData',
  'cutAllData',
  'cutControl',
  'crawlData',
  'crawlControl',
  'jitter',
  'flipBit',
  'failLoad',
  'slowLoad',
  'hangLoad',
  'drain',
] as const;
export type FaultKind = (typeof faultKinds)[number];

export interface Fault {
  readonly kind: FaultKind;
  readonly atMs: number;
  /** Until it is mended. */
  readonly lastsMs: number;
  /** Index of the worker that it happens to. */
  readonly worker: number;
  /** Of the other one, where it takes two. */
  readonly other: number;
}

/** All that is not decided by the code under test. */
export interface Schedule {
  readonly seed: number;
  readonly layers: number;
  readonly parallel: number;
  readonly options: {
    readonly spares: number;
    readonly stagesMin: number;
    readonly objective: Objective;
    readonly speculation: 'auto' | 'off';
    readonly workersExpected: number;
    readonly replicasMax: number;
    /** The share of requests that spares compute too. */
    readonly verifyRate: number;
  };
  readonly link: { readonly latencyMs: number; readonly jitterMs: number; readonly bytesPerSecond: number };
  readonly workers: readonly WorkerPlan[];
  /** Index of a worker that no other can reach, nor it them; null for none. */
  readonly hidden: number | null;
  readonly requests: readonly RequestPlan[];
  readonly faults: readonly Fault[];
}

interface Dice {
  below(bound: number): number;
  between(min: number, max: number): number;
  chance(percent: number): boolean;
  of<T>(choices: readonly [T, ...T[]]): T;
}

/** Two blocks of the arena, so that texts grow out of their regions and are moved. */
export const contextTokens = 512;
const mib = 2 ** 20;
/** Faults begin within this time, most requests too. */
const faultsMs = 8_000;

/** A schedule by chance, the same for the same seed. */
export function scheduleOf(seed: number): Schedule {
  const dice = diceOf(`simulation ${seed}`);
  const layers = dice.between(6, 8);
  // Of dice of its own, so that schedules with one replica are what they were before there were others.
  const replicasMax = diceOf(`replicas ${seed}`).chance(30) ? 2 : 1;
  const count = dice.between(3, 6) + 2 * (replicasMax - 1);
  const late = dice.below(3);
  const workers = Array.from({ length: count + late }, (_, index) => drawWorker(dice, index, index >= count));
  const told = diceOf(`told ${seed}`);
  // What several prompts begin with is computed once, and copied.
  const beginning = Array.from({ length: dice.between(40, 100) }, () => dice.below(vocabulary));
  return {
    seed,
    layers,
    parallel: dice.between(1, 3),
    options: {
      spares: dice.below(3),
      stagesMin: dice.between(1, 3),
      objective: dice.of<Objective>(['throughput', 'latency']),
      speculation: dice.of<'auto' | 'off'>(['auto', 'auto', 'off']),
      workersExpected: dice.between(1, count),
      replicasMax,
      verifyRate: diceOf(`verified ${seed}`).of([0, 0.3, 1]),
    },
    link: {
      latencyMs: dice.of([0.2, 1, 5]),
      jitterMs: dice.of([0, 0, 2]),
      bytesPerSecond: dice.of([100_000, 300_000, 600_000]),
    },
    workers,
    hidden: dice.chance(20) ? dice.below(workers.length) : null,
    requests: Array.from({ length: dice.between(4, 10) }, () => drawRequest(dice, beginning)).map(
      (request) => ({ ...request, ...drawTold(told) }),
    ),
    faults: Array.from({ length: dice.between(1, 7) }, () => drawFault(dice, workers.length)),
  };
}

function drawWorker(dice: Dice, index: number, isLate: boolean): WorkerPlan {
  return {
    name: `host-${index}`,
    startMs: isLate ? dice.between(1_000, faultsMs) : dice.below(400),
    traits: {
      // Few hold the whole model, most a part of it.
      memoryBytes: dice.of([240, 280, 320, 350, 450, 600, 900]) * mib + dice.below(64) * mib,
      layerMicros: dice.of([1_000, 2_000, 4_000, 8_000]),
      diskBytesPerSecond: dice.of([100e6, 300e6, 800e6]),
      profilingMs: dice.between(50, 1_500),
      isBatchInvariant: !dice.chance(20),
    },
  };
}

/** What is told beside tokens; of dice of its own, so that requests are what they were before there was any. */
function drawTold(dice: Dice): Pick<RequestPlan, 'logprobs' | 'promptLogprobs'> {
  const count = (percent: number): number | null => (dice.chance(percent) ? dice.below(4) : null);
  return { logprobs: count(30), promptLogprobs: count(25) };
}

function drawRequest(
  dice: Dice,
  beginning: readonly number[],
): Omit<RequestPlan, 'logprobs' | 'promptLogprobs'> {
  const length = dice.chance(8) ? dice.between(150, 250) : dice.between(1, 40);
  const words = dice.of<number>([vocabulary, 3]);
  const promptTokens = Int32Array.from([
    ...(dice.chance(40) ? beginning : []),
    ...Array.from({ length }, () => dice.below(words)),
  ]);
  return {
    atMs: dice.below(faultsMs),
    timeoutMs: dice.chance(15) ? dice.between(500, 5_000) : 30_000,
    priority: dice.of([0, 0, 0, 1, -1]),
    promptTokens,
    outputTokensMax: dice.between(1, 80),
    sampling: {
      ...greedySampling,
      seed: dice.below(1_000),
      repeatPenalty: dice.of([1, 1, 1.5]),
    },
    stopTokens: new Set(dice.chance(50) ? [vocabulary - 1] : []),
  };
}

function drawFault(dice: Dice, workers: number): Fault {
  const worker = dice.below(workers);
  return {
    kind: dice.of(faultKinds),
    atMs: dice.between(200, faultsMs),
    lastsMs: dice.of([dice.between(100, 1_000), dice.between(1_000, 5_000), dice.between(5_000, 11_000)]),
    worker,
    other: (worker + 1 + dice.below(workers - 1)) % workers,
  };
}

function diceOf(key: string): Dice {
  const bits = randomBits(key);
  const below = (bound: number): number => (bits() >>> 0) % bound;
  return {
    below,
    between: (min, max) => min + below(max - min + 1),
    chance: (percent) => below(100) < percent,
    of: (choices) => choices[below(choices.length)] ?? choices[0],
  };
}
