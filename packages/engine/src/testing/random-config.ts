import type { WindowRooms } from '@butterfly/wire';
import { usualModel } from '../scheduler/scheduler-checks.js';
import type { SchedulerConfig } from '../scheduler/scheduler-types.js';
import { layerCount, type randomSource } from './fake-pipeline.js';

type Random = ReturnType<typeof randomSource>;

/** What stays as it is however often a simulated pipeline gets another plan. */
export interface SimulatedModel {
  readonly contextTokensMax: number;
  /** What every second layer sees; 0 where it sees all. */
  readonly windowTokens: number;
  /** Short prompts, long outputs and an arena of little more than a context: preemption all the time. */
  readonly crowded: boolean;
  /** A recurrent model for which guesses pay, with texts that repeat themselves and are long enough to show it. */
  readonly guesses: boolean;
}

/** A model with a window in one of four cases, or one with guesses that may prove wrong in a state. */
export function randomModel(random: Random): SimulatedModel {
  const guesses = random.below(10) === 0;
  return {
    guesses,
    crowded: random.below(2) === 0,
    contextTokensMax: guesses ? random.between(32, 56) : random.between(8, 48),
    windowTokens: !guesses && random.below(4) === 0 ? random.between(1, 8) : 0,
  };
}

/** Any plan for the model. */
export function randomConfig(
  random: Random,
  { crowded, contextTokensMax, windowTokens, guesses }: SimulatedModel,
): Required<SchedulerConfig> {
  const arenaGranularity = random.between(1, crowded ? 2 : 8);
  const contextSlots = contextTokensMax + arenaGranularity;
  const hasRooms = windowTokens > 0 && random.below(4) > 0;
  // Short steps leave rooms that must be moved within a context.
  const stepRowsMax = random.between(1, hasRooms ? 6 : 40);
  // Two of five models are recurrent, with slots for some sequences, or for more than may run and checkpoints.
  const hasStates = guesses || (windowTokens === 0 && random.below(5) < 2);
  const stateSlots = hasStates ? 2 + random.between(2, 24) : 0;
  // Of a sequence that is preempted for want of slots, nothing is left: where there are checkpoints, there is more room.
  const keepsLittle = stateSlots === 0 && !hasRooms;
  const contextsMax = crowded && (keepsLittle || random.below(2) === 0) ? 1 : 4;
  return {
    contextTokensMax,
    arenaGranularity,
    arenaSlots: random.between(contextSlots, contextSlots * random.between(1, contextsMax)),
    stages: random.between(1, layerCount),
    runningMax: random.between(1, 10),
    stepRowsMax,
    prefixBlockTokens: random.between(1, 4),
    stateSlots,
    windows: hasRooms ? randomRooms(random, windowTokens, stepRowsMax) : null,
    checkpointTokens: random.between(1, 6),
    draftTokensMax: 0,
    headGuessesMax: 0,
    guessesMax: guesses ? random.between(4, 12) : random.between(0, 4),
    goesAhead: random.below(4) > 0,
    model: usualModel,
    stepCurves: randomCurves(random, guesses),
  };
}

/** Of any steps, or of such in which rows cost next to nothing. */
function randomCurves(random: Random, areFlat: boolean): Required<SchedulerConfig>['stepCurves'] {
  const points = [1, 2, 4, 8, 32];
  if (areFlat) return [points.map((rows) => ({ rows, micros: 1000 + rows }))];
  return Array.from({ length: random.below(3) }, () =>
    points.map((rows) => ({ rows, micros: random.between(100, 1000 * rows) })),
  );
}

/** As small as they may be, or somewhat larger, for a part of the sequences or more than may run. */
function randomRooms(random: Random, windowTokens: number, rowsMax: number): WindowRooms {
  const [blockSlots, backTokens] = [random.between(1, 3), random.below(3)];
  const least = windowTokens - 1 + backTokens + blockSlots - 1 + rowsMax;
  return {
    windowTokens,
    rooms: random.between(1, 14),
    roomSlots: least + random.below(6),
    blockSlots,
    backTokens,
  };
}
